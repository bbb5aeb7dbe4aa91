"""Norms and distances in the metric of a base optimizer's directions."""

import numpy as np
import pytest

from pfopt.core import preconditioned
from pfopt.core.preconditioned import Metric


def test_a_fixed_metric_is_measured_as_it_is() -> None:
    """Directions d = P g: ⟨g, d⟩ and the recursion are norms in P⁻¹, in the unit in which the first d is ‖d‖²."""
    draw = np.random.default_rng(0)
    root = draw.standard_normal((4, 4))
    metric, inverse = root @ root.T + np.eye(4), np.linalg.inv(root @ root.T + np.eye(4))
    remembered, x = preconditioned.begin(0, np, dtype=np.float64), np.zeros(4)
    assert remembered == Metric(0.0, 0.0)
    unit = 0.0
    for step in range(20):
        grad, eta = draw.standard_normal(4), draw.uniform(0.1, 2.0)
        direction = metric @ grad
        inner, direction_sq = grad @ direction, direction @ direction
        unit = unit or direction_sq / inner
        remembered, grad_sq = preconditioned.measure(remembered, inner, direction_sq, step == 0)
        assert grad_sq == pytest.approx(unit * inner, rel=1e-12)
        gained = preconditioned.gain(eta, grad @ -x, inner)
        x = x - eta * direction
        remembered, distance_sq = preconditioned.advance(remembered, gained, True, np.float64(x @ x))
        assert distance_sq == pytest.approx(unit * (x @ inverse @ x), rel=1e-9)
        assert remembered.displacement_sq == distance_sq


def test_the_first_usable_direction_of_the_whole_makes_the_unit() -> None:
    metric = preconditioned.begin(1, np, dtype=np.float64)
    assert metric.displacement_sq.shape == (2,)
    for inner, direction_sq in (
        ([0.0, 0.0], [0.0, 0.0]),
        ([0.0, 1.0], [4.0, 1.0]),
        ([-2.0, 1.0], [4.0, 1.0]),
        ([np.nan, 1.0], [4.0, 1.0]),
        ([2.0, 1.0], [np.inf, 1.0]),
        ([np.inf, 1.0], [4.0, 1.0]),
        ([2.0, 1.0], [0.0, 1.0]),
    ):
        metric, grad_sq = preconditioned.measure(metric, np.asarray(inner), np.asarray(direction_sq), False)
        assert metric.unit == 0
        assert not np.nansum(grad_sq) > 0
    for inner, direction_sq, expected in (
        ([2.0, -1.0], [6.0, 9.0], [6.0, 0.0]),  # products that are negative count as zero
        ([4.0, 0.5], [100.0, 9.0], [12.0, 1.5]),
    ):
        metric, grad_sq = preconditioned.measure(metric, np.asarray(inner), np.asarray(direction_sq), False)
        assert metric.unit == 3.0
        np.testing.assert_array_equal(grad_sq, expected)


def test_any_unit_will_do() -> None:
    begun = Metric(np.float64(0), np.float64(0))
    metric, grad_sq = preconditioned.measure(begun, np.float64(0.5), np.float64(0.125), True)
    assert (metric.unit, grad_sq) == (0.25, 0.125)


@pytest.mark.parametrize("scopes", [0, 2])
def test_nothing_is_measured_at_the_beginning(scopes: int) -> None:
    metric = preconditioned.begin(scopes, np, dtype=np.float32)
    assert metric.unit.dtype == np.float32
    assert np.shape(metric.displacement_sq) == ((3,) if scopes else ())
    if scopes:
        assert metric.displacement_sq.dtype == np.float32
    assert not np.any(metric.displacement_sq)


def test_a_run_starts_at_the_anchor() -> None:
    before = Metric(np.float64(2.0), np.asarray([5.0, 1.0]))
    for starts, expected in ((True, [0.0, 0.0]), (False, [5.0, 1.0])):
        after, _ = preconditioned.measure(before, np.ones(2), np.ones(2), starts)
        np.testing.assert_array_equal(after.displacement_sq, expected, strict=True)
        assert after.unit == 2.0


def test_a_move_adds_to_the_displacement() -> None:
    assert preconditioned.gain(0.5, 3.0, 8.0) == 2 * 0.5 * 3.0 + 0.25 * 8.0
    assert preconditioned.gain(0.5, -7.0, 8.0) == -5.0


@pytest.mark.parametrize(
    ("gained", "taken", "distance_sq", "kept", "told"),
    [
        (4.0, True, 1.0, 11.0, 11.0),
        (4.0, False, 1.0, 3.0, 11.0),
        (-2.0, True, 1.0, -1.0, 0.0),  # a distance is not negative, but what is remembered goes on
        (np.inf, True, 1.0, 3.0, np.inf),
        (np.nan, True, 1.0, 3.0, np.nan),
        (4.0, True, np.inf, 11.0, np.inf),  # where the plain distance overflows the answer does
        (4.0, True, np.nan, 11.0, np.inf),
    ],
)
def test_the_displacement_after_a_move(
    gained: float, taken: bool, distance_sq: float, kept: float, told: float
) -> None:
    metric, found = preconditioned.advance(
        Metric(np.float64(2.0), np.float64(3.0)), np.float64(gained), taken, np.float64(distance_sq)
    )
    assert metric == Metric(2.0, kept)
    np.testing.assert_array_equal(found, told)
    many = Metric(np.float64(2.0), np.asarray([3.0, 0.0]))
    metric, found = preconditioned.advance(
        many, np.asarray([gained, 0.5]), taken, np.asarray([distance_sq, 1.0])
    )
    np.testing.assert_array_equal(metric.displacement_sq, [kept, 1.0 if taken else 0.0])
    np.testing.assert_array_equal(found, [told, 1.0])
