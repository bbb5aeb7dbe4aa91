"""One gradient as records, and what the core is told of its move."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from pfopt.core import preconditioned
from pfopt.core import step as core_step
from pfopt.core.main_run import Decision
from pfopt.core.step import Measured, Moved
from pfopt.optax import leaves
from pfopt.optax.leaves import Leaves
from pfopt.optax.state import Options, ParameterFreeState


class Gradient(NamedTuple):
    """One gradient and where it was taken, as lists of leaves in the form in which they are computed."""

    params: list[Any]  # as the caller holds them
    points: Leaves  # where they are
    gradients: Leaves
    directions: Leaves  # what the base made of the gradients; without one these, or these with weight decay
    # the base's state after it, by whether it is taken; None without one
    next_base: Callable[[jax.Array], Any]
    loss: jax.Array | None


class Norms(NamedTuple):
    """A gradient in numbers."""

    measured: Measured
    still: jax.Array  # shape=(leaves,), bool; gradients that are exactly zero where others are not
    inner: jax.Array | None = None  # shape=(leaves,), ⟨g, d⟩; None without a base
    ahead: jax.Array | None = None  # shape=(leaves,), ⟨g, x_0 − x⟩; likewise


class Step(NamedTuple):
    """What the moves of all leaves depend on."""

    gradient: Gradient
    norms: Norms
    decision: Decision
    starts: jax.Array  # shape=(), bool; this gradient is the first one from the anchor


def record(
    options: Options, state: ParameterFreeState, step: Step, step_size: jax.Array, moved: Moved
) -> tuple[ParameterFreeState, jax.Array]:
    """The core's record of a move and, around a base, the distance in the metric of its directions."""
    norms, decision = step.norms, step.decision
    if state.metric is not None:
        gained = leaves.by_scope(preconditioned.gain(step_size, norms.ahead, norms.inner), options.by_leaf)
        metric, distance_sq = preconditioned.advance(state.metric, gained, decision.taken, moved.distance_sq)
        state, moved = state._replace(metric=metric), moved._replace(distance_sq=distance_sq)
    run, kept = core_step.record(state.run, decision, norms.measured, moved)
    return state._replace(run=run, step_size=decision.step_sizes[0]), kept
