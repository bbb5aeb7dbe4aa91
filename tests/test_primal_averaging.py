"""The bound for primal averaging with weights that grow (experiments/NOTES.md, "Theory"), on exact subgradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

Point = NDArray[np.float64]
ROUNDING = 1e-9


class Descent(NamedTuple):
    """What a run leaves behind; distances are ‖x_t − x*‖²."""

    average: Point
    distances: list[float]
    noise: float  # Σ a_t step_t² ‖g_t‖²
    total: float  # Σ a_t step_t


def descend(
    subgradient: Callable[[Point], Point],
    start: Point,
    optimum: Point,
    steps: Point,
    factors: Point,
    shares: Point,
) -> Descent:
    """Primal averaging, x_t with weight ``factors[t] * steps[t]``."""
    iterate, average, total, noise = start, np.zeros_like(start), 0.0, 0.0
    distances = []
    for step, factor, share in zip(steps, factors, shares, strict=True):
        total += factor * step
        average = average + factor * step / total * (iterate - average)
        distances.append(float(np.sum((iterate - optimum) ** 2)))
        gradient = subgradient(iterate + share * (average - iterate))
        noise += factor * step**2 * float(gradient @ gradient)
        iterate = iterate - step * gradient
    return Descent(average, distances, noise, total)


@given(
    seed=st.integers(0, 10_000),
    first=st.floats(0.0, 1.0),
    last=st.floats(0.0, 1.0),
    growth=st.floats(0.0, 3.0),
    scale=st.floats(1e-3, 10.0),
)
def test_growing_factors_cost_the_largest_distance(
    seed: int, first: float, last: float, growth: float, scale: float
) -> None:
    """Mean absolute residuals, of minimum 0."""
    rng = np.random.default_rng(seed)
    rows, optimum = rng.standard_normal((6, 3)), rng.standard_normal(3)
    steps = scale * rng.uniform(0.1, 1.0, 40)
    factors = np.sort(rng.uniform(0.1, 1.0, 40)) * np.arange(1.0, 41.0) ** growth

    def subgradient(x: Point) -> Point:
        return rows.T @ np.sign(rows @ (x - optimum)) / len(rows)

    found = descend(subgradient, np.zeros(3), optimum, steps, factors, np.linspace(first, last, 40))
    gap = float(np.mean(np.abs(rows @ (found.average - optimum))))
    bound = (factors[-1] * max(found.distances) + found.noise) / (2 * found.total)
    assert gap <= bound * (1 + ROUNDING)


@pytest.mark.parametrize("share", [0.0, 2 / 3])
def test_the_first_distance_is_not_enough(share: float) -> None:
    """|x|: the first step throws x far away at hardly any weight, the others are short and have all of it."""
    steps, factors = np.array([1.0] + [1e-3] * 20), np.array([1e-6] + [1e3] * 20)
    found = descend(np.sign, np.array([1e-3]), np.zeros(1), steps, factors, np.full(21, share))
    gap = abs(float(found.average[0]))
    assert gap > (factors[-1] * found.distances[0] + found.noise) / (2 * found.total)
    assert gap <= (factors[-1] * max(found.distances) + found.noise) / (2 * found.total)
