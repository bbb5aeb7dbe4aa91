"""The end of a run: the core says what comes next, and the leaves are laid out for it."""

import jax.numpy as jnp
import optax

from pfopt.core import controller
from pfopt.core import run as runs
from pfopt.core.config import Config
from pfopt.core.records import Phase, Slot, State, Transition
from pfopt.optax import leaves
from pfopt.optax.leaves import Leaves
from pfopt.optax.state import Carried, ParameterFreeState, when


def finish(config: Config, points: Leaves, carried: Carried) -> Carried:
    """The state before the next run, and moves to the point where that starts; or to the returned one.

    Args:
        config: what the caller chose.
        points: where the last gradient of the run was taken.
        carried: after the move that it led to.
    """
    state, moves = carried
    before, run = state.controller, state.run
    following, transition = controller.finish(config, before, run)
    done = following.phase == Phase.DONE
    fresh = runs.begin(len(run.grad_sq_sum) - 1, jnp, dtype=run.weight_sum.dtype)
    state = state._replace(
        controller=following,
        run=when(~done, lambda _: fresh, run),  # ``status`` tells of the last one when all is over
        probes=state.probes + (before.phase == Phase.SEARCH),
        deployed=controller.deployed_slot(config, following),
    )
    lay_out = _lay_out_certified if config.certified else _lay_out_practical
    state, new = lay_out(config, state, optax.tree.add(points, moves), transition)
    return state, optax.tree.sub(new, points)


def _lay_out_certified(
    config: Config, state: ParameterFreeState, points: Leaves, transition: Transition
) -> tuple[ParameterFreeState, Leaves]:
    """Keep the output of a probe where it belongs; go to the returned one, or to the anchor."""
    output = state.average if config.returns_average else points
    lo = optax.tree.where(transition.keep == Slot.LO, output, state.lo)
    hi = optax.tree.where(transition.keep == Slot.HI, output, state.hi)
    following: State = state.controller
    returned = jnp.where(following.phase == Phase.DONE, following.output, Slot.ANCHOR)
    points = optax.tree.where(returned == Slot.LO, lo, state.anchor)
    points = optax.tree.where(returned == Slot.HI, hi, points)
    return state._replace(lo=lo, hi=hi, grad_sum=optax.tree.zeros_like(state.grad_sum)), points


def _lay_out_practical(
    config: Config, state: ParameterFreeState, points: Leaves, transition: Transition
) -> tuple[ParameterFreeState, Leaves]:
    """Go to the anchor after a probe, and to the returned point after the main run."""
    if config.returns_average:
        begins = state.controller.phase == Phase.MAIN
        state = state._replace(average=when(begins, lambda _: state.anchor, state.average))
    returned = points
    if config.returns_average:
        rows = zip(state.still, points, state.average, strict=True)
        returned = [jnp.where(still, point, average) for still, point, average in rows]
    ended = (state.controller.phase == Phase.DONE) | transition.reanchor
    new = optax.tree.where(ended, returned, state.anchor)
    if config.stages:
        moved_sq = leaves.norm_sq(new, state.anchor_sq.dtype)
        state = state._replace(
            anchor=optax.tree.where(transition.reanchor, new, state.anchor),
            anchor_sq=jnp.where(transition.reanchor, moved_sq, state.anchor_sq),
        )
    return state, new
