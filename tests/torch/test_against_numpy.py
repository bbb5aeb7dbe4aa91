"""Fed the same gradients, torch and pfopt.minimize take the same decisions and return the same point."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import pfopt
from pfopt.torch import ParameterFreeSGD
from tests.torch.problems import NOISE, until_done

Array = NDArray[np.float64]

RNG = np.random.default_rng(0)
ROWS, COLUMNS = 40, 6
INPUTS: Array = RNG.standard_normal((ROWS, COLUMNS)) * np.geomspace(3.0, 0.3, COLUMNS)
SOLUTION: Array = RNG.standard_normal(COLUMNS)
TARGETS: Array = INPUTS @ SOLUTION + 0.3 * RNG.standard_normal(ROWS)
LABELS: Array = np.where(TARGETS + RNG.standard_normal(ROWS) > 0, 1.0, -1.0)
START: Array = RNG.standard_normal(COLUMNS)


def least_squares(x: Array) -> tuple[float, Array]:
    residual = INPUTS @ x - TARGETS
    return float(residual @ residual / (2 * ROWS)), INPUTS.T @ residual / ROWS


@np.errstate(over="ignore")
def logistic(x: Array) -> tuple[float, Array]:
    margin = LABELS * (INPUTS @ x)
    return float(np.mean(np.logaddexp(0.0, -margin))), -INPUTS.T @ (LABELS / (1 + np.exp(margin))) / ROWS


def absolute_deviations(x: Array) -> tuple[float, Array]:
    residual = INPUTS @ x - TARGETS
    return float(np.mean(np.abs(residual))), INPUTS.T @ np.sign(residual) / ROWS


PROBLEMS: dict[str, Callable[[Array], tuple[float, Array]]] = {
    "least squares": least_squares,
    "logistic": logistic,
    "absolute deviations": absolute_deviations,
}


class Outcome(NamedTuple):
    """What both sides must agree on."""

    x: Array
    probes: list[pfopt.ProbeRecord]


def batches(
    problem: Callable[[Array], tuple[float, Array]], noise: float
) -> Callable[[Array], tuple[float, Array]]:
    """The problem's oracle with recorded noise: call number i always adds the same vector."""
    draw = np.random.default_rng(1)

    def oracle(x: Array) -> tuple[float, Array]:
        value, grad = problem(x)
        return value, grad + noise * draw.standard_normal(grad.shape)

    return oracle


def by_numpy(oracle: Any, start: Array, budget: int, *, losses: bool, **kwargs: Any) -> Outcome:
    result = pfopt.minimize(oracle if losses else lambda x: oracle(x)[1], start, budget, **kwargs)
    return Outcome(result.x, result.probes)


def by_torch(
    oracle: Any, start: Array, budget: int, *, losses: bool, pieces: int = 1, **kwargs: Any
) -> Outcome:
    params = [torch.nn.Parameter(piece.clone()) for piece in torch.from_numpy(start).chunk(pieces)]
    optimizer = ParameterFreeSGD(params, budget, **kwargs)

    def point() -> Array:
        return torch.cat([param.detach() for param in params]).numpy().copy()

    for _ in until_done(optimizer, budget):
        value, grad = oracle(point())
        for param, piece in zip(params, torch.from_numpy(grad).chunk(pieces), strict=True):
            param.grad = piece.clone()
        if losses:
            optimizer.step(loss=torch.tensor(value, dtype=torch.float64))
        else:
            optimizer.step()
    return Outcome(point(), optimizer.history())


def assert_agree(ours: Outcome, theirs: Outcome) -> None:
    assert len(ours.probes) >= 2
    assert [decision(record) for record in ours.probes] == [decision(record) for record in theirs.probes]
    for record, record_of_other in zip(ours.probes, theirs.probes, strict=True):
        for name in ("step_size", "lipschitz", "distance"):
            one, other = getattr(record, name), getattr(record_of_other, name)
            np.testing.assert_allclose(one, other, rtol=1e-9, err_msg=f"{name} of {record}")
        assert (record.mean_value is None) == (record_of_other.mean_value is None)
        if record.mean_value is not None:
            assert record.mean_value == pytest.approx(record_of_other.mean_value, rel=1e-9)
    np.testing.assert_allclose(ours.x, theirs.x, rtol=1e-10, atol=1e-10)
    assert bool(np.isfinite(ours.x).all())


def decision(record: pfopt.ProbeRecord) -> tuple[int, int, int, bool]:
    return record.k, record.exponent, record.steps, record.accepted


@pytest.mark.parametrize("losses", [False, True], ids=["gradients", "losses"])
@pytest.mark.parametrize("schedule", ["constant", "linear"])
@pytest.mark.parametrize(
    ("plan", "budget"), [("train", 200), ("train", 520), ("certified", 64), ("certified", 200)]
)
@pytest.mark.parametrize("name", list(PROBLEMS))
def test_same_decisions_and_same_point(
    name: str, plan: str, budget: int, schedule: str, losses: bool
) -> None:
    kwargs = {"plan": plan, "schedule": schedule, "losses": losses}
    theirs = by_numpy(batches(PROBLEMS[name], NOISE[plan]), START, budget, **kwargs)
    ours = by_torch(batches(PROBLEMS[name], NOISE[plan]), START, budget, **kwargs)
    assert_agree(ours, theirs)
    assert not np.array_equal(ours.x, START)


@pytest.mark.parametrize(("plan", "pieces"), [("train", 1), ("certified", 3)])
@pytest.mark.parametrize("name", list(PROBLEMS))
def test_from_the_origin(name: str, plan: str, pieces: int) -> None:
    """In pieces as well, where they have no step sizes of their own."""
    origin, kwargs = np.zeros(COLUMNS), {"plan": plan, "schedule": "linear", "losses": False}
    ours = by_torch(batches(PROBLEMS[name], NOISE[plan]), origin, 300, pieces=pieces, **kwargs)
    assert_agree(ours, by_numpy(batches(PROBLEMS[name], NOISE[plan]), origin, 300, **kwargs))


@pytest.mark.parametrize("noise", [0.1, 3.0])
@pytest.mark.parametrize("plan", ["train", "certified"])
@pytest.mark.parametrize("name", list(PROBLEMS))
def test_recorded_noise(name: str, plan: str, noise: float) -> None:
    """Strong noise lengthens the probes of plan train."""
    kwargs = {"plan": plan, "schedule": "linear", "losses": False}
    ours = by_torch(batches(PROBLEMS[name], noise), START, 400, **kwargs)
    theirs = by_numpy(batches(PROBLEMS[name], noise), START, 400, **kwargs)
    assert_agree(ours, theirs)


@pytest.mark.parametrize("broken_call", [0, 1, 5, 17, 60, 150, 260, 299])
@pytest.mark.parametrize("plan", ["train", "certified"])
def test_a_gradient_that_is_not_finite(plan: str, broken_call: int) -> None:
    def oracle() -> Callable[[Array], tuple[float, Array]]:
        calls, problem = iter(range(10**6)), batches(least_squares, NOISE[plan])

        def answer(x: Array) -> tuple[float, Array]:
            value, grad = problem(x)
            return value, grad * np.nan if next(calls) == broken_call else grad

        return answer

    kwargs = {"plan": plan, "schedule": "linear", "losses": False}
    assert_agree(by_torch(oracle(), START, 300, **kwargs), by_numpy(oracle(), START, 300, **kwargs))


@pytest.mark.parametrize("scale", [1e-12, 1e-3, 1e3, 1e12])
@pytest.mark.parametrize("plan", ["train", "certified"])
def test_scaled_objective(plan: str, scale: float) -> None:
    def scaled() -> Callable[[Array], tuple[float, Array]]:
        problem = batches(logistic, NOISE[plan])

        def oracle(x: Array) -> tuple[float, Array]:
            value, grad = problem(x)
            return scale * value, scale * grad

        return oracle

    kwargs = {"plan": plan, "schedule": "linear", "losses": True}
    plain = by_torch(batches(logistic, NOISE[plan]), START, 300, **kwargs)
    ours = by_torch(scaled(), START, 300, **kwargs)
    assert_agree(ours, by_numpy(scaled(), START, 300, **kwargs))
    assert [decision(record) for record in ours.probes] == [decision(record) for record in plain.probes]
