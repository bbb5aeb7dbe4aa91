"""The practical plan in literal numpy and ``pfopt.minimize`` return the same point."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import pfopt
from pfopt.reference import practical

Point = NDArray[np.float64]
TOTALS = (16, 17, 40, 79, 160, 400)
LONG = (999, 1500, 4000)


class Oracle:
    """Gradients of a mean of losses, spoiled in one way, the same at every run; call by call."""

    def __init__(self, seed: int, loss: str, habit: str, power: int):
        draw = np.random.default_rng([seed, 17])
        self.size = int(draw.integers(1, 8))
        self.rows = draw.standard_normal((30, self.size)) * np.geomspace(1.0, 0.1, self.size)
        self.best = draw.standard_normal(self.size) * (draw.random(self.size) < 0.8)
        self.unit = 2.0**power  # of x; gradients have its inverse
        self.x0 = self.unit * draw.standard_normal(self.size) * (seed % 3 > 0)
        self.loss, self.habit, self.draw = loss, habit, draw

    def __call__(self, x: Point) -> Point:
        residual = self.rows @ (x / self.unit - self.best)
        slope = {"squared": residual, "absolute": np.sign(residual), "logistic": np.tanh(residual / 2) / 2}[
            self.loss
        ]
        batch = slice(None) if self.habit == "exact" else self.draw.integers(30, size=4)
        grad = self.rows[batch].T @ slope[batch] / len(slope[batch]) / self.unit
        return grad * self._spoiled()

    def _spoiled(self) -> Any:
        if self.habit == "noisy":
            return 1.0
        if self.habit == "heavy tails":
            return np.abs(self.draw.standard_cauchy()) ** 2
        if self.habit == "nan":
            return np.nan if self.draw.random() < 0.15 else 1.0
        if self.habit == "infinite":
            return np.inf if self.draw.random() < 0.4 else 1.0
        if self.habit == "zeros":
            return float(self.draw.random() < 0.3)
        if self.habit == "bursts":
            return 1e6 if self.draw.random() < 0.01 else 1.0
        return 1.0


HABITS = ("exact", "noisy", "heavy tails", "nan", "infinite", "zeros", "bursts")


def both(make: Callable[[], Any], x0: Point, total: int) -> tuple[Point, pfopt.Result]:
    with np.errstate(all="ignore"):
        return practical(make(), x0, total), pfopt.minimize(make(), x0, total)


@pytest.mark.parametrize("habit", HABITS)
@pytest.mark.parametrize("loss", ["squared", "absolute", "logistic"])
def test_the_literal_plan_and_the_package_agree(loss: str, habit: str) -> None:
    number = 10 * (len(loss) + HABITS.index(habit))
    for seed, total in enumerate((*TOTALS, LONG[number // 10 % 3]), number):
        power = (0, -30, 30)[seed % 3]
        oracle = Oracle(seed, loss, habit, power)
        literal, result = both(lambda s=seed, p=power: Oracle(s, loss, habit, p), oracle.x0, total)
        size = max(float(np.linalg.norm(literal)), result.distance)
        assert np.linalg.norm(result.x - literal) <= 1e-9 * size, (seed, total, power)
        assert result.gradients == total or not oracle(oracle.x0).any()


@pytest.mark.parametrize("answer", [0.0, np.nan, np.inf])
def test_where_nothing_is_measured_the_anchor_is_returned(answer: float) -> None:
    literal, result = both(lambda: lambda x: np.full_like(x, answer), np.asarray([1.0, -2.0]), 100)
    np.testing.assert_array_equal(literal, [1.0, -2.0])
    np.testing.assert_array_equal(result.x, literal)


UNDERFLOW = pytest.mark.xfail(
    raises=TypeError, strict=True, reason="‖g‖² underflows before a step size is fixed"
)


@pytest.mark.parametrize("first", [np.nan, 1e200, pytest.param(1e-300, marks=UNDERFLOW)])
def test_a_strange_first_gradient(first: float) -> None:
    """It fixes the initial step size, or fails to."""

    def make() -> Callable[[Point], Point]:
        calls = iter(range(1000))
        return lambda x: x - 3.0 if next(calls) else np.full_like(x, first)

    literal, result = both(make, np.asarray([1.0, -2.0]), 200)
    np.testing.assert_allclose(result.x, literal, rtol=1e-9)
