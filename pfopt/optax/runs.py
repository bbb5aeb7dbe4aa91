"""What one gradient does: kernels and search put together, in one pass over the leaves where nothing ends.

Where a base makes the directions, they are measured by their products with the gradients, see ``pairing.py``.

Updates are additive: from far away they miss the anchor, since p + (x_0 − p) is off by up to an ulp of p.
Three rules keep a probe that diverged from spoiling the next one:

* The displacement is measured from the parameters as they are seen, and a run's first move starts at the
  anchor itself, wherever the parameters landed: at worst one gradient was taken a rounding error away.
* A frozen probe waits for its end at the anchor.
* A probe that is farther away than the parameters' dtype can return from, and whose gradients outweigh its
  displacement, diverges: it is frozen like one that overflows, while the way back is still short.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from pfopt.optax import ending, kernels, pairing
from pfopt.optax.glide import Leaf, Moment, Moved, Rule, glide
from pfopt.optax.memory import Options, ParameterFreeState, when
from pfopt.optax.pairing import Pairing
from pfopt.search import plan as plans
from pfopt.search import schedule as schedules
from pfopt.search import tracking
from pfopt.search.certificate import certified
from pfopt.search.state import ANCHOR, Phase, Run, choose
from pfopt.search.tracking import Move, Single

LOST = 2**16  # in the count of non-finite gradients: frozen for being lost


Held = tuple[ParameterFreeState, list[jax.Array]]  # the next state, and what to add to the points


class Gradient(NamedTuple):
    """One gradient, as lists of wide leaves."""

    params: list[jax.Array]  # what the user sees, not wide
    points: list[jax.Array]  # where it was taken
    grads: list[jax.Array]  # what came
    directions: list[jax.Array]  # what the base made of it, weight decay included
    base: Any  # the base's state after it
    raw_sq: jax.Array  # shape=(), ‖g‖²
    sq: jax.Array  # shape=(1 + scopes,), ‖d‖² of the directions
    value: jax.Array | None  # shape=(), the loss


class Turn(NamedTuple):
    """What the controller made of one gradient; nothing of a leaf's size."""

    move: Move
    steps: list[jax.Array]  # of each leaf; a scalar each, so that leaves of one shape share compiled code
    single: Single | None  # of plan "train"
    pairing: Pairing | None  # of the gradient
    searching: jax.Array
    training: jax.Array
    latch: jax.Array  # the anchor is where the parameters are now
    restart: jax.Array  # the first gradient of a run or stretch: it moves the anchor
    away_sq: jax.Array  # ‖x − x_0‖² in the search
    decay: Any  # of the momentum
    weight: jax.Array  # of the new point in the average; plan "certified": of the old one
    shares: tuple[jax.Array, jax.Array]  # of the average in the points, before and after the move
    ends: jax.Array  # the run has taken its last gradient


def take(
    options: Options, state: ParameterFreeState, gradient: Gradient, renew: Callable[[list[jax.Array]], Any]
) -> tuple[ParameterFreeState, list[jax.Array]]:
    """Take one gradient.

    Args:
        options: what the caller fixed.
        state: with lists of leaves for trees.
        gradient: what was seen.
        renew: the state of the base direction at an anchor.

    Returns:
        The next state, and what to add to the points.
    """
    state, turn = _decide(options, state, gradient)
    state = _advance(options, state, turn)
    if state.grad_sum:
        state, turn = _measure_dual(state, turn, gradient.directions)
    base = jax.tree.map(lambda new, old: jnp.where(turn.move.go, new, old), gradient.base, state.base)
    rare = _is_rare(state, turn, gradient)

    moves = kernels.moves(gradient.directions, turn.steps)
    plain = turn.move.go & turn.searching & ~rare
    moves = kernels.select(plain, moves, [jnp.zeros_like(move) for move in moves])
    state = state._replace(base=base)
    if options.config.plan == "certified":
        state = _average(state, gradient.points, jnp.where(rare, 0, turn.weight))

    held = state, moves
    single = turn.single
    if single is not None:
        shifts = turn.shares[0] != turn.shares[1]
        glides = turn.training & (turn.move.go | turn.move.explode | turn.restart | shifts)
        held = when(glides, lambda held: _glide(options, turn, single, gradient, held[0]), held)

    def settle(held: Held) -> Held:
        held = when(turn.searching, lambda held: _settle(options, turn, gradient, held[0]), held)
        state, moves = held
        fresh = renew(state.anchor)
        base = jax.tree.map(lambda new, old: jnp.where(turn.move.explode, new, old), fresh, state.base)
        return when(turn.ends, finish, (state._replace(base=base), moves))

    def finish(held: Held) -> Held:
        state, points = ending.finish(options, renew, held[0], kernels.add(gradient.points, held[1]))
        return state, kernels.subtract(points, gradient.points)

    return when(rare, settle, held)


def _average(state: ParameterFreeState, points: list[jax.Array], weight: jax.Array) -> ParameterFreeState:
    """The average of the points of a probe, of plan "certified" with schedule "constant"."""
    if not state.average:
        return state
    rows = zip(state.average, points, strict=True)
    return state._replace(average=[kernels.lerp(mean, x, weight) for mean, x in rows])


def _decide(
    options: Options, state: ParameterFreeState, gradient: Gradient
) -> tuple[ParameterFreeState, Turn]:
    """Everything about a gradient that takes scalars only."""
    search = state.search
    live = search.phase != Phase.DONE
    searching = search.phase == Phase.SEARCH
    training = search.phase == Phase.TRAIN
    signal = gradient.raw_sq != 0
    counts = live & (signal | (search.initial_step != 0)) & (state.run.step < search.run_length)
    start = state.run.step == state.run.origin

    def measure(held: jax.Array) -> jax.Array:
        return kernels.distances_sq(gradient.points, state.anchor, options.scope, held.dtype)

    seen = when(~training, measure, jnp.zeros_like(gradient.sq))  # the long run measures as it moves
    unlatched = state.anchor_sq < 0
    latch = unlatched & counts
    anchor_sq = jnp.where(latch, seen[0], state.anchor_sq)  # an anchor that is not latched is the origin

    away_sq, paired = seen[0], None
    if state.pairing is not None:
        kept, paired, sq = _pair(options, state, gradient, start)
        state, gradient = state._replace(pairing=kept), gradient._replace(sq=sq)
        seen = jnp.where(jnp.isfinite(away_sq), jnp.maximum(kept.reach_sq, 0), jnp.inf)

    found = plans.first_step(options.config, anchor_sq, gradient.sq[0], jnp)
    usable = counts & (search.initial_step == 0) & (gradient.sq[0] > 0) & jnp.isfinite(gradient.sq[0])
    search = search._replace(initial_step=jnp.where(usable, found, search.initial_step))
    deploy = jnp.where(latch, ANCHOR, state.deploy)
    state = state._replace(search=search, anchor_sq=anchor_sq, deploy=deploy)

    run = state.run
    if not state.grad_sum:
        seen = jnp.where(start | ~(searching | training), 0, seen)
        free = Move(jnp.ones_like(start), jnp.zeros_like(start), gradient.sq, jnp.zeros_like(seen[0]))
        run, _ = tracking.moved(run, free, seen, jnp)
    away_sq = run.distance_sq[0] if paired is None else away_sq
    far = kernels.range_of_return(gradient.params)
    lost = searching & (run.bad < LOST) & _is_lost(state, run, away_sq, far)
    run = run._replace(bad=jnp.where(lost, run.bad + LOST, run.bad))
    stands = tracking.stands(run)
    run, move, single = _measure(options, state, run, gradient, counts)
    averages = training | (options.config.plan == "certified")
    turn = Turn(
        move=move,
        steps=kernels.own_steps(move.steps, options.scope, len(state.anchor)),
        single=single,
        pairing=paired,
        searching=searching,
        training=training,
        latch=latch,
        restart=start & (searching | training) & (latch | ~unlatched),
        away_sq=away_sq,
        decay=options.momentum * ~stands,
        weight=move.weight * averages,
        shares=tuple(plans.interpolation(options.config, search, each, jnp) for each in (state.run, run)),
        ends=live & (run.step >= search.run_length),
    )
    step_size = jnp.where(searching | training, move.steps[0], state.step_size)
    return state._replace(run=run, step_size=step_size, idle=state.idle + ~live), turn


def _measure(
    options: Options, state: ParameterFreeState, run: Run, gradient: Gradient, counts: jax.Array
) -> tuple[Run, Move, Single | None]:
    """The search's own account of the gradient, whatever the phase."""
    config, search = options.config, state.search
    length, value = search.run_length, gradient.value
    schedule = config.schedule if config.plan == "certified" else "constant"
    taken = tracking.real(run.step, run, jnp)
    step_size = plans.step_size(search, jnp) * schedules.dual_factor(schedule, taken, length)
    patience = _patience(options)
    probed = tracking.probe(run, gradient.sq, value, counts, step_size=step_size, patience=patience, xp=jnp)
    if config.plan == "certified":
        return *probed, None
    *tracked, single = tracking.track(
        run,
        gradient.sq,
        value,
        counts,
        cap=plans.cap_size(search, jnp),
        vouched=search.probe_length,
        alpha=config.alphas[0],
        start_sq=state.start_sq,
        guess=search.initial_step,
        length=length,
        noise_sq=search.noise_sq,
        schedule=plans.step_schedule(config),
        gamma=options.gamma,
        xp=jnp,
    )
    searching = search.phase == Phase.SEARCH
    run, move = (choose(jnp, searching, *both) for both in zip(probed, tracked, strict=True))
    return run, move, single


def _glide(
    options: Options, turn: Turn, single: Single, gradient: Gradient, state: ParameterFreeState
) -> Held:
    """A step of the long run."""
    dtype, count = gradient.sq.dtype, len(gradient.params)
    rule = Rule(
        momentum=options.momentum,
        nesterov=options.nesterov,
        primal=options.config.primal,
        coordinates=kernels.count_coordinates(gradient.params),
    )
    moment = Moment(turn.move, single, turn.restart, turn.decay, turn.shares)

    def column(leaves: list[jax.Array]) -> list[Any]:
        return leaves or [None] * count

    rows = zip(
        gradient.params,
        turn.steps,
        gradient.points,
        gradient.directions,
        state.anchor,
        *map(column, (state.average, state.velocity, state.recent_sq)),
        strict=True,
    )
    found: list[Moved] = []
    for row in rows:
        leaf = Leaf(*row)
        if found:
            leaf = leaf.after(found[-1].measured.reach_sq)
        found.append(glide(leaf, rule, moment, dtype))
    measured = [each.measured for each in found]
    run = state.run

    def together(name: str) -> jax.Array:
        return kernels.stacked([getattr(each, name) for each in measured], dtype)

    away: tuple[jax.Array, ...] = ()
    if state.recent_sq:
        metric_sq = kernels.by_scope(together("grad_sq"), options.scope)
        run = tracking.remeasured(run, single, gradient.sq, metric_sq, jnp)
        away = jnp.sum(together("away_sq")), jnp.sum(together("away_product"))
    reach_sq = _reach_sq(options, state, together("reach_sq"))
    run, _ = tracking.moved(run, turn.move, reach_sq, jnp, *away)
    state = state._replace(
        run=run,
        **{
            name: [getattr(each, name) for each in found]
            for name in ("average", "velocity", "recent_sq")
            if getattr(state, name)
        },
    )
    return state, [each.move for each in found]


def _reach_sq(options: Options, state: ParameterFreeState, each: jax.Array) -> jax.Array:
    """‖x − x_0‖², shape=(1 + scopes,), from that of each leaf, or what stands for it; infinite where x overflows."""
    reach_sq = kernels.by_scope(each, options.scope)
    if state.grad_sum:
        known = state.run.distance_sq  # that of the dual sequence is measured already
    elif state.pairing is not None:
        known = jnp.maximum(state.pairing.reach_sq, 0)
    else:
        known = reach_sq
    return jnp.where(jnp.isfinite(reach_sq[0]), known, jnp.inf)


def _measure_dual(
    state: ParameterFreeState, turn: Turn, directions: list[jax.Array]
) -> tuple[ParameterFreeState, Turn]:
    """The certificate of the "linear" schedule is that of the constant-step sequence x_0 − eta sum g_i."""
    sums = kernels.select(turn.move.go, kernels.add(state.grad_sum, directions), state.grad_sum)
    reach = kernels.scale(sums, plans.step_size(state.search, jnp))
    reach_sq = kernels.norms_sq(reach, "global", state.run.distance_sq.dtype)
    if state.pairing is not None:
        reach_sq = jnp.where(jnp.isfinite(reach_sq), jnp.maximum(state.pairing.reach_sq, 0), jnp.inf)
    run, keep = tracking.moved(state.run, turn.move, reach_sq, jnp)
    return state._replace(run=run, grad_sum=sums), turn._replace(move=turn.move._replace(go=keep))


def _pair(
    options: Options, state: ParameterFreeState, gradient: Gradient, start: jax.Array
) -> tuple[pairing.Memory, Pairing, jax.Array]:
    """The gradient's products with the direction and with the way back, and what stands for ‖g‖²."""
    dtype, grads = gradient.sq.dtype, gradient.grads
    if state.grad_sum:
        back = kernels.scale(state.grad_sum, plans.step_size(state.search, jnp))
    else:
        back = [x0 - x for x0, x in zip(state.anchor, gradient.points, strict=True)]
    ahead = jnp.where(start, 0, kernels.products(grads, back, dtype))
    paired = Pairing(kernels.products(grads, gradient.directions, dtype), ahead)
    kept = state.pairing._replace(reach_sq=jnp.where(start, 0, state.pairing.reach_sq))
    kept, sq = pairing.grads_sq(kept, kernels.by_scope(paired.inner, options.scope), gradient.sq)
    return kept, paired, jnp.where(jnp.isfinite(gradient.raw_sq), sq, jnp.nan)


def _advance(options: Options, state: ParameterFreeState, turn: Turn) -> ParameterFreeState:
    """The displacement that a move leads to, where it is told by products; that of the dual sequence, if any."""
    if turn.pairing is None:
        return state
    each = kernels.stacked(turn.steps, state.step_size.dtype)
    steps = plans.step_size(state.search, jnp) if state.grad_sum else each
    kept = pairing.advance(state.pairing, turn.pairing, steps, turn.move.go, options.scope)
    return state._replace(pairing=kept)


def _patience(options: Options) -> int:
    return 1 if options.config.plan == "certified" else tracking.PATIENCE


def _is_lost(state: ParameterFreeState, run: Run, away_sq: jax.Array, far: float) -> jax.Array:
    """Whether a probe is far away and diverging: one with a signal is certified at alpha = 1."""
    away = away_sq > far**2 * state.anchor_sq
    carried = certified(plans.step_size(state.search, jnp), run.grad_sq[0], run.distance_sq[0], 1.0, 0.0)
    return (run.step >= 2) & (state.anchor_sq > 0) & away & ~carried


def _is_rare(state: ParameterFreeState, turn: Turn, gradient: Gradient) -> jax.Array:
    """Whether there is more to do than to move: a run ends, or a probe begins or might overflow."""
    run = state.run
    distance_sq, grad_sq = run.distance_sq[0], run.grad_sq[0]
    if turn.pairing is not None:
        distance_sq, grad_sq = turn.away_sq, gradient.sq[0]
    reach = jnp.sqrt(distance_sq) + turn.move.steps[0] * jnp.sqrt(grad_sq)
    reach = reach + jnp.sqrt(jnp.maximum(state.anchor_sq, 0))
    risky = turn.move.go & ~(reach < kernels.largest(gradient.params, reach.dtype))
    settles = turn.latch | turn.restart | risky | (run.bad > 0)
    return turn.move.explode | turn.ends | (turn.searching & settles)


def _settle(options: Options, turn: Turn, gradient: Gradient, state: ParameterFreeState) -> Held:
    """A rare step of the search, of which ``take`` has done nothing yet."""
    points, move, dtype = gradient.points, turn.move, gradient.sq.dtype
    anchor = kernels.select(turn.latch, points, state.anchor)
    old = kernels.select(turn.restart, anchor, points)
    new = kernels.select(move.go, kernels.add(old, kernels.moves(gradient.directions, turn.steps)), old)
    reach_sq = kernels.reaches_sq(new, anchor, gradient.params, dtype)
    run, keep = tracking.moved(state.run, move, _reach_sq(options, state, reach_sq), jnp)
    new = kernels.select(keep, new, old)
    new = kernels.select(run.bad >= _patience(options), anchor, new)
    state = state._replace(run=run, anchor=anchor)
    if options.config.plan == "certified":
        state = _average(state, old, turn.weight)
    return state, kernels.subtract(new, points)
