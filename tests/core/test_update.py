"""The move of a block of coordinates."""

from math import inf, nan
from typing import Any

import numpy as np
import pytest

from pfopt.core import update
from pfopt.core.main_run import Decision
from pfopt.core.step_size import COORDINATE_RANGE, CoordinateRule
from pfopt.core.update import Arithmetic, Block, Rule

ARITHMETIC = Arithmetic(
    dot=np.vdot, lerp=lambda a, b, weight: a + weight * (b - a), move=lambda a, b, c: a - b * c, clip=np.clip
)
COORDINATE = CoordinateRule(square_weight=0.25, scale_sq=1 / 16, least=1.0, most=36.0, product=64.0)


def decision(**changes: Any) -> Decision:
    """Taken, with no share in the average, unless ``changes`` say otherwise."""
    made = Decision(
        taken=True,
        restart=False,
        measured=True,
        moving=True,
        step_sizes=np.float64(0.5),
        average_weight=0.0,
        beta=0.0,
        next_beta=0.0,
        share_of_run=0.0,
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
    after, grad_sq = update.move_block(before, Rule(), decision(), 0.5, ARITHMETIC)
    np.testing.assert_array_equal(after.iterate, [0.0, 4.0, -3.0])
    assert after._replace(iterate=before.iterate) == before
    assert grad_sq is None


def test_the_rate_multiplies_the_move() -> None:
    after, _ = update.move_block(block(), Rule(rate=3.0), decision(), 0.5, ARITHMETIC)
    np.testing.assert_array_equal(after.iterate, [-2.0, 8.0, -3.0])


def test_weights_decay_whatever_the_step_size_is() -> None:
    rule = Rule(rate=0.5, weight_decay=4.0)
    for step_size in (1e-9, 0.5):
        after, _ = update.move_block(block(), rule, decision(share_of_run=0.25), step_size, ARITHMETIC)
        moved = 0.5 * step_size * block().gradient
        np.testing.assert_allclose(after.iterate, block().iterate * np.exp(-0.5) - moved, rtol=1e-15)


def test_a_gradient_left_out_moves_nothing() -> None:
    before = block(gradient=np.full(3, nan), average=np.ones(3), velocity=np.ones(3), mean_square=np.ones(3))
    rule = Rule(size=3, momentum=0.5)
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
    after, _ = update.move_block(before, Rule(size=size), restart, 0.5, ARITHMETIC)
    np.testing.assert_array_equal(after.iterate, before.anchor)
    np.testing.assert_array_equal(after.average, before.anchor)


def test_entries_that_overflow_are_told_by_their_sum() -> None:
    before = block(gradient=np.asarray([1e200, -4.0, inf]))
    after, _ = update.move_block(before, Rule(), decision(), 0.5, ARITHMETIC)
    np.testing.assert_array_equal(after.iterate, [-5e199, 4.0, -inf])
    with np.errstate(over="ignore"):
        assert update.measure_block(after, Rule(), decision(), 0.5, ARITHMETIC).distance_sq == inf


def test_entries_that_the_parameters_cannot_hold_stay() -> None:
    before = block(gradient=np.asarray([2.0, -4.0, 6.0]))
    after, _ = update.move_block(before, Rule(largest=4.0), decision(), 0.5, ARITHMETIC)
    np.testing.assert_array_equal(after.iterate, [0.0, 4.0, -3.0])
    free, _ = update.move_block(before, Rule(largest=6.0), decision(), 0.5, ARITHMETIC)
    np.testing.assert_array_equal(free.iterate, [0.0, 4.0, -6.0])


@pytest.mark.parametrize("far", [inf, nan])
def test_parameters_hold_no_entry_that_is_not_finite(far: float) -> None:
    before = block(gradient=np.asarray([2.0, -4.0, far]))
    after, _ = update.move_block(before, Rule(largest=1e30), decision(), 0.5, ARITHMETIC)
    np.testing.assert_array_equal(after.iterate, [0.0, 4.0, -3.0])


def test_what_the_parameters_can_hold_moves_only_where_the_gradient_is_taken() -> None:
    before = block()
    after, _ = update.move_block(before, Rule(largest=1e30), decision(taken=False), 0.5, ARITHMETIC)
    np.testing.assert_array_equal(after.iterate, before.iterate)


def test_the_average_moves_to_the_new_iterate() -> None:
    before = block(average=np.asarray([4.0, 0.0, 1.0]))
    after, _ = update.move_block(before, Rule(), decision(average_weight=0.25), 0.5, ARITHMETIC)
    np.testing.assert_array_equal(after.average, [3.0, 1.0, 0.0])


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("moving", [False, True])
def test_momentum_is_a_mean_of_gradients(moving: bool, nesterov: bool) -> None:
    old = np.asarray([8.0, 0.0, 4.0])
    before = block(velocity=old)
    rule = Rule(momentum=0.75, nesterov=nesterov)
    after, _ = update.move_block(before, rule, decision(moving=moving), 0.5, ARITHMETIC)
    velocity = 0.25 * before.gradient + (0.75 * old if moving else 0.0)
    np.testing.assert_array_equal(after.velocity, velocity)
    direction = 0.25 * before.gradient + 0.75 * velocity if nesterov else velocity
    np.testing.assert_array_equal(after.iterate, before.iterate - 0.5 * direction)


MEANS = np.asarray(
    [1 / 16, 1.0, 16.0]
)  # scale²/m_i is 1, 1/16 and 1/256; the least r_i², in four, 9, 1 and 1/4


def test_coordinates_move_by_the_larger_of_their_steps_and_the_wholes() -> None:
    """r_i is 3, 1 and |d| = 2, so that the steps would be 3, 1/4 and 1/8."""
    before = block(
        anchor=np.asarray([0.0, 2.0, -1.0]),
        gradient=np.asarray([0.5, -1.0, 2.0]),
        mean_square=np.asarray([0.0, 1.0, 20.0]),
    )
    after, grad_sq = update.move_block(before, Rule(size=4), decision(), 0.1875, ARITHMETIC)
    np.testing.assert_array_equal(after.mean_square, MEANS)
    np.testing.assert_array_equal(after.iterate, [1.0 - 3.0 * 0.5, 2.0 + 0.25, -3.0 - 0.1875 * 2.0])
    assert grad_sq == pytest.approx((3.0 * 0.25 + 0.25 + 0.1875 * 4.0) / 0.1875, rel=1e-15)


def test_the_rate_multiplies_the_moves_of_coordinates_and_not_their_metric() -> None:
    before = block(mean_square=np.asarray([0.0, 1.0, 20.0]), gradient=np.asarray([0.5, -1.0, 2.0]))
    once, grad_sq = update.move_block(before, Rule(size=4), decision(), 0.1875, ARITHMETIC)
    twice, same = update.move_block(before, Rule(size=4, rate=2.0), decision(), 0.1875, ARITHMETIC)
    np.testing.assert_array_equal(twice.iterate - before.iterate, 2 * (once.iterate - before.iterate))
    assert same == grad_sq


def test_velocity_and_not_its_square_has_momentum() -> None:
    """m_i and ‖g‖² are of the gradient, the move is the velocity's."""
    gradient = np.asarray([2.0, -4.0, 1.0])
    before = block(gradient=gradient, mean_square=np.zeros(3), velocity=np.full(3, 100.0))
    rule = Rule(size=3, momentum=0.5)
    after, grad_sq = update.move_block(before, rule, decision(), 1e9, ARITHMETIC)
    np.testing.assert_array_equal(after.mean_square, 0.25 * gradient**2)
    assert grad_sq == pytest.approx(np.sum(gradient**2), rel=1e-14)
    np.testing.assert_array_equal(after.iterate, before.iterate - 1e9 * (50.0 + 0.5 * gradient))


@pytest.mark.parametrize("whole", [0.5, np.finfo(float).tiny])
def test_no_coordinates_step_is_out_of_range(whole: float) -> None:
    """Neither where its gradients vanish nor where the whole's step does."""
    vanished = decision(coordinate_rule=COORDINATE._replace(square_weight=0.0))
    before = block(mean_square=np.zeros(3), gradient=np.full(3, 1e-20))
    with np.errstate(divide="ignore", over="ignore"):
        after, grad_sq = update.move_block(before, Rule(size=3), vanished, whole, ARITHMETIC)
        sums = update.measure_block(after, Rule(size=3), vanished, whole, ARITHMETIC)
    np.testing.assert_allclose(after.iterate, before.iterate - COORDINATE_RANGE * whole * 1e-20, rtol=1e-15)
    assert grad_sq == pytest.approx(3e-40 * COORDINATE_RANGE)
    assert sums.distance_sq == pytest.approx(17.0 / COORDINATE_RANGE, rel=1e-7)
    assert sums.displacement_product == 0.0


# measure_block


def test_without_steps_of_coordinates_the_distance_is_measured() -> None:
    sums = update.measure_block(block(), Rule(), decision(), 0.5, ARITHMETIC)
    assert sums == (1.0 + 0.0 + 16.0, None, None)


def test_the_distance_is_measured_in_the_metric_of_the_move() -> None:
    """The steps are 3, 1/4 and, by the displacement, 4/16: 16, 4/3 and 4/3 times the whole's."""
    before = block(gradient=np.full(3, nan), mean_square=MEANS)
    sums = update.measure_block(before, Rule(size=4), decision(), 0.1875, ARITHMETIC)
    assert sums.distance_sq == pytest.approx(1 / 16 + 0.0 + 16.0 * 3 / 4, rel=1e-15)
    assert sums.displacement_sq == 1.0 + 0.0 + 16.0
    assert sums.displacement_product == 1 / 16 + 0.0 + 16.0 * 16.0


def test_no_coordinate_is_measured_in_steps_below_the_wholes() -> None:
    before = block(mean_square=MEANS)
    sums = update.measure_block(before, Rule(size=4), decision(), 1.5, ARITHMETIC)
    assert sums.distance_sq == pytest.approx(1 / 2 + 0.0 + 16.0, rel=1e-15)


# several tensors in one block


def joined(*lengths: int) -> Arithmetic:
    """Of a block that tensors of these lengths are flattened into."""
    starts = np.cumsum([0, *lengths[:-1]])

    def spread(numbers: Any) -> Any:
        return np.repeat(numbers, lengths) if np.ndim(numbers) else numbers

    return ARITHMETIC._replace(
        dot=lambda a, b: np.add.reduceat(a * b, starts),
        clip=lambda x, least, most: np.clip(x, spread(least), spread(most)),
        spread=spread,
    )


@pytest.mark.parametrize("size", [0, 9])
@pytest.mark.parametrize("step_sizes", [np.asarray([0.1, 0.7]), np.float64(0.3)])
def test_tensors_in_one_block_have_sums_and_steps_of_their_own(step_sizes: Any, size: int) -> None:
    """Two tensors flattened into one block move, and are measured, as they would alone."""
    draw = np.random.default_rng(0)
    fields = {
        name: draw.standard_normal(5) for name in ("iterate", "anchor", "gradient", "average", "velocity")
    }
    fields["mean_square"] = draw.uniform(0.1, 1.0, 5)
    rule, told, many = Rule(size=size, momentum=0.5), decision(average_weight=0.5), joined(2, 3)
    after, grad_sq = update.move_block(Block(**fields), rule, told, step_sizes, many)
    sums = update.measure_block(after, rule, told, step_sizes, many)
    for number, part in enumerate((slice(0, 2), slice(2, 5))):
        piece = Block(**{name: field[part] for name, field in fields.items()})
        step_size = step_sizes[number] if step_sizes.ndim else step_sizes
        moved, piece_sq = update.move_block(piece, rule, told, step_size, ARITHMETIC)
        for name in Block._fields:
            np.testing.assert_array_equal(getattr(after, name)[part], getattr(moved, name), err_msg=name)
        alone = update.measure_block(moved, rule, told, step_size, ARITHMETIC)
        for found, expected in zip((grad_sq, *sums), (piece_sq, *alone), strict=True):
            assert (found is None) == (expected is None)
            if found is not None and expected is not None:
                np.testing.assert_allclose(found[number], expected, rtol=1e-14)


# move_probe_block

MANY = joined(1, 2)


@pytest.mark.parametrize("arithmetic", [ARITHMETIC, MANY], ids=["one", "many"])
@pytest.mark.parametrize("taken", [False, True])
def test_the_move_of_a_probe(taken: bool, arithmetic: Arithmetic) -> None:
    before = block()
    after, sums = update.move_probe_block(before, decision(taken=taken), 0.5, arithmetic)
    np.testing.assert_array_equal(after.iterate, [0.0, 4.0, -3.0] if taken else before.iterate)
    assert after._replace(iterate=before.iterate) == before
    np.testing.assert_array_equal(sums.distance_sq, 20.0 if arithmetic is ARITHMETIC else [0.0, 20.0])
    assert sums[1:] == (None, None)


@pytest.mark.parametrize("arithmetic", [ARITHMETIC, MANY], ids=["one", "many"])
@pytest.mark.parametrize("far", [1e200, inf, nan])
def test_a_probe_stays_where_any_entry_overflows(far: float, arithmetic: Arithmetic) -> None:
    before = block(gradient=np.asarray([far, -4.0, 0.0]))
    after, sums = update.move_probe_block(before, decision(), 0.5, arithmetic)
    np.testing.assert_array_equal(after.iterate, before.iterate)
    assert not np.isfinite(np.sum(sums.distance_sq))
