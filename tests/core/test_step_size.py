"""The step sizes of the whole, of groups or tensors, and of coordinates (listing of the main run, 3 to 5)."""

from math import nan
from typing import Any

import numpy as np
import pytest

import pfopt
from pfopt import options
from pfopt.core import controller, step_size
from pfopt.core.config import Constants
from pfopt.core.records import State
from pfopt.core.step_size import CoordinateRule, coordinate_steps
from tests.core.runs import fresh

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


def test_a_base_moves_tensors_at_powers_of_two_times_the_wholes_step() -> None:
    steps = np.asarray([3.0, 3.0, 8.0, 9.0, 0.9, 0.0])  # 8/3 rounds up, in logarithms, and 3 as well
    np.testing.assert_array_equal(step_size.in_doublings(steps), [3.0, 3.0, 6.0, 12.0, 0.75, 0.0])
    np.testing.assert_array_equal(step_size.in_doublings(0 * steps), 0 * steps)
    assert step_size.in_doublings(np.float64(0.3)) == 0.3


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


# coordinates


def rule_of(**changes: Any) -> CoordinateRule:
    """n k = 36 and δ = 1/2, c = 1/2 and lag = 3, r₀² = 2, Σd² = 4 and Σd² m = 5, unless ``changes`` say otherwise."""
    numbers = {"square_weight": 0.25, "sum_growth": 36.0, "initial_distance_sq": 2.0, "decay": 0.5}
    sums = {"displacement_sq": 4.0, "displacement_product": 5.0}
    run = fresh()._replace(**{name: np.float64(changes.pop(name, value)) for name, value in sums.items()})
    numbers = {name: np.float64(changes.pop(name, value)) for name, value in numbers.items()}
    constants = Constants(**{"coordinate_tracking": 0.5, "lag": 3.0, **changes})
    return step_size.coordinate_rule(constants, run=run, **numbers)


def test_what_holds_for_all_coordinates() -> None:
    rule = rule_of()
    assert rule.square_weight == 0.25
    assert rule.scale_sq == pytest.approx(0.25**2 / 36, rel=1e-15)
    assert (rule.least, rule.most) == (2.0, 9 * 4.0)
    assert rule.product == pytest.approx(9 * 5.0 * 36 / 0.25**2, rel=1e-15)


@pytest.mark.parametrize(("initial_distance_sq", "most"), [(35.0, 36.0), (37.0, 37.0)])
def test_what_counts_as_the_others_displacement_is_the_initial_one_at_least(
    initial_distance_sq: float, most: float
) -> None:
    rule = rule_of(initial_distance_sq=initial_distance_sq)
    assert (rule.least, rule.most) == (initial_distance_sq, most)


def steps_of(rule: CoordinateRule, displacement: Any, mean_square: Any) -> Any:
    displacement, mean_square = np.asarray(displacement, float), np.asarray(mean_square, float)
    return coordinate_steps(rule, displacement, mean_square, displacement.size)


@pytest.mark.parametrize(
    ("displacement", "mean_square", "expected"),
    [
        (0.0, 16.0, 0.25),  # √(1/4 · 1/4), where least/size = 1/4 binds
        (-0.75, 16.0, 0.375),  # farther than that
        (0.0, 0.25, 8.0),  # product/size · 16 = 4, below most/size = 9
        (-2.5, 0.25, 10.0),
        (0.0, 0.0625, 24.0),  # where most/size binds
        (4.0, 0.0625, 32.0),
    ],
)
def test_the_step_of_a_coordinate(displacement: float, mean_square: float, expected: float) -> None:
    """√((scale²/m) max(d², clip(product (scale²/m), least, most)/size)) with size = 4."""
    rule = CoordinateRule(square_weight=nan, scale_sq=4.0, least=1.0, most=36.0, product=1.0)
    steps = steps_of(rule, [displacement, 0.0, 0.0, 0.0], [mean_square, 1.0, 1.0, 1.0])
    np.testing.assert_array_equal(steps, [expected, 2.0, 2.0, 2.0])


def test_a_coordinate_tracks_its_own_displacement_and_gradients() -> None:
    """½ |d|/√(n k m): ½ · 6/√(9 · 4 · 1/4)."""
    nothing = {"initial_distance_sq": 0.0, "displacement_sq": 0.0, "displacement_product": 0.0}
    found = steps_of(rule_of(**nothing, decay=1.0), [6.0, -6.0, 0.0], [0.25, 0.25, 0.25])
    np.testing.assert_allclose(found, [1.0, 1.0, 0.0], rtol=1e-15)
    np.testing.assert_allclose(steps_of(rule_of(**nothing), [6.0], [0.25]), [0.5], rtol=1e-15)


@pytest.mark.parametrize(
    ("others", "mean_square", "expected"),
    [
        ({"displacement_sq": 8.0, "displacement_product": 1e9}, 1.0, 9 * 8.0 / 2),
        ({"displacement_sq": 1e9, "displacement_product": 8.0}, 1.0, 9 * 8.0 / 2),
        ({"displacement_sq": 1e9, "displacement_product": 8.0}, 4.0, 9 * 2.0 / 2),  # in units of the loss
        ({"displacement_sq": 0.0, "initial_distance_sq": 8.0}, 1.0, 8.0 / 2),
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
    """lag² min(Σd², Σd²m/m_i)/size, or r₀²/size where that is more; whatever decays."""
    found = steps_of(rule_of(**others), [1e-9, 100.0], [mean_square, 1.0])
    np.testing.assert_allclose(found, 0.25 / 6 * np.sqrt([expected / mean_square, 100.0**2]), rtol=1e-15)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_coordinate_without_gradients_has_the_step_of_the_smallest_mean_square(dtype: Any) -> None:
    """scale²/m is no more than the inverse of the smallest normal number; the square of the step is finite."""
    rule = CoordinateRule(*map(dtype, (0.25, 0.5, 0.0, 1.0, 1.0)))
    with np.errstate(divide="ignore", over="raise", invalid="raise"):
        steps = coordinate_steps(rule, np.asarray([1.0, 0.0, 0.5], dtype), np.zeros(3, dtype), 4)
    largest = 1 / np.sqrt(np.finfo(dtype).tiny)
    np.testing.assert_array_equal(steps, [largest, largest / 2, largest / 2])
    assert steps.dtype == dtype


@pytest.mark.parametrize("power", [-20, 7])
def test_coordinates_know_no_units(power: int) -> None:
    """x in units 2^power as large has gradients as much smaller, and steps 4^power as large."""
    unit, displacement, mean_square = 2.0**power, np.asarray([3.0, -0.5]), np.asarray([2.0, 0.1])
    scaled = rule_of(displacement_sq=4 * unit**2, initial_distance_sq=2 * unit**2)
    steps = steps_of(scaled, displacement * unit, mean_square / unit**2)
    np.testing.assert_array_equal(steps, steps_of(rule_of(), displacement, mean_square) * unit**2)
