"""One gradient as records, its unit, and what the core is told of its move."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from pfopt.core import preconditioned, scale
from pfopt.core import step as core_step
from pfopt.core.config import Config
from pfopt.core.main_run import Decision
from pfopt.core.records import Phase
from pfopt.core.step import Measured, Moved
from pfopt.optax import leaves
from pfopt.optax.leaves import Leaves
from pfopt.optax.state import Options, ParameterFreeState, when


class Gradient(NamedTuple):
    """One gradient and where it was taken, as lists of leaves in the form in which they are computed."""

    params: list[Any]  # as the caller holds them
    points: Leaves  # where they are
    gradients: Leaves  # in the unit of the run; around a base, as they came
    directions: Leaves  # what the base made of the gradients; without one these
    unit: jax.Array  # shape=(), real, not zero; of this gradient
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


def find_unit(
    config: Config, state: ParameterFreeState, gradients: Leaves
) -> tuple[ParameterFreeState, jax.Array]:
    """The state with the unit of the run, which the first gradient fixes, and that of this gradient.

    That is infinite where a first gradient, that of a bad batch maybe, cannot be squared: it is not taken.
    """
    dtype, zero = state.unit.dtype, jnp.zeros_like(state.unit)
    squared = jnp.float64 if all(leaf.dtype == jnp.float64 for leaf in gradients) else jnp.float32
    begins = (state.probes == 0) & (state.run.step == 0) & (state.controller.phase == Phase.SEARCH)

    def find(_: Any) -> tuple[jax.Array, jax.Array]:
        norms = [jnp.max(jnp.abs(leaf), initial=0.0).astype(dtype) for leaf in gradients]
        largest = jnp.max(leaves.table([norms], dtype), initial=0.0)
        # a probe of plan "certified" would end at a gradient that is left out
        waits = (not config.certified) & begins & scale.overflows(largest, squared)
        found = jnp.ldexp(jnp.ones_like(zero), scale.exponent(largest, squared))
        known = (largest > 0) & jnp.isfinite(largest) & ~waits
        return jnp.where(known, found, 0), jnp.where(known, found, jnp.where(waits, jnp.inf, 1))

    unit, of_this = when(state.unit == 0, find, (state.unit, state.unit))
    return state._replace(unit=unit), of_this


def scaled(unit: jax.Array, vector: Leaves) -> Leaves:
    """A vector times the unit."""
    return [unit.astype(leaf.dtype) * leaf for leaf in vector]


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
