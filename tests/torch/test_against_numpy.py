"""Fed the same gradients, torch does what ``pfopt.minimize`` does, where the rule itself is tested."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import pfopt
from pfopt import options
from pfopt.torch import ParameterFree, ParameterFreeSGD
from tests.torch.problems import NOISE, until_done

Array = NDArray[np.float64]
Function = Callable[[Array], tuple[float, Array]]

STEPS, ROWS, COLUMNS = 200, 40, 6
RNG = np.random.default_rng(0)
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


class Stream(NamedTuple):
    """Gradients with recorded noise, times a factor of 1 but in the places named."""

    function: Function = least_squares
    noise: float | None = None  # None: as little as the plan needs, see ``NOISE``
    places: tuple[tuple[range, float], ...] = ()
    losses: bool = False
    start: float = 1.0  # the anchor, in units of ``START``

    def oracle(self, plan: Any) -> Function:
        """Call number i always adds the same vector."""
        draw, calls, factors = np.random.default_rng(1), itertools.count(), np.ones(STEPS)
        noise = (
            NOISE["certified" if is_certified(plan) else "practical"] if self.noise is None else self.noise
        )
        for place, factor in self.places:
            factors[place] = factor

        def answer(x: Array) -> tuple[float, Array]:
            value, grad = self.function(x)
            factor = factors[next(calls)]
            return factor * value, factor * (grad + noise * draw.standard_normal(COLUMNS))

        return answer


def is_certified(plan: Any) -> bool:
    return plan == "certified" or isinstance(plan, pfopt.Certified)


EVERYWHERE = range(STEPS)
SINGLE = tuple((range(at, at + 1), np.nan) for at in (4, 33, 150, STEPS - 1))
MANY = (range(1), np.nan), (range(9, 12), np.inf), (range(30, 31), 1e5), (range(120, 150), np.nan)
BURSTS = (range(3, 4), 1e5), (range(140, 170), 1e6)
ZEROS = (range(6, 12), 0.0), (range(90, STEPS, 3), 0.0)
STREAMS = {
    "clean": Stream(),
    "kinks, from the origin": Stream(absolute_deviations, start=0.0),
    "noisy": Stream(logistic, 3.0, losses=True),  # which lengthens the probes
    "a fault now and then": Stream(places=SINGLE, losses=True),
    "many faults": Stream(places=MANY),
    "bursts": Stream(places=BURSTS),
    "zeros": Stream(noise=0.3, places=ZEROS),
    "scaled down": Stream(logistic, 0.03, ((EVERYWHERE, 2.0**-20),), losses=True),
    "scaled up": Stream(logistic, 0.03, ((EVERYWHERE, 2.0**30),), losses=True),
}
LAST = pfopt.Certified(output="last")
LINEAR = pfopt.Practical(anneal="linear", scope="global")
PLANS: dict[str, tuple[Any, bool]] = {  # and whether around a base
    "practical": ("practical", False),
    "practical, linear": (LINEAR, False),
    "certified": ("certified", False),
    "certified, last": (LAST, False),
    "around a base": (pfopt.Practical(anneal="averaging", scope="global"), True),
    "around a base, linear": (LINEAR, True),
    "around a base, certified": ("certified", True),
    "around a base, certified, last": (LAST, True),
}


class Ended(NamedTuple):
    """What both must agree on."""

    x: Array
    message: str
    probes: list[pfopt.ProbeRecord]


def by_numpy(stream: Stream, plan: Any) -> Ended:
    oracle = stream.oracle(plan)
    asked = oracle if stream.losses else lambda x: oracle(x)[1]
    result = pfopt.minimize(asked, stream.start * START, STEPS, plan=plan)
    return Ended(result.x, result.outcome.message, result.probes)


@cache
def by_torch(stream: Stream, plan: Any, based: bool) -> Ended:
    """In pieces where these have no step sizes of their own."""
    oracle, pieces = stream.oracle(plan), 1 if plan == "practical" else 3
    anchor = torch.from_numpy(stream.start * START)
    params = [torch.nn.Parameter(piece.clone()) for piece in anchor.chunk(pieces)]
    if based:
        optimizer: Any = ParameterFree(torch.optim.SGD(params, lr=1.0), STEPS, plan=plan)
    else:
        optimizer = ParameterFreeSGD(params, STEPS, plan=plan)

    def point() -> Array:
        return torch.cat([param.detach() for param in params]).numpy().copy()

    for _ in until_done(optimizer, STEPS):
        value, grad = oracle(point())
        for param, piece in zip(params, torch.from_numpy(grad).chunk(pieces), strict=True):
            param.grad = piece.clone()
        optimizer.step(loss=value if stream.losses else None)
    message, _, _ = optimizer.status().message.partition(" The main run exploded")  # numpy does not tell
    return Ended(point(), message, optimizer.history())


def decisions(ended: Ended) -> list[tuple[int, int, int, bool]]:
    return [(record.k, record.exponent, record.steps, record.accepted) for record in ended.probes]


@pytest.mark.parametrize("stream", list(STREAMS))
@pytest.mark.parametrize("name", list(PLANS))
def test_the_same_run_as_numpy(name: str, stream: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Around plain SGD to the digits that a direction loses where it is read off the base's own step."""
    plan, based = PLANS[name]
    ours = by_torch(STREAMS[stream], plan, based)
    if based:  # the constants of a base; plain SGD's metric is the plain one
        monkeypatch.setattr(options, "configure", partial(options.configure, based=True))
    theirs = by_numpy(STREAMS[stream], plan)
    assert len(ours.probes) >= 2
    assert not np.array_equal(ours.x, STREAMS[stream].start * START)
    assert bool(np.isfinite(ours.x).all())
    assert ours.message == theirs.message
    assert decisions(ours) == decisions(theirs)
    for one, other in zip(ours.probes, theirs.probes, strict=True):
        assert (one.mean_value is None) == (other.mean_value is None)
        assert one.step_size == pytest.approx(other.step_size, rel=1e-9)
        if one.accepted or not based:  # products tell less of what diverged
            told = [(record.lipschitz, record.distance, record.mean_value or 0.0) for record in (one, other)]
            assert told[0] == pytest.approx(told[1], rel=1e-6 if based else 1e-9)
    tolerance = 1e-6 if based else 1e-10
    np.testing.assert_allclose(ours.x, theirs.x, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("stream", ["scaled down", "scaled up"])
@pytest.mark.parametrize("name", list(PLANS))
def test_powers_of_two_on_the_objective_change_nothing(name: str, stream: str) -> None:
    """Bit for bit, but around a base, of which the direction is read off a step of fixed length."""
    plan, based = PLANS[name]
    scaled, plain = (
        by_torch(of, plan, based) for of in (STREAMS[stream], Stream(logistic, 0.03, losses=True))
    )
    assert decisions(scaled) == decisions(plain)
    tolerance = 1e-6 if based else 0.0
    np.testing.assert_allclose(scaled.x, plain.x, rtol=tolerance, atol=tolerance)
