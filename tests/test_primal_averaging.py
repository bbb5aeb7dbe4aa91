"""The bound for primal averaging with weights that grow (experiments/NOTES.md, "Theory"), on exact subgradients."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

ROUNDING = 1e-9


def run(seed: int, share: float, growth: float, scale: float) -> tuple[float, float, float]:
    """f(x̄) − f*, the bound of NOTES, and the bound with the last factor in place of the largest distance's."""
    rng = np.random.default_rng(seed)
    rows, optimum = rng.standard_normal((6, 3)), rng.standard_normal(3)
    steps = scale * rng.uniform(0.1, 1.0, 40)
    factors = np.sort(rng.uniform(0.1, 1.0, 40)) * np.arange(1.0, 41.0) ** growth
    iterate, average, total = np.zeros(3), np.zeros(3), 0.0
    squares, distances = [], []
    for step, factor in zip(steps, factors, strict=True):
        weight = factor * step
        total += weight
        average = average + weight / total * (iterate - average)
        distances.append(float(np.sum((iterate - optimum) ** 2)))
        point = iterate + share * (average - iterate)
        gradient = rows.T @ np.sign(rows @ (point - optimum)) / len(rows)
        squares.append(factor * step**2 * float(gradient @ gradient))
        iterate = iterate - step * gradient
    gap = float(np.mean(np.abs(rows @ (average - optimum))))
    noise = sum(squares)
    return (
        gap,
        (factors[-1] * max(distances) + noise) / (2 * total),
        (factors[0] * distances[0] + noise) / (2 * total),
    )


@given(
    seed=st.integers(0, 10_000),
    share=st.floats(0.0, 1.0),
    growth=st.floats(0.0, 3.0),
    scale=st.floats(1e-3, 10.0),
)
def test_growing_factors_cost_the_largest_distance(
    seed: int, share: float, growth: float, scale: float
) -> None:
    gap, bound, _ = run(seed, share, growth, scale)
    assert gap <= bound * (1 + ROUNDING)


@pytest.mark.parametrize("share", [0.0, 2 / 3])
def test_the_first_distance_alone_is_not_enough(share: float) -> None:
    """Without the largest distance the bound fails: the property above can fail."""
    assert any(gap > short for gap, _, short in (run(seed, share, 3.0, 1e-2) for seed in range(20)))
