"""The interval: its quantiles, its units, what it may be wrong about, and what it makes of correlated noise."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from pfopt.control import trend
from pfopt.control.student import quantile, upper_tail

STEPS = np.arange(40.0)


def noise(seed: int, number: int = 40, correlation: float = 0.0) -> NDArray[Any]:
    """Of variance 1, AR(1)."""
    rng = np.random.default_rng(seed)
    values = [rng.standard_normal()]
    for fresh in rng.standard_normal(number - 1):
        values.append(correlation * values[-1] + np.sqrt(1 - correlation**2) * fresh)
    return np.array(values)


@pytest.mark.parametrize("freedom", [1, 2, 3, 6, 7, 126, 254])
def test_student_is_scipys(freedom: int) -> None:
    for level in (0.4, 0.05, 1e-4, 1e-7):
        t = quantile(level, freedom)
        assert t == pytest.approx(stats.t.isf(level, freedom), rel=1e-6)
        assert upper_tail(t, freedom) == pytest.approx(level, rel=1e-6)


def test_white_noise_around_a_line_is_least_squares_with_wider_errors() -> None:
    values = 0.1 * STEPS + noise(2)
    low, high = trend.slope(STEPS, values, 0.025)
    usual: Any = stats.linregress(STEPS, values)
    assert (low + high) / 2 == pytest.approx(usual.slope, rel=0.05)
    ratio = (high - low) / 2 / (usual.stderr * stats.t.isf(0.025, 38))
    assert 1.0 < ratio < 1.6


@pytest.mark.parametrize("factor", [1e-200, 1e200])
def test_slope_and_level_change_with_the_units(factor: float) -> None:
    values = noise(1) + 5
    for test, unit in ((trend.slope, 1 / 16), (trend.center, 1.0)):
        once, again = test(STEPS, values, 0.01), test(16 * STEPS, factor * values, 0.01)
        assert np.array(again) / factor == pytest.approx(np.array(once) * unit, rel=1e-9)


def test_a_shift_changes_no_slope() -> None:
    values = noise(1)
    moved = trend.slope(STEPS + 1000, values + 7, 0.01)
    assert np.array(moved) == pytest.approx(np.array(trend.slope(STEPS, values, 0.01)), abs=1e-7)


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9, 0.99])
def test_it_misses_no_more_often_than_it_may(correlation: float) -> None:
    """One side at level 0.05 in 300 series; 24 or more have a probability of 1% at exactly that rate."""
    ends = [trend.slope(STEPS, noise(seed, 40, correlation), 0.05).low for seed in range(300)]
    assert sum(low > 0.0 for low in ends) < 24


def test_a_curve_that_falls_is_never_said_to_rise() -> None:
    """Whatever its shape: the weights of the estimate increase."""
    rng = np.random.default_rng(0)
    for seed in range(50):
        curve = -np.cumsum(rng.exponential(size=40) ** 3)
        interval = trend.slope(STEPS, curve + 0.1 * noise(seed), 0.1)
        assert interval.low <= 0.0


def test_a_smooth_curve_is_seen_in_a_dozen_points() -> None:
    """Its residuals are correlated, so its increments decide."""
    rising = np.arange(12.0) ** 2
    assert trend.slope(np.arange(12.0), rising, 1e-3).low > 0.0
    assert trend.correlation_bound(np.stack([np.ones(12), np.arange(12.0)], axis=1), rising) > 0.5


def test_a_constant_stream_has_no_slope_at_all() -> None:
    assert trend.slope(STEPS, np.full(40, 0.0), 0.01) == (0.0, 0.0)
    low, high = trend.slope(STEPS, np.full(40, 2.5), 0.01)
    assert -1e-8 < low < 0 < high < 1e-8


def test_the_level_of_a_random_walk_is_unknown() -> None:
    assert trend.center(STEPS, np.cumsum(noise(0)), 0.01) == trend.ANYWHERE
    low, high = trend.center(STEPS, noise(2) + 3, 0.01)
    assert 2.3 < low < 3 < high < 3.7
