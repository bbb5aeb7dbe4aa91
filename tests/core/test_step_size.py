"""The step sizes of the whole, of groups or tensors, and of coordinates (listing of the main run, 3 to 5)."""

from typing import Any

import numpy as np
import pytest

import pfopt
from pfopt import options
from pfopt.core import controller, step_size
from pfopt.core.config import Constants
from pfopt.core.records import State
from pfopt.core.step_size import CoordinateRule, coordinate_steps

CONFIG = options.configure(pfopt.Practical(), 1000)
BASED = options.configure(pfopt.Practical(), 1000, based=True)


def state_with(scopes: int = 0, **bracket: Any) -> State:
    state = controller.init(CONFIG, scopes, np, 0.5)
    return state._replace(bracket=state.bracket._replace(**bracket))


@pytest.mark.parametrize(("config", "share"), [(CONFIG, 1.0), (BASED, 0.1)])
def test_the_main_run_starts_as_if_it_had_come_as_far_as_the_selected_probe(
    config: Any, share: float
) -> None:
    found = {"lo_distance_sq": np.float64(9.0), "hi_distance_sq": 5.0}
    for has_lo, expected in ((True, 9.0), (False, 5.0)):
        state = state_with(has_lo=has_lo, **found)
        assert step_size.initial_distance_sq(config, state) == pytest.approx(share**2 * expected, rel=1e-15)


def test_a_scope_that_stood_still_starts_like_the_whole() -> None:
    state = state_with(2, has_lo=True, lo_distance_sq=np.asarray([9.0, 0.0, 4.0]), hi_distance_sq=5.0)
    np.testing.assert_array_equal(step_size.initial_distance_sq(CONFIG, state), [9.0, 9.0, 4.0])
    alone = state._replace(bracket=state.bracket._replace(has_lo=False))
    np.testing.assert_array_equal(step_size.initial_distance_sq(CONFIG, alone), [5.0, 5.0, 5.0])


@pytest.mark.parametrize("exponent", [-3, 0, 66])
def test_the_cap_is_the_initial_step_size_doubled(exponent: int) -> None:
    assert step_size.cap(state_with()._replace(cap_exponent=exponent)) == 0.5 * 2.0**exponent


def test_the_whole_has_a_constant_of_its_own() -> None:
    constants = Constants(tracking=5.0, scope_tracking=7.0)
    assert step_size.tracking(constants, np.float64(8.0), np.float64(2.0)) == (2.0, 10.0)
    tracks, scaled = step_size.tracking(constants, np.asarray([8.0, 18.0, 0.0]), np.asarray([2.0, 2.0, 1.0]))
    np.testing.assert_array_equal(tracks, [2.0, 3.0, 0.0])
    np.testing.assert_array_equal(scaled, [10.0, 21.0, 0.0])


@pytest.mark.parametrize(
    ("track", "sum_growth", "cap", "count", "expected"),
    [
        (6.0, 0.5, 4.0, 40.0, 4.0),  # the certificate, 6/√4 = 3, is below the cap
        (16.0, 0.5, 4.0, 40.0, 8.0),  # beyond it, the certificate of all gradients since the restart
        (16.0, 1.0, 4.0, 40.0, 8.0),
        (16.0, 4.0, 4.0, 40.0, 4.0),  # or of the share of all that it remembers
        (32.0, 4.0, 4.0, 40.0, 8.0),
        (16.0, 0.5, 4.0, 15.0, 6.0),  # in proportion to the gradients
        (16.0, 0.5, 4.0, 5.0, 4.0),
        (16.0, 0.5, 4.0, 0.0, 4.0),
    ],
)
def test_beyond_the_cap_the_certificate_bounds_the_step(
    track: float, sum_growth: float, cap: float, count: float, expected: float
) -> None:
    constants = Constants(alpha=4.0)
    assert step_size.bound(constants, np.float64(track), np.float64(sum_growth), cap, count, 10) == expected
    tracks, growths = np.asarray([track, 0.0]), np.asarray([sum_growth, 1.0])
    found = step_size.bound(constants, tracks, growths, np.float64(cap), count, 10)
    np.testing.assert_array_equal(found, [expected, cap])


RULE = CoordinateRule(
    square_weight=0.25,
    count=9.0,
    sum_growth=4.0,
    initial_distance_sq=0.0,
    displacement_sq=0.0,
    displacement_product=0.0,
    decay=1.0,
)
CONSTANTS = Constants(coordinate_tracking=0.5, lag=3.0)


def steps_of(rule: CoordinateRule, displacement: Any, mean_square: Any) -> Any:
    displacement, mean_square = np.asarray(displacement, float), np.asarray(mean_square, float)
    return coordinate_steps(CONSTANTS, rule, displacement, mean_square, displacement.size)


def test_a_coordinate_tracks_its_own_displacement_and_gradients() -> None:
    """½ |d|/√(n k m): ½ · 6/√(9 · 4 · 1/4)."""
    np.testing.assert_array_equal(steps_of(RULE, [6.0, -6.0, 0.0], [0.25, 0.25, 0.25]), [1.0, 1.0, 0.0])
    np.testing.assert_array_equal(steps_of(RULE._replace(decay=0.5), [6.0], [0.25]), [0.5])


@pytest.mark.parametrize(
    ("others", "mean_square", "expected"),
    [
        ({"displacement_sq": 8.0, "displacement_product": 1e9}, 1.0, 9 * 8.0 / 2),
        ({"displacement_sq": 1e9, "displacement_product": 8.0}, 1.0, 9 * 8.0 / 2),
        ({"displacement_sq": 1e9, "displacement_product": 8.0}, 4.0, 9 * 2.0 / 2),  # in units of the loss
        ({"initial_distance_sq": 8.0}, 1.0, 8.0 / 2),
        (
            {"displacement_sq": 8.0, "displacement_product": 8.0, "initial_distance_sq": 71.0},
            1.0,
            9 * 8.0 / 2,
        ),
        ({"displacement_sq": 8.0, "displacement_product": 8.0, "initial_distance_sq": 73.0}, 1.0, 73.0 / 2),
    ],
)
def test_a_coordinate_that_lags_counts_as_far_as_the_others(
    others: dict[str, float], mean_square: float, expected: float
) -> None:
    """lag² min(Σd², Σd²m/m_i)/size, or r₀²/size where that is more."""
    found = steps_of(RULE._replace(**others), [1e-9, 100.0], [mean_square, 1.0])
    np.testing.assert_allclose(found, 0.5 / 6 * np.sqrt([expected / mean_square, 100.0**2]), rtol=1e-15)


def test_a_coordinate_without_gradients_has_a_finite_step() -> None:
    with np.errstate(all="raise"):
        steps = steps_of(RULE._replace(displacement_sq=1.0, displacement_product=1.0), [1.0, 0.0], [0.0, 0.0])
    assert np.isfinite(steps).all()
    assert (steps > 1e100).all()


@pytest.mark.parametrize("power", [-20, 7])
def test_coordinates_know_no_units(power: int) -> None:
    """x in units 2^power as large has gradients as much smaller, and steps 4^power as large."""
    unit, displacement, mean_square = 2.0**power, np.asarray([3.0, -0.5]), np.asarray([2.0, 0.1])
    rule = RULE._replace(displacement_sq=1.0, displacement_product=1.0)
    scaled = rule._replace(displacement_sq=unit**2)
    steps = steps_of(scaled, displacement * unit, mean_square / unit**2)
    np.testing.assert_array_equal(steps, steps_of(rule, displacement, mean_square) * unit**2)
