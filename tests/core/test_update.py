"""The move of a block of coordinates."""

from functools import partial
from math import inf, nan
from typing import Any

import numpy as np
import pytest

from pfopt.core import update
from pfopt.core.config import Constants
from pfopt.core.main_run import Decision
from pfopt.core.step_size import COORDINATE_RANGE, CoordinateRule, coordinate_steps
from pfopt.core.update import Arithmetic, Block, Rule

ARITHMETIC = Arithmetic(total=np.sum, lerp=lambda a, b, weight: a + weight * (b - a))
CONSTANTS = Constants(coordinate_tracking=0.5, lag=2.0)
COORDINATE = CoordinateRule(
    square_weight=0.25,
    count=4.0,
    sum_growth=1.0,
    initial_distance_sq=0.5,
    displacement_sq=3.0,
    displacement_product=6.0,
    decay=1.0,
)


def decision(**changes: Any) -> Decision:
    """Taken, with no share in the average, unless ``changes`` say otherwise."""
    made = Decision(
        taken=True,
        restart=False,
        moving=True,
        step_sizes=np.float64(0.5),
        average_weight=0.0,
        beta=0.0,
        next_beta=0.0,
        coordinate_rule=COORDINATE,
    )
    return made._replace(**changes)


def block(**changes: Any) -> Block:
    made = Block(
        iterate=np.asarray([1.0, 2.0, -3.0]),
        anchor=np.asarray([0.0, 2.0, 1.0]),
        gradient=np.asarray([2.0, -4.0, 0.0]),
    )
    return made._replace(**changes)


def test_the_plain_move() -> None:
    before = block()
    after, sums = update.move_block(before, Rule(CONSTANTS), decision(), 0.5, ARITHMETIC)
    np.testing.assert_array_equal(after.iterate, [0.0, 4.0, -3.0])
    assert after._replace(iterate=before.iterate) == before
    assert sums == (0.0 + 4.0 + 16.0, None, None, None)


def test_the_rate_multiplies_the_move() -> None:
    after, _ = update.move_block(block(), Rule(CONSTANTS, rate=3.0), decision(), 0.5, ARITHMETIC)
    np.testing.assert_array_equal(after.iterate, [-2.0, 8.0, -3.0])


def test_a_gradient_left_out_moves_nothing() -> None:
    before = block(gradient=np.full(3, nan), average=np.ones(3), velocity=np.ones(3), mean_square=np.ones(3))
    rule = Rule(CONSTANTS, size=3, momentum=0.5)
    left_out = decision(taken=False, coordinate_rule=COORDINATE._replace(square_weight=0.0))
    after, _ = update.move_block(before, rule, left_out, 0.5, ARITHMETIC)
    for name in ("iterate", "average", "velocity", "mean_square"):
        np.testing.assert_array_equal(getattr(after, name), getattr(before, name), err_msg=name)


@pytest.mark.parametrize("size", [0, 3])
def test_a_restart_goes_to_the_anchor_and_so_does_the_average(size: int) -> None:
    before = block(gradient=np.full(3, nan), average=np.full(3, 9.0), mean_square=np.ones(3))
    restart = decision(
        taken=False, restart=True, average_weight=1.0, coordinate_rule=COORDINATE._replace(square_weight=0.0)
    )
    after, _ = update.move_block(before, Rule(CONSTANTS, size=size), restart, 0.5, ARITHMETIC)
    np.testing.assert_array_equal(after.iterate, before.anchor)
    np.testing.assert_array_equal(after.average, before.anchor)


def test_entries_that_overflow_stay_and_the_sum_tells() -> None:
    before = block(gradient=np.asarray([1e200, -4.0, inf]))
    after, sums = update.move_block(before, Rule(CONSTANTS), decision(), 0.5, ARITHMETIC)
    np.testing.assert_array_equal(after.iterate, [1.0, 4.0, -3.0])
    assert sums.distance_sq == inf


def test_entries_that_the_parameters_cannot_hold_stay() -> None:
    before = block(gradient=np.asarray([2.0, -4.0, 6.0]))
    after, sums = update.move_block(before, Rule(CONSTANTS, largest=4.0), decision(), 0.5, ARITHMETIC)
    np.testing.assert_array_equal(after.iterate, [0.0, 4.0, -3.0])
    assert sums.distance_sq == 0.0 + 4.0 + 49.0
    free, _ = update.move_block(before, Rule(CONSTANTS, largest=6.0), decision(), 0.5, ARITHMETIC)
    np.testing.assert_array_equal(free.iterate, [0.0, 4.0, -6.0])


def test_the_average_moves_to_the_new_iterate() -> None:
    before = block(average=np.asarray([4.0, 0.0, 1.0]))
    after, _ = update.move_block(before, Rule(CONSTANTS), decision(average_weight=0.25), 0.5, ARITHMETIC)
    np.testing.assert_array_equal(after.average, [3.0, 1.0, 0.0])


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("moving", [False, True])
def test_momentum_is_a_mean_of_gradients(moving: bool, nesterov: bool) -> None:
    old = np.asarray([8.0, 0.0, 4.0])
    before = block(velocity=old)
    rule = Rule(CONSTANTS, momentum=0.75, nesterov=nesterov)
    after, _ = update.move_block(before, rule, decision(moving=moving), 0.5, ARITHMETIC)
    velocity = 0.25 * before.gradient + (0.75 * old if moving else 0.0)
    np.testing.assert_array_equal(after.velocity, velocity)
    direction = 0.25 * before.gradient + 0.75 * velocity if nesterov else velocity
    np.testing.assert_array_equal(after.iterate, before.iterate - 0.5 * direction)


def test_coordinates_move_by_the_larger_of_their_steps_and_the_wholes() -> None:
    gradient, mean_square = np.asarray([2.0, -4.0, 0.01]), np.asarray([1.0, 16.0, 1e-4])
    before, whole = block(gradient=gradient, mean_square=mean_square), 0.2
    after, sums = update.move_block(before, Rule(CONSTANTS, size=7), decision(), whole, ARITHMETIC)
    means = mean_square + 0.25 * (gradient**2 - mean_square)
    np.testing.assert_array_equal(after.mean_square, means)
    own = coordinate_steps(CONSTANTS, COORDINATE, before.iterate - before.anchor, means, 7)
    assert (own < whole).any()
    assert (own > whole).any()
    steps = np.maximum(own, whole)
    np.testing.assert_allclose(after.iterate, before.iterate - steps * gradient, rtol=1e-15)
    displacement = after.iterate - before.anchor
    assert sums.distance_sq == pytest.approx(np.sum(displacement**2 / steps) * whole, rel=1e-14)
    assert sums.grad_sq == pytest.approx(np.sum(steps * gradient**2) / whole, rel=1e-14)
    assert sums.displacement_sq == pytest.approx(np.sum(displacement**2), rel=1e-14)
    assert sums.displacement_product == pytest.approx(np.sum(displacement**2 * means), rel=1e-14)


def test_velocity_and_not_its_square_has_momentum() -> None:
    """m_i and ‖g‖² are of the gradient, the move is the velocity's."""
    gradient = np.asarray([2.0, -4.0, 1.0])
    before = block(gradient=gradient, mean_square=np.zeros(3), velocity=np.full(3, 100.0))
    rule = Rule(CONSTANTS, size=3, momentum=0.5)
    after, sums = update.move_block(before, rule, decision(), 1e9, ARITHMETIC)
    np.testing.assert_array_equal(after.mean_square, 0.25 * gradient**2)
    assert sums.grad_sq == pytest.approx(np.sum(gradient**2), rel=1e-14)
    np.testing.assert_array_equal(after.iterate, before.iterate - 1e9 * (50.0 + 0.5 * gradient))


def test_no_coordinates_step_is_out_of_range() -> None:
    """Neither where its gradients vanish nor where the whole's step does."""
    rule, vanished = Rule(CONSTANTS, size=3), decision(coordinate_rule=COORDINATE._replace(square_weight=0.0))
    before = block(mean_square=np.zeros(3), gradient=np.full(3, 1e-20))
    after, sums = update.move_block(before, rule, vanished, 0.5, ARITHMETIC)
    np.testing.assert_allclose(after.iterate, before.iterate - COORDINATE_RANGE * 0.5e-20, rtol=1e-15)
    assert sums.grad_sq == pytest.approx(3e-40 * COORDINATE_RANGE)
    _, sums = update.move_block(before, rule, vanished, 0.0, ARITHMETIC)
    for each in sums:
        assert each is not None
        assert np.isfinite(each)


def test_entries_overflow_in_the_metric_of_the_move() -> None:
    tiny = np.full(3, 1e300)
    before = block(mean_square=tiny, gradient=np.asarray([1e150, 0.0, 0.0]))
    rule = decision(coordinate_rule=COORDINATE._replace(square_weight=0.0, displacement_product=0.0))
    after, sums = update.move_block(before, Rule(CONSTANTS, size=3), rule, 1e-6, ARITHMETIC)
    assert after.iterate[0] == pytest.approx(-1e144)
    assert sums.distance_sq == pytest.approx(1e288)
    far = before._replace(gradient=np.asarray([1e160, 0.0, 0.0]))
    after, sums = update.move_block(far, Rule(CONSTANTS, size=3), rule, 1e-6, ARITHMETIC)
    assert after.iterate[0] == 1.0
    assert sums.distance_sq == inf


def test_tensors_in_one_block_have_sums_and_steps_of_their_own() -> None:
    """Two tensors flattened into one block move as they would alone."""
    draw = np.random.default_rng(0)
    fields = {
        name: draw.standard_normal(5) for name in ("iterate", "anchor", "gradient", "average", "velocity")
    }
    fields["mean_square"] = draw.uniform(0.1, 1.0, 5)
    whole = Block(**fields)
    many = ARITHMETIC._replace(
        totals=lambda x: np.add.reduceat(x, [0, 2]), spread=lambda x: np.repeat(x, [2, 3])
    )
    step_sizes = np.asarray([0.1, 0.7])
    for size in (0, 5):
        rule, told = Rule(CONSTANTS, size=size, momentum=0.5), decision(average_weight=0.5)
        after, sums = update.move_block(whole, rule, told, step_sizes, many)
        alone: list[Any] = []
        for part, step_size in zip((slice(0, 2), slice(2, 5)), step_sizes, strict=True):
            piece = Block(**{name: field[part] for name, field in fields.items()})
            alone.append(update.move_block(piece, rule, told, step_size, ARITHMETIC))
        for name in Block._fields:
            joined = np.concatenate([getattr(piece, name) for piece, _ in alone])
            np.testing.assert_allclose(getattr(after, name), joined, rtol=1e-14, err_msg=name)
        for name in ("distance_sq", "grad_sq")[: 1 + (size > 0)]:
            joined = [getattr(piece, name) for _, piece in alone]
            np.testing.assert_allclose(getattr(sums, name), joined, rtol=1e-14, err_msg=name)
        for name in ("displacement_sq", "displacement_product")[: 2 * (size > 0)]:
            total = sum(getattr(piece, name) for _, piece in alone)
            assert getattr(sums, name) == pytest.approx(total, rel=1e-14)


MANY = ARITHMETIC._replace(
    totals=lambda x: np.add.reduceat(x, [0, 1]), spread=partial(np.repeat, repeats=[1, 2])
)


@pytest.mark.parametrize("arithmetic", [ARITHMETIC, MANY], ids=["one", "many"])
@pytest.mark.parametrize("taken", [False, True])
def test_the_move_of_a_probe(taken: bool, arithmetic: Arithmetic) -> None:
    before = block()
    after, sums = update.move_probe_block(before, decision(taken=taken), 0.5, arithmetic)
    np.testing.assert_array_equal(after.iterate, [0.0, 4.0, -3.0] if taken else before.iterate)
    assert after._replace(iterate=before.iterate) == before
    np.testing.assert_array_equal(sums.distance_sq, 20.0 if arithmetic is ARITHMETIC else [0.0, 20.0])
    assert sums[1:] == (None, None, None)


@pytest.mark.parametrize("arithmetic", [ARITHMETIC, MANY], ids=["one", "many"])
@pytest.mark.parametrize("far", [1e200, inf, nan])
def test_a_probe_stays_where_any_entry_overflows(far: float, arithmetic: Arithmetic) -> None:
    before = block(gradient=np.asarray([far, -4.0, 0.0]))
    after, sums = update.move_probe_block(before, decision(), 0.5, arithmetic)
    np.testing.assert_array_equal(after.iterate, before.iterate)
    assert not np.isfinite(np.sum(sums.distance_sq))
