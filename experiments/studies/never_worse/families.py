"""The functions: families, of which each one draws a function in so many dimensions with its gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Point = NDArray[np.float64]
Function = Callable[[Point], tuple[float, Point]]
"""``f(x)`` and its gradient, without noise."""

Family = Callable[[Generator, int], tuple[float, Function]]
"""Draws what jumps no gradient shows, and the function."""


def _plain(make: Callable[[Generator, int], Function]) -> Family:
    return lambda draw, d: (0.0, make(draw, d))


def _quadratic(draw: Generator, d: int) -> Function:
    weights, centre = 10.0 ** draw.uniform(-3, 3, d), draw.normal(size=d)
    return lambda x: (float(weights @ (x - centre) ** 2) / 2, weights * (x - centre))


def _rows(draw: Generator, d: int) -> tuple[Any, Any]:
    rows = draw.normal(size=(20, d)) * 10.0 ** draw.uniform(-1, 1, d)
    return rows, rows @ draw.normal(size=d) / d**0.5 + draw.normal(size=20)


def _least_squares(draw: Generator, d: int) -> Function:
    rows, targets = _rows(draw, d)

    def function(x: Point) -> tuple[float, Point]:
        errors = rows @ x - targets
        return float(errors @ errors) / 40, rows.T @ errors / 20

    return function


def _logistic(draw: Generator, d: int) -> Function:
    rows, targets = _rows(draw, d)
    signed = rows * np.sign(targets)[:, None]

    def function(x: Point) -> tuple[float, Point]:
        margins = signed @ x
        return float(np.logaddexp(0, -margins).mean()), -signed.T @ _sigmoid(-margins) / 20

    return function


def _hinge(draw: Generator, d: int) -> Function:
    rows, targets = _rows(draw, d)
    signed = rows * np.sign(targets)[:, None]

    def function(x: Point) -> tuple[float, Point]:
        gaps = 1 - signed @ x
        return float(np.maximum(gaps, 0).mean()), -signed.T @ (gaps > 0) / 20

    return function


def _absolute(draw: Generator, d: int) -> Function:
    weights, centre = 10.0 ** draw.uniform(-1, 1, d), draw.normal(size=d)
    return lambda x: (float(weights @ np.abs(x - centre)), weights * np.sign(x - centre))


def _largest(draw: Generator, d: int) -> Function:
    centre = draw.normal(size=d)

    def function(x: Point) -> tuple[float, Point]:
        place = int(np.argmax(np.abs(x - centre)))
        grad = np.zeros_like(x)
        grad[place] = np.sign(x[place] - centre[place])
        return float(abs(x[place] - centre[place])), grad

    return function


def _roots(draw: Generator, d: int) -> Function:
    """Square roots of distances: slopes without bound at the minimum."""
    centre = draw.normal(size=d)

    def function(x: Point) -> tuple[float, Point]:
        off = x - centre
        roots = np.sqrt(np.abs(off))
        return float(roots.sum()), np.sign(off) / (2 * np.maximum(roots, 1e-150))

    return function


def _rosenbrock(draw: Generator, d: int) -> Function:
    def function(x: Point) -> tuple[float, Point]:
        bends = x[1:] - x[:-1] ** 2
        grad = 2 * (x - 1)
        grad[1:] += 200 * bends
        grad[:-1] -= 400 * x[:-1] * bends
        return float(100 * bends @ bends + (x - 1) @ (x - 1)), grad

    return function


def _wavy(draw: Generator, d: int) -> Function:
    height, waves = 10.0 ** draw.uniform(-1, 1), 10.0 ** draw.uniform(0, 2)
    return lambda x: (
        float((x**2 / 2 + height * (1 - np.cos(waves * x))).sum()),
        x + height * waves * np.sin(waves * x),
    )


def _wells(draw: Generator, d: int) -> Function:
    return lambda x: (float(((x**2 - 1) ** 2).sum()), 4 * x * (x**2 - 1))


def _network(draw: Generator, d: int) -> Function:
    """Products of two numbers under tanh: flat far out, a saddle at the origin."""
    targets = draw.uniform(-1, 1, d)

    def function(x: Point) -> tuple[float, Point]:
        told = np.tanh(x * np.roll(x, 1))
        slopes = (told - targets) * (1 - told**2)
        return float(((told - targets) ** 2).sum()) / 2, slopes * np.roll(x, 1) + np.roll(slopes * x, -1)

    return function


def _constant(draw: Generator, d: int) -> Function:
    return lambda x: (1.0, np.zeros_like(x))


def _hole(draw: Generator, d: int) -> Function:
    """Flat but for one hole, narrower than most starts are far."""

    def function(x: Point) -> tuple[float, Point]:
        depth = np.exp(-np.minimum(float(x @ x), 1400) / 2)
        return 1 - depth, depth * x

    return function


def _power(draw: Generator, d: int) -> Function:
    power = int(draw.choice([4, 6, 10]))
    return lambda x: (float((x**power).sum()), power * x ** (power - 1))


def _linear(draw: Generator, d: int) -> Function:
    slope = draw.normal(size=d)
    return lambda x: (float(slope @ x), slope.copy())


def _concave(draw: Generator, d: int) -> Function:
    return lambda x: (-float(x @ x) / 2, -x)


def _cubic(draw: Generator, d: int) -> Function:
    return lambda x: (float((x**3).sum()), 3 * x**2)


def _exponential(draw: Generator, d: int) -> Function:
    return lambda x: (float((np.exp(x) - x).sum()), np.exp(x) - 1)


def _barrier(draw: Generator, d: int) -> Function:
    """|x| − log |x|: two valleys, and a peak at the origin that is as good as infinite."""

    def function(x: Point) -> tuple[float, Point]:
        size = np.abs(x)
        return float((size - np.log(size + 1e-3)).sum()), np.sign(x) * (1 - 1 / (size + 1e-3))

    return function


def _walled(draw: Generator, d: int) -> Function:
    """A quadratic whose gradients are NaN far from its centre."""
    centre = draw.normal(size=d)

    def function(x: Point) -> tuple[float, Point]:
        off = x - centre
        far = float(off @ off) > 1e6 * d
        return (np.nan if far else float(off @ off) / 2), np.full_like(x, np.nan) if far else off

    return function


def _steps(draw: Generator, d: int) -> tuple[float, Function]:
    """A quadratic on which every other stretch of the first coordinate is higher, unseen by gradients."""
    jump, width = 10.0 ** draw.uniform(-2, 1), 10.0 ** draw.uniform(-2, 1)
    return jump, lambda x: (float(x @ x) / 2 + jump * float(np.floor(x[0] / width) % 2), x.copy())


def _sigmoid(x: Point) -> Point:
    return np.exp(-np.logaddexp(0, -x))


FAMILIES: dict[str, Family] = {
    "quadratic": _plain(_quadratic),
    "least squares": _plain(_least_squares),
    "logistic": _plain(_logistic),
    "hinge": _plain(_hinge),
    "absolute": _plain(_absolute),
    "largest": _plain(_largest),
    "square roots": _plain(_roots),
    "rosenbrock": _plain(_rosenbrock),
    "wavy": _plain(_wavy),
    "double wells": _plain(_wells),
    "network": _plain(_network),
    "constant": _plain(_constant),
    "hole": _plain(_hole),
    "power": _plain(_power),
    "linear": _plain(_linear),
    "concave": _plain(_concave),
    "cubic": _plain(_cubic),
    "exponential": _plain(_exponential),
    "barrier": _plain(_barrier),
    "walled": _plain(_walled),
    "steps": _steps,
}
