"""One gradient by the calls of ``core.step``: measure norms, ``decide``, move every leaf, ``record``, store.

A probe, the main run and the end of a run have a ``when`` each: only what applies is executed, and leaves that it does
not change stay in their buffers. What they close over is in memory already, so that nothing is written for it.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax

from pfopt.core import preconditioned, update
from pfopt.core import step as core_step
from pfopt.core.main_run import Decision
from pfopt.core.records import Phase, Run, Slot, State
from pfopt.core.step import Measured, Moved
from pfopt.core.step_size import CoordinateRule
from pfopt.core.update import Block
from pfopt.optax import leaves, main_run, rounding, transition
from pfopt.optax.gradient import Gradient, Norms, Step, record, scaled
from pfopt.optax.leaves import Leaves
from pfopt.optax.state import Options, ParameterFreeState, Turn, when


def take_gradient(options: Options, state: ParameterFreeState, gradient: Gradient) -> Turn:
    """Take one gradient.

    Args:
        options: what the caller chose.
        state: with lists of leaves for trees.
        gradient: and where it was taken.
    """
    phase, starts = state.controller.phase, state.run.step == state.run.restart_step
    plain = _plain_sums(state, gradient)
    first = (jnp.sum(plain) != 0) & (phase == Phase.SEARCH) & (state.deployed == Slot.LAST)
    anchor, anchor_sq = when(
        first,
        lambda held: (gradient.points, leaves.norm_sq(gradient.points, held[1].dtype)),
        (state.anchor, state.anchor_sq),
    )
    state = state._replace(anchor=anchor, anchor_sq=anchor_sq)
    state, norms = _measure(options, state, gradient, plain, starts)
    state, decision = _decide(options, state, norms.measured)
    step = Step(gradient, norms, decision, starts)
    state = state._replace(
        idle=state.idle + (phase == Phase.DONE),
        deployed=jnp.where(first, Slot.ANCHOR, state.deployed),
        base=gradient.next_base(decision.taken),
    )

    searching = (phase == Phase.SEARCH) & (state.deployed != Slot.LAST)
    probe = state, jnp.zeros_like(searching)
    state, kept = when(searching, partial(_record_probe, options, step), probe)
    in_main_run = (phase == Phase.MAIN) & (not options.config.certified)
    branches = [_stay, partial(_move_probe, step, state, kept)]
    branch = searching.astype(jnp.int32)
    if options.by_coordinate:
        branches.append(partial(main_run.scale, options, step, state))
        branch = jnp.where(in_main_run, 2, branch)
    moves, metric_sq = lax.switch(branch, branches, gradient.points, state.anchor_sq)
    carried = state, moves
    if not options.config.certified:
        carried = when(in_main_run, partial(main_run.move, options, step, metric_sq), carried)
    state, moves = carried
    still = norms.still & in_main_run
    moves = [jnp.where(each, 0, move) for each, move in zip(still, moves, strict=True)]
    ends = (phase != Phase.DONE) & (state.run.step >= state.controller.run_length)
    finish = partial(transition.finish, options.config, gradient.points)
    state, moves = when(ends, finish, (state._replace(still=still), moves))
    return Turn(state, moves, decision.restart | ends)


def _plain_sums(state: ParameterFreeState, gradient: Gradient) -> jax.Array:
    """Of every leaf, what is zero or not finite where the gradient is: ‖g‖², or Σ |g| where a base makes directions.

    Bases square gradients too: XLA would do so once, and keep the squares in memory for both.
    """
    dtype, gradients = state.anchor_sq.dtype, gradient.gradients
    if state.metric is None:
        return leaves.dots([(gradients, gradients)], dtype)[0]
    return leaves.table([[jnp.sum(jnp.abs(leaf), dtype=dtype) for leaf in gradients]], dtype)[0]


def _measure(
    options: Options, state: ParameterFreeState, gradient: Gradient, plain: jax.Array, starts: jax.Array
) -> tuple[ParameterFreeState, Norms]:
    """Norms of the gradient or, around a base, what stands for them in the metric of its directions."""
    by_scope, inner, ahead = partial(leaves.by_scope, by_leaf=options.by_leaf), None, None
    if state.metric is None:
        grad_sq = by_scope(plain)
    else:
        direction_sq, inner, ahead = _products(state, gradient)
        ahead = jnp.where(starts, 0, ahead)
        metric, grad_sq = preconditioned.measure(
            state.metric, by_scope(inner), by_scope(direction_sq), starts
        )
        state = state._replace(metric=metric)
    whole = jnp.sum(plain)
    grad_sq = jnp.where(jnp.isfinite(whole), grad_sq, jnp.nan)  # whatever a base made of it
    measured = Measured(grad_sq, gradient.loss, whole != 0, state.anchor_sq)
    return state, Norms(measured, (plain == 0) & (whole != 0), inner, ahead)


def _products(state: ParameterFreeState, gradient: Gradient) -> jax.Array:
    """Of every leaf ‖d‖², ⟨g, d⟩ and ⟨g, x_0 − x⟩, with g in the unit of the run; shape=(3, leaves)."""
    gradients, directions, unit = gradient.gradients, gradient.directions, gradient.unit
    back = optax.tree.sub(state.anchor, gradient.points)
    if state.grad_sum:  # the certificate is that of x_0 − η Σ d
        back = optax.tree.scale(core_step.probe_step_size(state.controller), state.grad_sum)
    # on the other factor once: a product that two sums take would be written to memory
    pairs = [(directions, directions), (scaled(unit, gradients), directions), (gradients, scaled(unit, back))]
    return leaves.dots(pairs, state.anchor_sq.dtype)


def _decide(
    options: Options, state: ParameterFreeState, measured: Measured
) -> tuple[ParameterFreeState, Decision]:
    """The core's decision; a branch for each phase, so that none is computed in vain and nothing fuses with it."""

    def decide(phase: Phase) -> tuple[State, Run, Decision]:
        known: State = state.controller._replace(phase=int(phase))
        controller, run, decision = core_step.decide(options.config, known, state.run, measured)
        if decision.coordinate_rule is None:
            rule = CoordinateRule(*[measured.anchor_sq] * len(CoordinateRule._fields))
            decision = decision._replace(coordinate_rule=rule)
        return controller._replace(phase=state.controller.phase), run, decision

    search, main = partial(decide, Phase.SEARCH), partial(decide, Phase.MAIN)
    known = (
        search()
        if options.config.certified
        else lax.cond(state.controller.phase == Phase.SEARCH, search, main)
    )
    controller, run, decision = known
    return state._replace(controller=controller, run=run), decision


def _move_probe_blocks(dtype: Any, step: Step, anchor: Leaves, old: Leaves) -> tuple[jax.Array, Any]:
    """‖x − x_0‖² of every leaf of a probe after a move from ``old``, and whether one overflows its half precision."""
    new, sums = [], []
    for block in map(Block, old, anchor, step.gradient.directions):
        local = leaves.cast(step.decision, block.iterate.dtype)
        block, found = update.move_probe_block(block, local, local.step_sizes[0], leaves.arithmetic(dtype))
        new.append(block.iterate)
        sums.append(found.distance_sq)
    (plain_sq,) = leaves.table([sums], dtype)
    return plain_sq, jnp.asarray(rounding.overflows(new, step.gradient.params))


def _record_probe(
    options: Options, step: Step, carried: tuple[ParameterFreeState, jax.Array]
) -> tuple[ParameterFreeState, jax.Array]:
    """What one gradient of a probe comes to, and whether its move is made; no leaf moves if one overflows."""
    (state, _), gradient, decision = carried, step.gradient, step.decision
    # a branch in place of a choice for every entry, which XLA for CPUs would write to memory before it sums
    moved = partial(_move_probe_blocks, state.anchor_sq.dtype, step, state.anchor)
    plain_sq, over = lax.cond(step.starts, moved, lambda _: moved(gradient.points), state.anchor)
    plain_sq = jnp.where(over, jnp.inf, leaves.by_scope(plain_sq, options.by_leaf))

    step_size, distance_sq = core_step.probe_step_size(state.controller), plain_sq
    if state.grad_sum:
        state, dual_sq = _dual_distance_sq(state, gradient.directions, decision.taken)
        distance_sq = jnp.where(jnp.isfinite(plain_sq), dual_sq, jnp.inf)
    state, kept = record(options, state, step, step_size, Moved(distance_sq))
    lost = rounding.is_lost(state, step_size, plain_sq[0], gradient.params)
    if options.config.certified and options.config.returns_average:
        old = optax.tree.where(step.starts, state.anchor, gradient.points)
        pairs = zip(state.average, old, strict=True)
        state = state._replace(average=[leaves.lerp(*pair, decision.average_weight) for pair in pairs])
    return state._replace(run=state.run._replace(frozen=state.run.frozen | lost)), kept


def _stay(points: Leaves, real: jax.Array) -> tuple[Leaves, jax.Array]:
    """No moves, and nothing measured of each leaf; with the types of ``points`` and of a number like the statistics."""
    return list(map(jnp.zeros_like, points)), jnp.zeros(len(points), real.dtype)


def _move_probe(
    step: Step, state: ParameterFreeState, kept: jax.Array, points: Leaves, real: jax.Array
) -> tuple[Leaves, jax.Array]:
    """What to add to the leaves of a probe; one that is over waits at the anchor for its end."""
    moves = []
    for point, anchor, direction in zip(points, state.anchor, step.gradient.directions, strict=True):
        old = jnp.where(step.starts, anchor, point)
        move = step.decision.step_sizes[0].astype(point.dtype) * direction
        moves.append(jnp.where(state.run.frozen, anchor, old - jnp.where(kept, move, 0)) - point)
    return moves, jnp.zeros(len(points), real.dtype)


def _dual_distance_sq(
    state: ParameterFreeState, directions: Leaves, taken: jax.Array
) -> tuple[ParameterFreeState, jax.Array]:
    """Of a probe whose steps decay, the displacement η Σ d that its certificate is about."""
    grad_sum = optax.tree.where(taken, optax.tree.add(state.grad_sum, directions), state.grad_sum)
    path = optax.tree.scale(core_step.probe_step_size(state.controller), grad_sum)
    return state._replace(grad_sum=grad_sum), leaves.norm_sq(path, state.anchor_sq.dtype)
