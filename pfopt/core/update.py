"""The move of one block of coordinates: one pure function, the kernel (listing of ``main_run``, 5, 7, 8 and 9).

A block is a set of arrays of one shape: a tensor, a piece of one, or several flattened into one. What a step costs is
the memory that is read and written here, so every array is read once and written once where the function is compiled.
"""

from collections.abc import Callable
from typing import NamedTuple

from pfopt.core.arrays import Array, Count, Real, Vector, at_least, isfinite, namespace, where
from pfopt.core.config import Constants
from pfopt.core.main_run import Decision
from pfopt.core.step_size import COORDINATE_RANGE, coordinate_steps


class Block(NamedTuple):
    """Arrays of one shape and floating dtype; None for what the run does not need."""

    iterate: Array  # z; in a probe, x
    anchor: Array  # x_0
    gradient: Array  # g of what is minimised, or a base's direction
    average: Array | None = None  # x̄
    mean_square: Array | None = None  # m_i; where coordinates have steps of their own
    velocity: Array | None = None  # v; with momentum


class Rule(NamedTuple):
    """What holds for every move of a parameter group."""

    constants: Constants
    size: Count = 0  # coordinates of all parameters together; 0 where none has a step of its own
    rate: float = 1.0  # the group's multiplier of the step size
    momentum: Real = 0.0
    nesterov: bool = False
    largest: float | None = None  # the largest number that the parameters can hold, where blocks are wider


class Arithmetic(NamedTuple):
    """What a back end does in its own way; the last two where several tensors are flattened into one block."""

    total: Callable[[Array], Real]  # the sum of all entries, in the dtype of the statistics
    lerp: Callable[[Array, Array, Real], Array]  # a + w (b − a); exactly b at w = 1
    totals: Callable[[Array], Vector] | None = None  # the sum of each tensor's entries, likewise
    spread: Callable[[Vector], Array] | None = None  # the number of each tensor at all of its entries


class Sums(NamedTuple):
    """Of one block; the last three None where no coordinate has a step of its own."""

    distance_sq: Vector  # ‖z − x_0‖² after the move, in the metric of the move; one of each tensor
    grad_sq: Vector | None = None  # ‖g‖² in that metric, likewise
    displacement_sq: Real | None = None  # ‖z − x_0‖² itself
    displacement_product: Real | None = None  # Σ (z − x_0)² m_i


def move_block(
    block: Block, rule: Rule, decision: Decision, step_size: Real, arithmetic: Arithmetic
) -> tuple[Block, Sums]:
    """Move a block by the step of the whole or its tensor, or by those of its coordinates where these are larger.

    Args:
        block: before the move.
        rule: of its group.
        decision: about the gradient; numbers in the dtype of the block, or of the host.
        step_size: shape=(), of the whole or, where tensors have steps of their own, of this one; or shape=(tensors,).
        arithmetic: of the back end.

    Returns:
        The block after the move. Entries that would overflow, and all of them where the gradient is not taken, stay
        where they are; where the run restarts they are at the anchor.
    """
    xp, spread = namespace(block.iterate), arithmetic.spread or _same
    direction, velocity = _with_momentum(block, rule, decision)
    mean_square, square = block.mean_square, None
    if rule.size:
        step_size = at_least(step_size, xp.finfo(block.iterate.dtype).tiny)
    steps = spread(step_size)
    if rule.size:
        assert decision.coordinate_rule is not None
        square, mean_square = _with_square(block, decision, arithmetic)
        own = coordinate_steps(
            rule.constants, decision.coordinate_rule, block.iterate - block.anchor, mean_square, rule.size
        )
        steps = xp.clip(own, steps, COORDINATE_RANGE * steps)

    move = steps * direction
    new = block.iterate - (move if rule.rate == 1.0 else rule.rate * move)
    gap_sq = xp.square(new - block.anchor)
    metric_gap_sq = gap_sq / steps if rule.size else gap_sq
    kept = (metric_gap_sq < xp.inf) & decision.taken  # entry by entry: their sum would be a pass of its own
    if rule.largest is not None:
        kept = kept & (xp.abs(new) <= rule.largest)
    iterate = where(decision.restart, block.anchor, where(kept, new, block.iterate))
    average = block.average
    if average is not None:
        average = arithmetic.lerp(average, iterate, decision.average_weight)

    total, totals = arithmetic.total, arithmetic.totals or arithmetic.total
    sums = Sums(distance_sq=totals(metric_gap_sq))
    if square is not None:
        sums = Sums(
            distance_sq=sums.distance_sq * step_size,
            grad_sq=totals(steps * square) / step_size,
            displacement_sq=total(gap_sq),
            displacement_product=total(gap_sq * mean_square),
        )
    return block._replace(iterate=iterate, average=average, mean_square=mean_square, velocity=velocity), sums


def move_probe_block(
    block: Block, decision: Decision, step_size: Real, arithmetic: Arithmetic
) -> tuple[Block, Sums]:
    """Move a block of a probe by the step size under test; all of it stays where it is if any entry overflows."""
    xp = namespace(block.iterate)
    new = block.iterate - step_size * block.gradient
    gap_sq = xp.square(new - block.anchor)
    distance_sq = (arithmetic.totals or arithmetic.total)(gap_sq)
    whole_sq = distance_sq if arithmetic.totals is None else distance_sq.sum()
    iterate = where(decision.taken & isfinite(whole_sq), new, block.iterate)
    return block._replace(iterate=iterate), Sums(distance_sq)


def _with_momentum(block: Block, rule: Rule, decision: Decision) -> tuple[Array, Array | None]:
    """The direction v = m v + (1 − m) g, or (1 − m) g + m v for Nesterov; and the velocity v."""
    if block.velocity is None:
        return block.gradient, None
    fresh = (1 - rule.momentum) * block.gradient
    velocity = rule.momentum * decision.moving * block.velocity + fresh
    velocity = where(decision.taken, velocity, block.velocity)
    return (fresh + rule.momentum * velocity if rule.nesterov else velocity), velocity


def _with_square(block: Block, decision: Decision, arithmetic: Arithmetic) -> tuple[Array, Array]:
    """The entries' g², and their weighted mean with it."""
    xp = namespace(block.gradient)
    assert decision.coordinate_rule is not None
    weight, square = decision.coordinate_rule.square_weight, xp.square(block.gradient)
    mean = arithmetic.lerp(block.mean_square, square, weight)
    return square, where(weight > 0, mean, block.mean_square)


def _same(value: Vector) -> Array:
    return value
