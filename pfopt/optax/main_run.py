"""The move of the main run: a map of every leaf that XLA fuses, and sums that are seldom taken, under one condition."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from pfopt.core import update
from pfopt.core.main_run import Decision
from pfopt.core.step import Moved
from pfopt.core.update import Block, Rule
from pfopt.optax import leaves, rounding
from pfopt.optax import state as states
from pfopt.optax.gradient import Step, record
from pfopt.optax.leaves import Leaves
from pfopt.optax.state import Carried, Options, ParameterFreeState, when

# trees of the state that are fields of ``Block``, in its order
KEPT = ("average", "mean_square", "velocity")

# of the main run; they are summed where several of them share a reduction
PRODUCTS = leaves.arithmetic(None)._replace(dot=jnp.multiply)


class Leaf(NamedTuple):
    """One leaf in the main run, where its gradient was taken; numbers in its dtype."""

    point: jax.Array  # y
    block: Block  # at z
    rule: Rule
    decision: Decision
    step_size: jax.Array  # shape=(), above 0


def _leaves(options: Options, step: Step, state: ParameterFreeState) -> list[Leaf]:
    """All leaves of the main run."""
    gradient, decision, count = step.gradient, step.decision, len(step.gradient.points)
    size = sum(point.size for point in gradient.points) if options.by_coordinate else 0
    decay = None if states.is_zero(options.weight_decay) else options.weight_decay
    rule = Rule(size, momentum=options.momentum, nesterov=options.nesterov, weight_decay=decay)
    columns = (getattr(state, name) or [None] * count for name in KEPT)
    blocks = map(Block, gradient.points, state.anchor, gradient.directions, *columns)
    rows = []
    for param, block, size in zip(
        gradient.params, blocks, _step_sizes(options, decision, count), strict=True
    ):
        kind = block.iterate.dtype
        own = rule._replace(largest=rounding.largest(param, based=state.metric is not None))
        own, local, step_size = leaves.cast((own, decision, size), kind)
        iterate = jnp.where(step.starts, block.anchor, _iterate(options, block, local.beta))
        step_size = jnp.maximum(step_size, jnp.finfo(kind).tiny)
        rows.append(Leaf(block.iterate, block._replace(iterate=iterate), own, local, step_size))
    return rows


def _iterate(options: Options, block: Block, beta: jax.Array) -> jax.Array:
    """The iterate z of a block that is at y = z + β (x̄ − z)."""
    if not options.config.interpolates:
        return block.iterate
    return block.iterate + beta / (beta - 1) * (block.average - block.iterate)


def scale(
    options: Options, step: Step, state: ParameterFreeState, points: Leaves, real: jax.Array
) -> tuple[Leaves, jax.Array]:
    """The step sizes of coordinates over those of their leaves, and ‖g‖² of every leaf in that metric.

    They are written where the moves are going to be: a whole model in new memory would cost more than all else.
    """
    del points
    arithmetic, ratios, sums = PRODUCTS._replace(dot=lambda steps, _: steps), [], []
    for _, block, rule, decision, step_size in _leaves(options, step, state):
        _, ratio = update.move_block(block, rule, decision, step_size, arithmetic)
        assert ratio is not None
        ratios.append(ratio)
        sums.append(jnp.sum(ratio * block.gradient * block.gradient, dtype=real.dtype))
    (metric_sq,) = leaves.table([sums], real.dtype)
    return ratios, metric_sq


def move(options: Options, step: Step, metric_sq: jax.Array, carried: Carried) -> Carried:
    """One gradient of the main run."""
    state, ratios = carried
    moves, after = [], []
    rows = zip(_leaves(options, step, state), ratios, step.norms.still, strict=True)
    for leaf, ratio, still in rows:
        move, leaf = _move_leaf(options, leaf, ratio, still)
        moves.append(move)
        after.append(leaf)
    kept = {name: [getattr(leaf.block, name) for leaf in after] for name in KEPT if getattr(state, name)}
    moved = _moved(options, step, after, moves, metric_sq)
    sizes = _step_sizes(options, step.decision, len(after))
    state, _ = record(options, state._replace(**kept), step, sizes, moved)
    return state, moves


def _move_leaf(options: Options, leaf: Leaf, ratio: jax.Array, still: jax.Array) -> tuple[jax.Array, Leaf]:
    """What to add to a leaf, and the leaf afterwards, but for its points; its average waits where it stands still."""
    point, block, rule, decision, step_size = leaf
    arithmetic = PRODUCTS
    if options.by_coordinate:
        arithmetic = arithmetic._replace(move=lambda a, _, c: a - step_size * ratio * c)
    block, _ = update.move_block(block, rule, decision, step_size, arithmetic)
    new = block.iterate
    if options.config.interpolates:
        new = new + decision.next_beta * (block.average - new)
    move = new - point
    if leaf.block.average is not None:
        # y' − x̄ = (1 − β (1 − w)) (z' − x̄), and what leads to y' is in memory
        weight = decision.average_weight
        share = jnp.where(still, 0, weight / (1 - decision.next_beta * (1 - weight)))
        block = block._replace(average=leaves.lerp(leaf.block.average, point + move, share))
    return move, leaf._replace(block=block)


def _moved(options: Options, step: Step, after: list[Leaf], moves: Leaves, metric_sq: jax.Array) -> Moved:
    """What the core is told of a move of the main run: sums over all leaves, some of which are seldom taken."""
    measured, decision = step.norms.measured, step.decision
    dtype, count = measured.anchor_sq.dtype, 3 if options.by_coordinate else 1
    if step.norms.inner is not None:  # around a base the products of the next gradient tell of an overflow
        return Moved(jnp.zeros_like(measured.grad_sq))

    def measure(_: jax.Array) -> jax.Array:
        columns = []
        for (point, block, rule, local, step_size), move in zip(after, moves, strict=True):
            if columns:
                point = leaves.wait_for(point, columns[-1][0])
            block = block._replace(iterate=point + move)  # z' itself would have to be kept at every move
            block = block._replace(iterate=_iterate(options, block, local.next_beta))
            sums = update.measure_block(block, rule, local, step_size, PRODUCTS)
            columns.append(leaves.sums(sums[:count], dtype))
        return jnp.stack(columns, axis=1) if columns else nothing

    nothing = jnp.zeros((count, len(after)), dtype)
    distance_sq, *others = when(decision.measured & decision.taken, measure, nothing)
    distance_sq = leaves.by_scope(distance_sq, options.by_leaf)
    if not others:
        return Moved(distance_sq)
    return Moved(distance_sq, leaves.by_scope(metric_sq, options.by_leaf), *map(jnp.sum, others))


def _step_sizes(options: Options, decision: Decision, count: int) -> jax.Array:
    """Of each of ``count`` leaves, shape=(leaves,)."""
    whole, own = decision.step_sizes[0], decision.step_sizes[1:]
    if not options.by_leaf:
        return jnp.broadcast_to(whole, count)
    return jnp.maximum(whole, own) if options.by_whole else own
