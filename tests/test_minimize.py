"""Plan "certified" takes the decisions of the literal Algorithm 1 and returns its point."""

from typing import Any, NamedTuple

import numpy as np
import pytest

import pfopt
from paper_repro.problems import (
    Oracle,
    Problem,
    generated,
    hinge,
    least_squares,
    logistic,
    quadratic,
)
from tests.reference.algorithm1 import algorithm1
from tests.reference.outcome import Outcome
from tests.reference.subject import by_pfopt

BLOCK, BLOCKS = 20, 28  # 560 generated problems
EDGES = (8, 9, 15, 16, 31, 32)


class Case(NamedTuple):
    problem: Problem
    oracle: dict[str, Any]
    x0: np.ndarray
    B: int
    eta_eps: float
    options: dict[str, Any]


def case(seed: int) -> Case:
    """Search number `seed`: its problem, noise, point, budget, first step and constants."""
    rng, problem = np.random.default_rng([11, seed]), generated(seed)
    B = int(rng.choice(EDGES)) if rng.random() < 0.5 else int(rng.integers(33, 320))
    alpha = float(rng.choice([1.1, 1.5, 2.2, 3.0, 4.7, 10.0]))
    if alpha in (
        B // 4,
        B // 8,
        B // 16,
    ):  # parallel gradients would make an exact tie of what rounding decides
        alpha += 0.1
    options: dict[str, Any] = {"alpha": alpha, "output": str(rng.choice(["average", "last"]))}
    if rng.random() < 0.2:
        options["beta"] = 10.0 ** rng.uniform(-6, 0)
    elif rng.random() < 0.1:
        options = {"output": options["output"], "L": 10.0, "delta": 0.1}
    oracle: dict[str, Any] = {"values": bool(rng.random() < 0.5), "seed": seed, "calls": B}
    noisy = rng.random()
    if noisy < 0.3:
        oracle["noise"] = 10.0 ** rng.uniform(-2, 0.5)
    elif noisy < 0.5 and problem.rows > 1:
        oracle["batch"] = int(rng.integers(1, 5))
    d = problem.x0.size
    shapes = [(d,), (d, 1), (1, d, 1)] + ([(2, d // 2)] if d % 2 == 0 else []) + ([()] if d == 1 else [])
    oracle["shape"] = shapes[rng.integers(len(shapes))]
    dtype = np.float32 if rng.random() < 0.1 else np.float64
    x0 = problem.x0.reshape(oracle["shape"]).astype(dtype)
    return Case(problem, oracle, x0, B, 10.0 ** rng.uniform(-11, 2), options)


def assert_same(found: Outcome, literal: Outcome, x0: np.ndarray) -> None:
    """Same decisions, same statistics, same point, same number of calls."""
    assert found.decisions == literal.decisions
    assert found.exponent == literal.exponent
    assert found.calls == literal.calls
    tolerance, size = (1e-10 if x0.dtype == np.float64 else 1e-5), float(np.linalg.norm(x0))
    for probe, other in zip(found.probes, literal.probes, strict=True):
        assert (probe.T, probe.eta) == (other.T, other.eta)
        if other.accepted:
            rounding = 1e-4 * tolerance * size  # of x - x_0, where the step is tiny beside x_0
            np.testing.assert_allclose(probe.G, other.G, rtol=10 * tolerance)
            np.testing.assert_allclose(probe.rbar, other.rbar, rtol=10 * tolerance, atol=rounding)
    assert found.point.shape == x0.shape
    assert found.point.dtype == x0.dtype
    scale = max(np.abs(x0).max(), np.abs(literal.point).max())
    np.testing.assert_allclose(found.point, literal.point, rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize("block", range(BLOCKS))
def test_same_search_as_the_literal_algorithm(block: int) -> None:
    for seed in range(BLOCK * block, BLOCK * (block + 1)):
        problem, oracle, x0, B, eta_eps, options = case(seed)
        mine, literal = Oracle(problem, **oracle), Oracle(problem, **oracle)
        found = by_pfopt(mine, x0, B, eta_eps, **options)
        assert_same(found, algorithm1(literal, x0, B, eta_eps, **options), x0)
        assert mine.calls == found.calls <= B
        if found.exit == "bracket":
            assert (found.calls == B) == (B % (2 * found.final[0].k) == 0)


def test_generated_searches_end_in_every_way() -> None:
    ends = []
    for seed in range(BLOCK * BLOCKS):
        problem, oracle, x0, B, eta_eps, options = case(seed)
        if B in EDGES:
            outcome = algorithm1(Oracle(problem, **oracle), x0, B, eta_eps, **options)
            ends.append((outcome.exit, outcome.probes[-1].k))
    assert {end for end, _ in ends} == {"anchor", "lo", "bracket"}
    assert {k for _, k in ends} == {2, 4, 8}


@pytest.mark.parametrize("output", ["average", "last"])
@pytest.mark.parametrize("eta_eps", [2.0**-250, 1e-70, 1e-40, 1e-20, 1.0, 1e20])
def test_overflow_and_exhausted_range(eta_eps: float, output: str) -> None:
    problem = quadratic(np.array([1.0, 0.3, 0.01]), np.array([3.0, -1.0, 2.0]))
    found = by_pfopt(Oracle(problem), problem.x0, 256, eta_eps, output=output)
    literal = algorithm1(Oracle(problem), problem.x0, 256, eta_eps, output=output)
    if eta_eps == 1e20:  # the run at eta_eps itself overflows
        np.testing.assert_array_equal(literal.point, problem.x0)
    assert_same(found, literal, problem.x0)


def test_every_certified_step_size_returns_the_anchor() -> None:
    target = np.full(3, 1e9)
    problem = quadratic(np.full(3, 1e-6), target)
    for B in (16, 31, 32, 100):
        plan = pfopt.Certified(alpha=1.1)
        result = pfopt.minimize(Oracle(problem), problem.x0, B, plan=plan, initial_step=1e-75)
        assert [probe.accepted for probe in result.probes] == [True] * (2 if B < 32 else 3)
        np.testing.assert_array_equal(result.x, problem.x0)
        assert result.outcome == pfopt.Outcome.RANGE_EXHAUSTED


class Script:
    """An oracle that returns these numbers, call by call, wherever it is asked."""

    def __init__(self, *numbers: float):
        self.numbers, self.calls = numbers, 0

    def __call__(self, x: np.ndarray) -> np.ndarray:
        self.calls += 1
        return np.full_like(x, self.numbers[self.calls - 1])


UP, DOWN = (1.0,) * 4, (1.0, -1.0) * 2
NO = float("nan")


@pytest.mark.parametrize(
    ("numbers", "B", "decisions", "exponent", "x"),
    [
        # eta = phi(eta) exactly at T = alpha = 4: certified at hi; then T = 2 < alpha is not
        (UP + (1.0,) * 4, 16, [(2, 4, True), (4, 16, False), (4, 0, False)], 0, -0.5),
        # a tie at lo is certified; hi sqrt(alpha G(hi)) = 4 = rbar(lo), a tie, returns hi
        (
            DOWN + UP + DOWN + (0.5, -0.5) * 2,
            16,
            [(2, 4, False), (2, 0, True), (2, 2, False), (2, 1, False)],
            1,
            -0.5,
        ),
        # just above that tie, lo is returned
        (
            DOWN + UP + DOWN + (0.5, -0.5, 0.5, -0.5 - 2.0**-30),
            16,
            [(2, 4, False), (2, 0, True), (2, 2, False), (2, 1, False)],
            0,
            -1.5,
        ),
        # a hi that would win, had it been finite, is not returned
        (
            DOWN + UP + DOWN + (0.5, -0.5, NO, 1.0),
            16,
            [(2, 4, False), (2, 0, True), (2, 2, False), (2, 1, False)],
            0,
            -1.5,
        ),
        # a tie in the middle goes to lo
        (DOWN + UP + UP + DOWN, 16, [(2, 4, False), (2, 0, True), (2, 2, True), (2, 3, False)], 2, -6.0),
        # zero gradients after the first are zero moves that count
        (
            DOWN + UP + (1.0, 0.0, 0.0, 0.0) + DOWN,
            16,
            [(2, 4, False), (2, 0, True), (2, 2, False), (2, 1, False)],
            0,
            -1.5,
        ),
    ],
)
def test_ties(numbers: tuple, B: int, decisions: list, exponent: int, x: float) -> None:
    found = by_pfopt(Script(*numbers), np.zeros(1), B, 1.0, alpha=4.0)
    assert found.decisions == decisions
    assert (found.exponent, found.point[0], found.calls) == (exponent, x, len(numbers))
    assert_same(found, algorithm1(Script(*numbers), np.zeros(1), B, 1.0, alpha=4.0), np.zeros(1))


@pytest.mark.parametrize("plan", ["certified", "practical"])
@pytest.mark.parametrize("values", [False, True])
def test_zero_gradient_at_the_anchor_ends_the_run(values: bool, plan: Any) -> None:
    problem = quadratic(np.ones(3), np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 3.0]))
    oracle = Oracle(problem, values=values)
    result = pfopt.minimize(oracle, problem.x0, 64, plan=plan, initial_step=0.1)
    assert result.gradients == oracle.calls == 1
    assert result.probes == []
    assert result.outcome == pfopt.Outcome.ZERO_GRADIENT
    assert (result.step_size, result.lipschitz, result.distance) == (0.0, 0.0, 0.0)
    np.testing.assert_array_equal(result.x, problem.x0)


def test_smallest_budget_takes_the_lower_exit() -> None:
    problem = hinge(3)
    result = pfopt.minimize(Oracle(problem), problem.x0, 8, plan="certified", initial_step=1e-3)
    assert [(p.k, p.exponent, p.steps, p.accepted) for p in result.probes] == [
        (2, 4, 2, False),
        (2, 0, 2, False),
    ]
    assert result.gradients == 4
    assert result.step_size == 1e-3
    assert result.outcome == pfopt.Outcome.LOWER_EXIT


@pytest.mark.parametrize("values", [False, True])
@pytest.mark.parametrize("output", ["average", "last"])
def test_result_and_callback(output: Any, values: bool) -> None:
    problem, seen, asked = logistic(3), [], []
    inner = Oracle(problem, values=values)

    def oracle(x: np.ndarray) -> Any:
        asked.append(problem.value(x))
        return inner(x)

    plan = pfopt.Certified(output=output)
    result = pfopt.minimize(oracle, problem.x0, 256, plan=plan, initial_step=1e-3, callback=seen.append)
    assert seen == result.probes
    assert all(isinstance(record, pfopt.ProbeRecord) for record in seen)
    chosen = [p for p in result.probes if p.k == result.probes[-1].k and p.step_size == result.step_size]
    assert (result.lipschitz, result.distance) == (chosen[0].lipschitz, chosen[0].distance)
    assert problem.value(result.x) < problem.value(problem.x0)
    assert result.outcome is pfopt.Outcome.CERTIFIED
    assert result.outcome.message == "The largest certified step size was found."
    start = 0
    for record in result.probes:
        kinds = [int, int, float, int, float, float, bool, float if values else type(None)]
        assert [type(field) for field in record] == kinds
        assert record.step_size == 1e-3 * 2.0**record.exponent
        block, start = asked[start : start + record.steps], start + record.steps
        if values:
            assert record.mean_value == pytest.approx(np.mean(block), rel=1e-12)
        else:
            assert record.mean_value is None
    assert start == result.gradients == inner.calls


@pytest.mark.parametrize("plan", ["certified", "practical"])
@pytest.mark.parametrize(
    ("problem", "scale"), [(logistic(3), 1e-6), (least_squares(1), 1.0), (hinge(2), 1e6)]
)
def test_default_initial_step_finds_a_usable_one(problem: Problem, scale: float, plan: Any) -> None:
    oracle = Oracle(problem)
    result = pfopt.minimize(lambda x: scale * oracle(x), problem.x0, 1024, plan=plan)
    assert problem.gap(result.x) < 0.25 * problem.gap(problem.x0)
    assert result.gradients == oracle.calls <= 1024
