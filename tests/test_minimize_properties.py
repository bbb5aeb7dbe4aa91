"""What holds for `pfopt.minimize` on every convex problem, whatever the oracle does."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import pfopt
from paper_repro.problems import Oracle, Problem, distance, generated, logistic, quadratic
from pfopt.options import PlanLike
from tests.reference.algorithm1 import algorithm1, phi, run_sgd
from tests.reference.subject import by_pfopt, of_result

CHOICES = (
    pfopt.Certified(output="average"),
    pfopt.Certified(output="last"),
    pfopt.Practical(anneal="averaging"),
    pfopt.Practical(anneal="linear"),
)
PLANS = st.sampled_from(CHOICES)
BAD = st.sampled_from([math.nan, math.inf, -math.inf])


class Poisoned:
    """An oracle one of whose answers, or all from one on, is not finite in the gradient or in the value."""

    def __init__(self, inner: Oracle, first: int, last: int, number: float, where: str):
        self.inner, self.bad, self.number, self.where = inner, range(first, last), number, where
        self.points: list[np.ndarray] = []

    def __call__(self, x: np.ndarray) -> Any:
        self.points.append(x.copy())
        answer = self.inner(x)
        if len(self.points) - 1 not in self.bad:
            return answer
        value, gradient = answer if isinstance(answer, tuple) else (None, answer)
        if self.where == "value":
            return self.number, gradient
        gradient[(0 if self.where == "entry" else slice(None))] = self.number
        return gradient if value is None else (value, gradient)


@given(
    seed=st.integers(0, 63),
    total=st.integers(16, 200),
    initial_step=st.sampled_from([None, 1e-300, 1e-12, 1e-3, 1.0, 1e6, 1e300]),
    noise=st.sampled_from([0.0, 0.1, 10.0]),
    plan=PLANS | st.just(pfopt.Certified(restarts="doubling")),
    values=st.booleans(),
)
def test_budget_is_never_exceeded_and_the_point_is_finite(
    seed: int,
    total: int,
    initial_step: float | None,
    noise: float,
    plan: PlanLike,
    values: bool,
) -> None:
    problem = generated(seed)
    oracle = Oracle(problem, noise=noise, calls=total, seed=seed, values=values)
    result = pfopt.minimize(oracle, problem.x0, total, plan=plan, initial_step=initial_step)
    assert oracle.calls == result.gradients <= total
    assert isinstance(plan, pfopt.Certified) or oracle.calls == total
    assert np.isfinite(result.x).all()
    assert np.isfinite([result.step_size, result.lipschitz, result.distance]).all()


@settings(max_examples=60)
@given(
    seed=st.integers(0, 15),
    first=st.integers(0, 127),
    length=st.sampled_from([1, 2, 10, 1000]),
    number=BAD,
    where=st.sampled_from(["entry", "gradient", "value"]),
    plan=PLANS,
    values=st.booleans(),
)
def test_what_is_not_finite_never_gets_in(
    seed: int, first: int, length: int, number: float, where: str, plan: PlanLike, values: bool
) -> None:
    problem = generated(seed)
    oracle = Poisoned(Oracle(problem, values=values), first, first + length, number, where)
    result = pfopt.minimize(oracle, problem.x0, 128, plan=plan, initial_step=1e-6)
    assert len(oracle.points) == result.gradients <= 128
    assert np.isfinite(oracle.points).all()
    assert np.isfinite(result.x).all()
    assert problem.value(result.x) <= problem.value(problem.x0)


@pytest.mark.parametrize("output", ["average", "last"])
@pytest.mark.parametrize("values", [False, True])
@pytest.mark.parametrize("call", [0, 1, 31, 32, 63, 64, 95, 96, 127])
def test_a_bad_answer_rejects_its_probe_and_changes_no_other(call: int, values: bool, output: str) -> None:
    """The probe that meets it is rejected after its remaining calls; the search is that of the oracle."""
    problem = logistic(3)
    for number, where in ((math.nan, "entry"), (math.inf, "gradient"), (math.nan, "value")):
        mine, literal = (
            Poisoned(Oracle(problem, values=values), call, call + 1, number, where) for _ in range(2)
        )
        found = by_pfopt(mine, problem.x0, 128, 0.5, output=output)
        expected = algorithm1(literal, problem.x0, 128, 0.5, output=output)
        assert found.decisions == expected.decisions
        assert found.calls == expected.calls
        np.testing.assert_allclose(found.point, expected.point, rtol=0, atol=1e-12)
        assert [probe.accepted for probe in found.probes if _holds(found.probes, probe, call)] == [False]


def _holds(probes: list, probe: Any, call: int) -> bool:
    """Whether this probe made call number `call`."""
    start = sum(other.T for other in probes[: probes.index(probe)])
    return start <= call < start + probe.T


@pytest.mark.parametrize("plan", ["certified", "practical"])
@pytest.mark.parametrize("initial_step", [1e-6, 10.0, 1e20])
def test_an_oracle_that_is_never_finite_leaves_the_anchor(plan: PlanLike, initial_step: float) -> None:
    problem = logistic(3)
    oracle = Poisoned(Oracle(problem), 0, 1000, math.nan, "gradient")
    result = pfopt.minimize(oracle, problem.x0, 128, plan=plan, initial_step=initial_step)
    np.testing.assert_array_equal(result.x, problem.x0)
    assert not any(probe.accepted for probe in result.probes)


@pytest.mark.parametrize("plan", ["certified", "practical"])
def test_a_first_step_that_overflows_leaves_a_point_no_worse_than_the_anchor(plan: PlanLike) -> None:
    problem = quadratic(np.array([1.0, 0.1]), np.array([1.0, 1.0]))
    for initial_step in (1e3, 1e9, 1e100, 1e300):
        result = pfopt.minimize(Oracle(problem), problem.x0, 1024, plan=plan, initial_step=initial_step)
        assert np.isfinite(result.x).all()
        assert problem.value(result.x) <= problem.value(problem.x0)


@given(
    seed=st.integers(0, 63),
    c=st.integers(-40, 40),
    s=st.integers(-40, 40),
    given_step=st.booleans(),
    plan=PLANS,
)
def test_equivariance_by_powers_of_two_is_bitwise(
    seed: int, c: int, s: int, given_step: bool, plan: PlanLike
) -> None:
    """f -> 2^c f and x -> 2^s x, with initial_step 2^(2s - c) times as large or chosen by the package."""
    problem = generated(seed)
    assume(given_step or problem.x0.any())  # at the origin nothing tells the package the scale of x
    inner = Oracle(problem)
    first, scaled_first = (1e-4, math.ldexp(1e-4, 2 * s - c)) if given_step else (None, None)
    plain = pfopt.minimize(Oracle(problem), problem.x0, 128, plan=plan, initial_step=first)
    scaled = pfopt.minimize(
        lambda x: np.ldexp(inner(np.ldexp(x, -s)), c - s),
        np.ldexp(problem.x0, s),
        128,
        plan=plan,
        initial_step=scaled_first,
    )
    np.testing.assert_array_equal(scaled.x, np.ldexp(plain.x, s))
    assert of_result(scaled).decisions == of_result(plain).decisions
    assert scaled.step_size == math.ldexp(plain.step_size, 2 * s - c)
    assert scaled.distance == math.ldexp(plain.distance, s)
    assert scaled.lipschitz == math.ldexp(plain.lipschitz, c - s)


def margin(problem: Problem, B: int, eta_eps: float) -> float:
    """How far the literal search is from any other decision, relative."""
    found, distances = algorithm1(Oracle(problem), problem.x0, B, eta_eps), []
    for probe in found.probes:
        run = run_sgd(Oracle(problem), problem.x0, probe.eta, probe.T)
        distances.append(abs(phi(run, 3.0, 0.0) / probe.eta - 1))
    if found.exit == "bracket":
        lo, hi = found.bracket
        distances.append(abs(hi.eta * math.sqrt(3 * hi.G) / lo.rbar - 1) if math.isfinite(hi.G) else 1.0)
    return min(distances)


@given(
    seed=st.integers(0, 63).filter(lambda seed: seed % 8 in (1, 2, 3, 6, 7)),  # smooth, or of one kink
    c=st.floats(1e-12, 1e12),
    s=st.floats(1e-12, 1e12),
)
def test_equivariance_by_any_factor_keeps_the_exponent(seed: int, c: float, s: float) -> None:
    problem = generated(seed)
    assume(margin(problem, 128, 1e-4) > 1e-6)
    inner = Oracle(problem)
    plain = by_pfopt(Oracle(problem), problem.x0, 128, 1e-4)
    scaled = by_pfopt(lambda x: c / s * inner(x / s), s * problem.x0, 128, 1e-4 * s * s / c)
    assert scaled.exponent == plain.exponent
    assert scaled.decisions == plain.decisions
    np.testing.assert_allclose(
        scaled.point / s, plain.point, rtol=0, atol=1e-8 * (1 + np.abs(plain.point).max())
    )


@pytest.mark.parametrize("plan", CHOICES, ids=str)
@pytest.mark.parametrize("habit", ["same buffer", "view of x", "writes into x", "read-only", "strided"])
def test_oracles_may_reuse_and_overwrite(habit: str, plan: PlanLike) -> None:
    """The gradient of |x|^2/2 is x itself, the best way to be handed an alias of the iterate."""
    problem = quadratic(np.ones(4), np.zeros(4), np.array([1.0, -2.0, 3.0, 0.5]))
    buffer, wide = np.empty(4), np.empty((4, 3))

    def oracle(x: np.ndarray) -> np.ndarray:
        if habit == "same buffer":
            buffer[:] = x
            return buffer
        if habit == "view of x":
            return x[:]
        if habit == "strided":
            wide[:, 1] = x
            return wide[:, 1]
        answer = x.copy()
        if habit == "writes into x":
            x[:] = 1e6
        answer.flags.writeable = habit != "read-only"
        return answer

    x0 = problem.x0.copy()
    options: dict[str, Any] = {"initial_step": 1e-3, "plan": plan}
    result = pfopt.minimize(oracle, x0, 128, **options)
    expected = pfopt.minimize(Oracle(problem), problem.x0, 128, **options)
    np.testing.assert_array_equal(result.x, expected.x)
    np.testing.assert_array_equal(x0, problem.x0)
    assert result.probes == expected.probes
    result.x[:] = 7.0
    np.testing.assert_array_equal(x0, problem.x0)


def test_the_anchor_is_returned_as_a_copy() -> None:
    x0 = np.array([1.0, 2.0])
    result = pfopt.minimize(np.zeros_like, x0, 64, initial_step=1.0)
    assert not np.shares_memory(result.x, x0)


@pytest.mark.parametrize("plan", ["certified", "practical"])
@pytest.mark.parametrize("error", [RuntimeError("mine"), KeyboardInterrupt(), StopIteration("mine")])
@pytest.mark.parametrize("call", [1, 20, 100])
def test_what_the_oracle_raises_comes_through(call: int, error: BaseException, plan: PlanLike) -> None:
    inner, x0 = Oracle(distance(np.ones(3), np.zeros(3))), np.zeros(3)

    def oracle(x: np.ndarray) -> np.ndarray:
        if inner.calls + 1 == call:
            raise error
        return inner(x)

    with pytest.raises(type(error)) as caught:
        pfopt.minimize(oracle, x0, 128, initial_step=1e-3, plan=plan)
    assert caught.value is error
    assert inner.calls == call - 1
    np.testing.assert_array_equal(x0, np.zeros(3))


def test_what_the_callback_raises_comes_through() -> None:
    error = RuntimeError("mine")

    def callback(record: pfopt.ProbeRecord) -> None:
        raise error

    with pytest.raises(RuntimeError) as caught:
        pfopt.minimize(
            Oracle(logistic(0)), np.zeros(logistic(0).x0.size), 64, initial_step=1e-3, callback=callback
        )
    assert caught.value is error
