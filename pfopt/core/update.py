"""The move of one block of coordinates: one pure function, the kernel (listing of ``main_run``, 5, 7, 8 and 9).

A block is a set of arrays of one shape: a tensor, a piece of one, or several flattened into one. What a step costs is
the memory that is read and written here, so every array is read once and written once where the function is compiled.
"""

from collections.abc import Callable
from typing import NamedTuple

from pfopt.core.arrays import Array, Count, Real, Vector, isfinite, namespace, where
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

    size: Count = 0  # coordinates of all parameters together; 0 where none has a step of its own
    rate: float = 1.0  # the group's multiplier of the step size
    momentum: Real = 0.0
    nesterov: bool = False
    weight_decay: Real | None = None  # κ; None for none
    largest: float | None = None  # the largest number that the parameters can hold, where blocks are wider


class Arithmetic(NamedTuple):
    """What a back end does in its own way; averages are written into only where flags are of the host."""

    dot: Callable[[Array, Array], Vector]  # Σ a b of each tensor, in the dtype of the statistics
    lerp: Callable[[Array, Array, Real], Array]  # a + w (b − a), exactly b at w = 1; may be written into a
    move: Callable[[Array, Array, Array], Array]  # a − b c; b may be a number
    clip: Callable[
        [Array, Vector, Vector], Array
    ]  # entries at least and at most what two numbers of each tensor say
    spread: Callable[[Vector], Array] | None = (
        None  # a number of each tensor at all of its entries, if there are many
    )


class Sums(NamedTuple):
    """Of each tensor of a block after a move; the last two None where no coordinate has a step of its own."""

    distance_sq: Vector  # ‖z − x_0‖², in the metric of the move
    displacement_sq: Vector | None = None  # ‖z − x_0‖² itself
    displacement_product: Vector | None = None  # Σ (z − x_0)² m_i


def move_block(
    block: Block, rule: Rule, decision: Decision, step_size: Vector, arithmetic: Arithmetic
) -> tuple[Block, Vector | None]:
    """Move a block by the step of the whole or its tensor, or by those of its coordinates where these are larger.

    Args:
        block: before the move.
        rule: of its group.
        decision: about the gradient; numbers in the dtype of the block, or of the host.
        step_size: above 0; shape=(), of the whole or, where tensors have steps of their own, of this one; or
            shape=(tensors,).
        arithmetic: of the back end.

    Returns:
        The block after the move, and ‖g‖² of each tensor in its metric, None where no coordinate has a step of its own.
        Where the gradient is not taken the block stays where it is; where the run restarts it is at the anchor.
    """
    direction, velocity = _with_momentum(block, rule, decision)
    square, mean_square = _with_square(block, rule, decision, arithmetic)
    steps = _steps(block._replace(mean_square=mean_square), rule, decision, step_size, arithmetic)
    grad_sq = None if square is None else arithmetic.dot(steps, square) / step_size

    scaled = direction if rule.rate == 1.0 else rule.rate * direction
    new = arithmetic.move(_shrunk(block.iterate, rule, decision), steps, scaled)
    kept = decision.taken
    if rule.largest is not None:
        kept = kept & (namespace(new).abs(new) <= rule.largest)
    iterate = where(decision.restart, block.anchor, where(kept, new, block.iterate))
    average = block.average
    if average is not None:
        average = arithmetic.lerp(average, iterate, decision.average_weight)
    block = block._replace(iterate=iterate, average=average, mean_square=mean_square, velocity=velocity)
    return block, grad_sq


def measure_block(
    block: Block, rule: Rule, decision: Decision, step_size: Vector, arithmetic: Arithmetic
) -> Sums:
    """How far a block is from the anchor after a move; arguments as of ``move_block``."""
    gap = block.iterate - block.anchor
    if not rule.size:
        return Sums(arithmetic.dot(gap, gap))
    least = step_size if arithmetic.spread is None else arithmetic.spread(step_size)
    in_metric = gap * (least / _steps(block, rule, decision, step_size, arithmetic))
    gap_sq = namespace(gap).square(gap)
    return Sums(
        distance_sq=arithmetic.dot(gap, in_metric),
        displacement_sq=arithmetic.dot(gap, gap),
        displacement_product=arithmetic.dot(gap_sq, block.mean_square),
    )


def move_probe_block(
    block: Block, decision: Decision, step_size: Real, arithmetic: Arithmetic
) -> tuple[Block, Sums]:
    """Move a block of a probe by the step size under test; all of it stays where it is if any entry overflows.

    A probe that is over goes back to the anchor.
    """
    new = arithmetic.move(block.iterate, step_size, block.gradient)
    gap = new - block.anchor
    distance_sq = arithmetic.dot(gap, gap)
    whole_sq = distance_sq if arithmetic.spread is None else distance_sq.sum()
    iterate = where(decision.taken & isfinite(whole_sq), new, block.iterate)
    return block._replace(iterate=where(decision.restart, block.anchor, iterate)), Sums(distance_sq)


def _shrunk(iterate: Array, rule: Rule, decision: Decision) -> Array:
    """The iterate after the decay of its weights, whatever its step size is (Loshchilov and Hutter, 2019)."""
    if rule.weight_decay is None:
        return iterate
    share = rule.weight_decay * rule.rate * decision.share_of_run
    return iterate * namespace(share).exp(-share)


def _with_momentum(block: Block, rule: Rule, decision: Decision) -> tuple[Array, Array | None]:
    """The direction v = m v + (1 − m) g, or (1 − m) g + m v for Nesterov; and the velocity v."""
    if block.velocity is None:
        return block.gradient, None
    fresh = (1 - rule.momentum) * block.gradient
    velocity = rule.momentum * decision.moving * block.velocity + fresh
    velocity = where(decision.taken, velocity, block.velocity)
    return (fresh + rule.momentum * velocity if rule.nesterov else velocity), velocity


def _with_square(
    block: Block, rule: Rule, decision: Decision, arithmetic: Arithmetic
) -> tuple[Array | None, Array | None]:
    """The entries' g², and their weighted mean with it; None where no coordinate has a step of its own."""
    if not rule.size:
        return None, block.mean_square
    assert decision.coordinate_rule is not None
    square = namespace(block.gradient).square(block.gradient)
    mean = arithmetic.lerp(block.mean_square, square, decision.coordinate_rule.square_weight)
    return square, where(decision.taken, mean, block.mean_square)


def _steps(block: Block, rule: Rule, decision: Decision, step_size: Vector, arithmetic: Arithmetic) -> Array:
    """The step size of every entry: at least that of the whole or of its tensor."""
    if not rule.size:
        return step_size if arithmetic.spread is None else arithmetic.spread(step_size)
    assert decision.coordinate_rule is not None
    own = coordinate_steps(
        decision.coordinate_rule, block.iterate - block.anchor, block.mean_square, rule.size
    )
    return arithmetic.clip(own, step_size, COORDINATE_RANGE * step_size)
