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
from pfopt.core.update import Arithmetic, Block, Rule, Sums
from pfopt.optax import leaves, rounding, transition
from pfopt.optax.leaves import Leaves
from pfopt.optax.state import Options, ParameterFreeState, Turn, when


class Gradient(NamedTuple):
    """One gradient and where it was taken, as lists of leaves in the form in which they are computed."""

    params: list[Any]  # as the caller holds them
    points: Leaves  # where they are
    gradients: Leaves
    directions: Leaves  # what the base made of the gradients; without one these, or these with weight decay
    loss: jax.Array | None = None


class Norms(NamedTuple):
    """A gradient in numbers."""

    measured: Measured
    inner: jax.Array | None = None  # shape=(leaves,), ⟨g, d⟩; None without a base
    ahead: jax.Array | None = None  # shape=(leaves,), ⟨g, x_0 − x⟩; likewise


class Shared(NamedTuple):
    """What a move of the main run has in common for all leaves."""

    rule: Rule
    decision: Decision
    starts: jax.Array  # shape=(), bool; the first move from the anchor
    interpolates: bool
    arithmetic: Arithmetic


# trees of the state that are fields of ``Block``, in its order
KEPT = ("average", "mean_square", "velocity")


def take_gradient(options: Options, state: ParameterFreeState, gradient: Gradient) -> Turn:
    """Take one gradient.

    Args:
        options: what the caller chose.
        state: with lists of leaves for trees, and without that of the base.
        gradient: and where it was taken.
    """
    state, norms = _measure(options, state, gradient)
    phase, signal = state.controller.phase, norms.measured.signal
    first = signal & (phase == Phase.SEARCH) & (state.deployed == Slot.LAST)
    state = when(first, partial(_fix_anchor, gradient.points), state)
    norms = norms._replace(measured=norms.measured._replace(anchor_sq=state.anchor_sq))

    state = state._replace(idle=state.idle + (phase == Phase.DONE))
    no = jnp.zeros_like(signal)
    turn = Turn(state, moves=optax.tree.zeros_like(gradient.points), taken=no, restart=no)
    searching = (phase == Phase.SEARCH) & (state.deployed != Slot.LAST)
    turn = when(searching, partial(_move_probe, options, gradient, norms), turn)
    if not options.config.certified:
        turn = when(phase == Phase.MAIN, partial(_move_main_run, options, gradient, norms), turn)
    ends = (phase != Phase.DONE) & (turn.state.run.step >= turn.state.controller.run_length)
    turn = when(ends, partial(transition.finish, options.config, gradient.points), turn)
    return turn._replace(restart=turn.restart | ends)


def _measure(
    options: Options, state: ParameterFreeState, gradient: Gradient
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
        starts = state.run.step == state.run.restart_step
        ahead = jnp.where(starts, 0, ahead)
        metric, grad_sq = preconditioned.measure(
            state.metric, by_scope(inner), by_scope(direction_sq), starts
        )
        state = state._replace(metric=metric)
    whole_sq = jnp.sum(plain_sq)
    grad_sq = jnp.where(jnp.isfinite(whole_sq), grad_sq, jnp.nan)  # whatever a base made of it
    return state, Norms(Measured(grad_sq, gradient.loss, whole_sq != 0, state.anchor_sq), inner, ahead)


def _fix_anchor(points: Leaves, state: ParameterFreeState) -> ParameterFreeState:
    """The anchor is where the first gradient with signal is taken."""
    anchor_sq = jnp.sum(leaves.dots([(points, points)], state.anchor_sq.dtype))
    return state._replace(anchor=points, anchor_sq=anchor_sq, deployed=jnp.int32(Slot.ANCHOR))


def _decide(
    options: Options, state: ParameterFreeState, measured: Measured, phase: Phase
) -> tuple[ParameterFreeState, Decision]:
    """The core's decision; where it knows the phase, it computes that kind of run only."""
    controller = state.controller._replace(phase=phase)
    controller, run, decision = core_step.decide(options.config, controller, state.run, measured)
    controller = controller._replace(phase=state.controller.phase)
    return state._replace(controller=controller, run=run, step_size=decision.step_sizes[0]), decision


def _record(
    options: Options,
    state: ParameterFreeState,
    norms: Norms,
    decision: Decision,
    step_sizes: jax.Array,
    moved: Moved,
) -> tuple[ParameterFreeState, jax.Array]:
    """The core's record of a move and, around a base, the distance in the metric of its directions."""
    if state.metric is not None:
        gained = leaves.by_scope(preconditioned.gain(step_sizes, norms.ahead, norms.inner), options.by_leaf)
        metric, distance_sq = preconditioned.advance(state.metric, gained, decision.taken, moved.distance_sq)
        state, moved = state._replace(metric=metric), moved._replace(distance_sq=distance_sq)
    run, kept = core_step.record(state.run, decision, norms.measured, moved)
    return state._replace(run=run), kept


def _dual_distance_sq(
    state: ParameterFreeState, directions: Leaves, taken: jax.Array
) -> tuple[ParameterFreeState, jax.Array]:
    """Of a probe whose steps decay, the displacement η Σ d that its certificate is about."""
    total = optax.tree.add(state.grad_sum, directions)
    grad_sum = optax.tree.where(taken, total, state.grad_sum)
    path = optax.tree.scale(core_step.probe_step_size(state.controller), grad_sum)
    distance_sq = jnp.sum(leaves.dots([(path, path)], state.anchor_sq.dtype), axis=1)
    return state._replace(grad_sum=grad_sum), distance_sq


def _move_probe(options: Options, gradient: Gradient, norms: Norms, turn: Turn) -> Turn:
    """One gradient of a probe; all leaves stay where they are if one overflows."""
    old = optax.tree.where(turn.state.run.step == 0, turn.state.anchor, gradient.points)
    state, decision = _decide(options, turn.state, norms.measured, Phase.SEARCH)
    dtype, blocks, sums = state.anchor_sq.dtype, [], []
    for block in map(Block, old, state.anchor, gradient.directions):
        step_size = decision.step_sizes[0].astype(block.iterate.dtype)
        block, measured = update.move_probe_block(block, decision, step_size, leaves.arithmetic(dtype))
        blocks.append(block)
        sums.append(measured.distance_sq)
    new = [block.iterate for block in blocks]
    plain_sq = leaves.by_scope(leaves.table([sums], dtype)[0], options.by_leaf)
    plain_sq = jnp.where(rounding.overflows(new, gradient.params), jnp.inf, plain_sq)

    step_size, distance_sq = core_step.probe_step_size(state.controller), plain_sq
    if state.grad_sum:
        state, dual_sq = _dual_distance_sq(state, gradient.directions, decision.taken)
        distance_sq = jnp.where(jnp.isfinite(plain_sq), dual_sq, jnp.inf)
    state, kept = _record(options, state, norms, decision, step_size, Moved(distance_sq))
    lost = rounding.is_lost(state, step_size, plain_sq[0], gradient.params)
    state = state._replace(run=state.run._replace(frozen=state.run.frozen | lost))

    new = optax.tree.where(kept, new, old)
    new = optax.tree.where(state.run.frozen, state.anchor, new)  # where it waits for the end of the probe
    if options.config.certified and options.config.returns_average:
        rows = zip(state.average, old, strict=True)
        state = state._replace(average=[leaves.lerp(*row, decision.average_weight) for row in rows])
    return Turn(state, optax.tree.sub(new, gradient.points), decision.taken, decision.restart)


def _move_main_run(options: Options, gradient: Gradient, norms: Norms, turn: Turn) -> Turn:
    """One gradient of the main run."""
    starts = turn.state.run.step == turn.state.run.restart_step
    state, decision = _decide(options, turn.state, norms.measured, Phase.MAIN)
    size = sum(point.size for point in gradient.points) if options.by_coordinate else 0
    rule = Rule(options.config.constants, size, momentum=options.momentum, nesterov=options.nesterov)
    arithmetic = leaves.arithmetic(state.anchor_sq.dtype)
    shared = Shared(rule, decision, starts, options.config.interpolates, arithmetic)
    step_sizes = _step_sizes(options, decision, len(gradient.points))
    moves, blocks, sums = [], [], []
    for place, (param, block) in enumerate(zip(gradient.params, _blocks(state, gradient), strict=True)):
        if sums:
            before = sums[-1].distance_sq
            point, direction = (leaves.wait_for(x, before) for x in (block.iterate, block.gradient))
            block = block._replace(iterate=point, gradient=direction)
        move, block, measured = _move_leaf(shared, param, block, step_sizes[place])
        moves.append(move)
        blocks.append(block)
        sums.append(measured)
    kept = {name: [getattr(block, name) for block in blocks] for name in KEPT if getattr(state, name)}
    moved = _moved(options, sums, state.anchor_sq.dtype)
    state, _ = _record(options, state._replace(**kept), norms, decision, step_sizes, moved)
    return Turn(state, moves, decision.taken, decision.restart)


def _blocks(state: ParameterFreeState, gradient: Gradient) -> list[Block]:
    """The leaves as the core sees them, but at the points y = z + β (x̄ − z) in place of the iterates z."""
    nothing = [None] * len(gradient.points)
    kept = (getattr(state, name) or nothing for name in KEPT)
    return list(map(Block, gradient.points, state.anchor, gradient.directions, *kept))


def _move_leaf(
    shared: Shared, param: Any, block: Block, step_size: jax.Array
) -> tuple[jax.Array, Block, Sums]:
    """What to add to the point of one leaf, the block at the new iterate, and its sums."""
    point = iterate = block.iterate
    rule, decision, step_size = leaves.cast((shared.rule, shared.decision, step_size), point.dtype)
    rule = rule._replace(largest=rounding.largest(param))
    if shared.interpolates:
        iterate = point + decision.beta / (decision.beta - 1) * (block.average - point)
    block = block._replace(iterate=jnp.where(shared.starts, block.anchor, iterate))
    block, sums = update.move_block(block, rule, decision, step_size, shared.arithmetic)
    new = block.iterate
    if shared.interpolates:
        new = new + decision.next_beta * (block.average - new)
    return new - point, block, sums


def _moved(options: Options, sums: list[Sums], dtype: Any) -> Moved:
    """What the core is told of a move, from the sums of all leaves."""
    names = Sums._fields if options.by_coordinate else Sums._fields[:1]
    rows = leaves.table([[getattr(each, name) for each in sums] for name in names], dtype)
    distance_sq = leaves.by_scope(rows[0], options.by_leaf)
    if not options.by_coordinate:
        return Moved(distance_sq)
    return Moved(distance_sq, leaves.by_scope(rows[1], options.by_leaf), jnp.sum(rows[2]), jnp.sum(rows[3]))


def _step_sizes(options: Options, decision: Decision, count: int) -> jax.Array:
    """Of each of ``count`` leaves, shape=(leaves,)."""
    whole, own = decision.step_sizes[0], decision.step_sizes[1:]
    if not options.by_leaf:
        return jnp.broadcast_to(whole, count)
    return jnp.maximum(whole, own) if options.by_whole else own
