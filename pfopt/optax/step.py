"""One gradient by the five calls: measure norms, ``decide``, move every leaf, ``record``, store.

A probe, the main run and the end of a run have a ``when`` each: only what applies is executed, and leaves that it does
not change stay in their buffers.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from pfopt.core import preconditioned, update
from pfopt.core import step as core_step
from pfopt.core.main_run import Decision
from pfopt.core.records import Phase, Slot
from pfopt.core.step import Measured, Moved
from pfopt.core.update import Block, Rule, Sums
from pfopt.optax import leaves, rounding, transition
from pfopt.optax.leaves import Leaves
from pfopt.optax.state import Carried, Options, ParameterFreeState, Turn, when


class Gradient(NamedTuple):
    """One gradient and where it was taken, as lists of leaves in the form in which they are computed."""

    params: list[Any]  # as the caller holds them
    points: Leaves  # where they are
    gradients: Leaves
    directions: Leaves  # what the base made of the gradients; without one these, or these with weight decay
    base: Any  # the base's state after it
    loss: jax.Array | None


class Norms(NamedTuple):
    """A gradient in numbers."""

    measured: Measured
    inner: jax.Array | None = None  # shape=(leaves,), ⟨g, d⟩; None without a base
    ahead: jax.Array | None = None  # shape=(leaves,), ⟨g, x_0 − x⟩; likewise


class Step(NamedTuple):
    """What the moves of all leaves depend on."""

    gradient: Gradient
    norms: Norms
    decision: Decision
    first: jax.Array  # shape=(), bool; the anchor is where this gradient was taken
    starts: jax.Array  # shape=(), bool; this gradient is the first one from the anchor


# trees of the state that are fields of ``Block``, in its order
KEPT = ("average", "mean_square", "velocity")


def take_gradient(options: Options, state: ParameterFreeState, gradient: Gradient) -> Turn:
    """Take one gradient.

    Args:
        options: what the caller chose.
        state: with lists of leaves for trees.
        gradient: and where it was taken.
    """
    phase, starts = state.controller.phase, state.run.step == state.run.restart_step
    state, norms = _measure(options, state, gradient, starts)
    first = norms.measured.signal & (phase == Phase.SEARCH) & (state.deployed == Slot.LAST)
    anchor_sq = when(first, lambda held: leaves.norm_sq(gradient.points, held.dtype), state.anchor_sq)
    measured = norms.measured._replace(anchor_sq=anchor_sq)
    controller, run, decision = core_step.decide(options.config, state.controller, state.run, measured)
    step = Step(gradient, norms._replace(measured=measured), decision, first, starts)
    state = state._replace(
        controller=controller,
        run=run,
        anchor_sq=anchor_sq,
        idle=state.idle + (phase == Phase.DONE),
        deployed=jnp.where(first, Slot.ANCHOR, state.deployed),
        base=optax.tree.where(decision.taken, gradient.base, state.base),
    )

    carried = state, optax.tree.zeros_like(gradient.points)
    searching = (phase == Phase.SEARCH) & (state.deployed != Slot.LAST)
    carried = when(searching, partial(_move_probe, options, step), carried)
    if not options.config.certified:
        carried = when(phase == Phase.MAIN, partial(_move_main_run, options, step), carried)
    ends = (phase != Phase.DONE) & (run.step >= controller.run_length)
    state, moves = when(ends, partial(transition.finish, options.config, gradient.points), carried)
    return Turn(state, moves, decision.restart | ends)


def _measure(
    options: Options, state: ParameterFreeState, gradient: Gradient, starts: jax.Array
) -> tuple[ParameterFreeState, Norms]:
    """Norms of the gradient or, around a base, what stands for them in the metric of its directions."""
    dtype, by_scope = state.anchor_sq.dtype, partial(leaves.by_scope, by_leaf=options.by_leaf)
    gradients, directions = gradient.gradients, gradient.directions
    inner = ahead = None
    if state.metric is None:
        pairs = [(gradients, gradients)]
        if directions is not gradients:
            pairs.append((directions, directions))
        norms_sq = leaves.dots(pairs, dtype)
        plain_sq, grad_sq = norms_sq[0], by_scope(norms_sq[-1])
    else:
        back = optax.tree.sub(state.anchor, gradient.points)
        if state.grad_sum:  # the certificate is that of x_0 − η Σ d
            back = optax.tree.scale(core_step.probe_step_size(state.controller), state.grad_sum)
        pairs = [(gradients, gradients), (directions, directions), (gradients, directions), (gradients, back)]
        plain_sq, direction_sq, inner, ahead = leaves.dots(pairs, dtype)
        ahead = jnp.where(starts, 0, ahead)
        metric, grad_sq = preconditioned.measure(
            state.metric, by_scope(inner), by_scope(direction_sq), starts
        )
        state = state._replace(metric=metric)
    whole_sq = jnp.sum(plain_sq)
    grad_sq = jnp.where(jnp.isfinite(whole_sq), grad_sq, jnp.nan)  # whatever a base made of it
    return state, Norms(Measured(grad_sq, gradient.loss, whole_sq != 0, state.anchor_sq), inner, ahead)


def _record(
    options: Options, state: ParameterFreeState, step: Step, step_sizes: jax.Array, moved: Moved
) -> tuple[ParameterFreeState, jax.Array]:
    """The core's record of a move and, around a base, the distance in the metric of its directions."""
    norms, decision = step.norms, step.decision
    if state.metric is not None:
        gained = leaves.by_scope(preconditioned.gain(step_sizes, norms.ahead, norms.inner), options.by_leaf)
        metric, distance_sq = preconditioned.advance(state.metric, gained, decision.taken, moved.distance_sq)
        state, moved = state._replace(metric=metric), moved._replace(distance_sq=distance_sq)
    run, kept = core_step.record(state.run, decision, norms.measured, moved)
    return state._replace(run=run, step_size=decision.step_sizes[0]), kept


def _move_probe(options: Options, step: Step, carried: Carried) -> Carried:
    """One gradient of a probe; all leaves stay where they are if one overflows."""
    (state, _), gradient, decision = carried, step.gradient, step.decision
    dtype, blocks, sums = state.anchor_sq.dtype, [], []
    anchor = optax.tree.where(step.first, gradient.points, state.anchor)
    old = optax.tree.where(step.starts, anchor, gradient.points)
    for block in map(Block, old, anchor, gradient.directions):
        local, arithmetic = leaves.cast(decision, block.iterate.dtype), leaves.arithmetic(dtype)
        block, measured = update.move_probe_block(_after(block, sums), local, local.step_sizes[0], arithmetic)
        blocks.append(block)
        sums.append(measured)
    new = [block.iterate for block in blocks]
    (plain_sq,) = leaves.table([[each.distance_sq for each in sums]], dtype)
    plain_sq = leaves.by_scope(plain_sq, options.by_leaf)
    plain_sq = jnp.where(rounding.overflows(new, gradient.params), jnp.inf, plain_sq)

    step_size, distance_sq = core_step.probe_step_size(state.controller), plain_sq
    if state.grad_sum:
        state, dual_sq = _dual_distance_sq(state, gradient.directions, decision.taken)
        distance_sq = jnp.where(jnp.isfinite(plain_sq), dual_sq, jnp.inf)
    state, kept = _record(options, state, step, step_size, Moved(distance_sq))
    lost = rounding.is_lost(state, step_size, plain_sq[0], gradient.params)
    state = state._replace(anchor=anchor, run=state.run._replace(frozen=state.run.frozen | lost))

    new = optax.tree.where(kept, new, old)
    new = optax.tree.where(state.run.frozen, anchor, new)  # where it waits for the end of the probe
    if options.config.certified and options.config.returns_average:
        rows = zip(state.average, old, strict=True)
        state = state._replace(average=[leaves.lerp(*row, decision.average_weight) for row in rows])
    return state, optax.tree.sub(new, gradient.points)


def _dual_distance_sq(
    state: ParameterFreeState, directions: Leaves, taken: jax.Array
) -> tuple[ParameterFreeState, jax.Array]:
    """Of a probe whose steps decay, the displacement η Σ d that its certificate is about."""
    grad_sum = optax.tree.where(taken, optax.tree.add(state.grad_sum, directions), state.grad_sum)
    path = optax.tree.scale(core_step.probe_step_size(state.controller), grad_sum)
    return state._replace(grad_sum=grad_sum), leaves.norm_sq(path, state.anchor_sq.dtype)


def _move_main_run(options: Options, step: Step, carried: Carried) -> Carried:
    """One gradient of the main run."""
    (state, _), gradient = carried, step.gradient
    dtype, count = state.anchor_sq.dtype, len(gradient.points)
    size = sum(point.size for point in gradient.points) if options.by_coordinate else 0
    rule = Rule(options.config.constants, size, momentum=options.momentum, nesterov=options.nesterov)
    step_sizes = _step_sizes(options, step.decision, count)
    columns = (getattr(state, name) or [None] * count for name in KEPT)
    rows = map(Block, gradient.points, state.anchor, gradient.directions, *columns)
    moves, blocks, sums = [], [], []
    for place, (param, block) in enumerate(zip(gradient.params, rows, strict=True)):
        rule = rule._replace(largest=rounding.largest(param))
        move, block, measured = _move_leaf(options, step, rule, _after(block, sums), step_sizes[place])
        moves.append(move)
        blocks.append(block)
        sums.append(measured)
    kept = {name: [getattr(block, name) for block in blocks] for name in KEPT if getattr(state, name)}
    moved = _moved(options, sums, dtype)
    state, _ = _record(options, state._replace(**kept), step, step_sizes, moved)
    return state, moves


def _after(block: Block, sums: list[Sums]) -> Block:
    """The block, to be moved after those whose sums these are; see ``leaves.wait_for``."""
    if not sums:
        return block
    point, direction = (leaves.wait_for(x, sums[-1].distance_sq) for x in (block.iterate, block.gradient))
    return block._replace(iterate=point, gradient=direction)


def _move_leaf(
    options: Options, step: Step, rule: Rule, block: Block, step_size: jax.Array
) -> tuple[jax.Array, Block, Sums]:
    """Move a leaf that is at y = z + β (x̄ − z); what to add to it, the block at the new z, and its sums."""
    point = iterate = block.iterate
    arithmetic = leaves.arithmetic(step_size.dtype)
    rule, decision, step_size = leaves.cast((rule, step.decision, step_size), point.dtype)
    if options.config.interpolates:
        iterate = point + decision.beta / (decision.beta - 1) * (block.average - point)
    block = block._replace(iterate=jnp.where(step.starts, block.anchor, iterate))
    block, sums = update.move_block(block, rule, decision, step_size, arithmetic)
    new = block.iterate
    if options.config.interpolates:
        new = new + decision.next_beta * (block.average - new)
    return new - point, block, sums


def _moved(options: Options, sums: list[Sums], dtype: Any) -> Moved:
    """What the core is told of a move of the main run, from the sums of all leaves."""
    names = Sums._fields if options.by_coordinate else Sums._fields[:1]
    distance_sq, *others = leaves.table([[getattr(each, name) for each in sums] for name in names], dtype)
    distance_sq = leaves.by_scope(distance_sq, options.by_leaf)
    if not others:
        return Moved(distance_sq)
    grad_sq, displacement_sq, displacement_product = others
    grad_sq = leaves.by_scope(grad_sq, options.by_leaf)
    return Moved(distance_sq, grad_sq, jnp.sum(displacement_sq), jnp.sum(displacement_product))


def _step_sizes(options: Options, decision: Decision, count: int) -> jax.Array:
    """Of each of ``count`` leaves, shape=(leaves,)."""
    whole, own = decision.step_sizes[0], decision.step_sizes[1:]
    if not options.by_leaf:
        return jnp.broadcast_to(whole, count)
    return jnp.maximum(whole, own) if options.by_whole else own
