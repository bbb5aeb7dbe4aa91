"""What the end of a run does: the controller decides, and the leaves are laid out for what comes next."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from pfopt.optax import kernels
from pfopt.optax.memory import Options, ParameterFreeState, like
from pfopt.search import plan as plans
from pfopt.search import tracking
from pfopt.search.state import ANCHOR, HI, LAST, LO, Config, Phase, State, Verdict

Leaves = list[jax.Array]


def finish(
    options: Options, renew: Callable[[Leaves], Any], state: ParameterFreeState, points: Leaves
) -> tuple[ParameterFreeState, Leaves]:
    """The state before the next run, and the points it starts from; or the returned ones.

    Args:
        options: what the caller fixed.
        renew: the state of the base direction at an anchor.
        state: after the last gradient of a run, with lists of leaves for trees.
        points: where that gradient led.
    """
    config, before, run = options.config, state.search, state.run
    following, verdict = plans.finish(config, before, run, jnp)
    following = like(following, before)
    start_sq = plans.start_sq(config, following, jnp)
    state = state._replace(
        search=following,
        run=tracking.begin(len(start_sq) - 1, start_sq.dtype, jnp),
        finished=run,
        start_sq=start_sq,
        probes=state.probes + (before.phase == Phase.SEARCH),
        deploy=_deploy_slot(config, following),
    )
    if config.plan == "certified":
        state, points = _lay_out_certified(state, points, following, verdict, config.schedule)
    else:
        state, points = _lay_out(state, points, following, verdict)
    return state._replace(base=renew(state.anchor)), points


def _deploy_slot(config: Config, state: State) -> jax.Array:
    """Where the iterate to deploy is."""
    delivered = state.phase == Phase.DONE
    if config.plan == "certified":
        return jnp.where(delivered, LAST, state.output)
    return jnp.where(delivered, LAST, jnp.where(state.phase == Phase.TRAIN, config.output, ANCHOR))


def _lay_out_certified(
    state: ParameterFreeState, points: Leaves, following: State, verdict: Verdict, schedule: str
) -> tuple[ParameterFreeState, Leaves]:
    output = points if schedule == "linear" else state.average
    lo = kernels.select(verdict.keep == LO, output, state.lo)
    hi = kernels.select(verdict.keep == HI, output, state.hi)
    done = following.phase == Phase.DONE
    points = kernels.select(done & (following.output == LO), lo, state.anchor)
    points = kernels.select(done & (following.output == HI), hi, points)
    return state._replace(lo=lo, hi=hi, grad_sum=[jnp.zeros_like(leaf) for leaf in state.grad_sum]), points


def _lay_out(
    state: ParameterFreeState, points: Leaves, following: State, verdict: Verdict
) -> tuple[ParameterFreeState, Leaves]:
    delivered = (following.phase == Phase.DONE) | verdict.reanchor
    output = state.average or points
    new = kernels.select(delivered, output, state.anchor)
    anchor = kernels.select(verdict.reanchor, new, state.anchor)
    begins = following.phase == Phase.TRAIN
    average = kernels.select(begins, new, state.average) if state.average else []
    moved_sq = kernels.norms_sq(anchor, "global", state.anchor_sq.dtype)[0]
    anchor_sq = jnp.where(verdict.reanchor, moved_sq, state.anchor_sq)
    return state._replace(anchor=anchor, average=average, anchor_sq=anchor_sq), new
