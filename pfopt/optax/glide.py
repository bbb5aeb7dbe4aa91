"""One move of the long run, a leaf at a time."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from pfopt.optax import kernels
from pfopt.search import tracking
from pfopt.search.tracking import Move, Single


class Rule(NamedTuple):
    """What holds for every move."""

    momentum: Any
    nesterov: bool
    primal: bool  # whether gradients are taken between iterate and average
    coordinates: int  # how many there are, where each has a step size of its own


class Moment(NamedTuple):
    """What holds for all leaves at one gradient; scalars."""

    move: Move
    single: Single
    restart: jax.Array  # it moves the anchor
    decay: Any  # of the momentum
    shares: tuple[jax.Array, jax.Array]  # of the average in the points, before and after the move


class Leaf(NamedTuple):
    """What belongs to one parameter; wide arrays of its shape, or None for what is not remembered."""

    param: Any  # what the user sees, whose dtype must hold the new point
    step: jax.Array  # shape=(), its step size
    point: jax.Array
    direction: jax.Array
    anchor: jax.Array
    average: Any
    velocity: Any
    recent_sq: Any

    def after(self, reach_sq: jax.Array) -> "Leaf":
        """The same, once another leaf has moved, whose ``reach_sq`` that is.

        Only where XLA compiles for a CPU: it does each operation on all leaves before the next one, so that what lies
        between two of them is in memory for the whole model at once.
        """
        point, direction = (kernels.after(x, reach_sq) for x in (self.point, self.direction))
        return self._replace(point=point, direction=direction)


class Measured(NamedTuple):
    """Of one leaf, real, shape=(); the last three where coordinates move on their own."""

    reach_sq: jax.Array  # ‖x − x_0‖² after the move, in the metric in which it moved; infinite if x overflows
    grad_sq: jax.Array | None = None  # ‖g‖², likewise
    away_sq: jax.Array | None = None  # ‖x − x_0‖² itself
    away_product: jax.Array | None = None  # weighted by the mean squares of gradients


class Moved(NamedTuple):
    """What becomes of it."""

    move: jax.Array  # to add to the point
    average: Any
    velocity: Any
    recent_sq: Any
    measured: Measured


def glide(leaf: Leaf, rule: Rule, moment: Moment, dtype: Any) -> Moved:
    """Move a leaf by its step, or by those of its coordinates where these are larger.

    The points are y = z + share (x̄ − z), and what moves is z.

    Args:
        leaf: before the move.
        rule: of the run.
        moment: the gradient's.
        dtype: of what is measured.
    """
    move, single, (before, after) = moment.move, moment.single, moment.shares
    iterate = leaf.point
    if rule.primal:
        iterate = kernels.mix(leaf.point, leaf.average, before / (before - 1))
    iterate = jnp.where(moment.restart, leaf.anchor, iterate)
    direction, velocity = _with_momentum(leaf, rule, moment)

    step = jnp.maximum(leaf.step, jnp.finfo(dtype).tiny)
    taken, recent_sq, squares = step, leaf.recent_sq, kernels.abs_sq(leaf.direction)
    if recent_sq is not None:
        recent_sq = kernels.lerp(recent_sq, squares, single.share)
        taken = _coordinate_steps(single, iterate - leaf.anchor, recent_sq, step, rule.coordinates)
    new = iterate + kernels.scaled(direction, -taken)
    gap_sq = kernels.abs_sq(new - leaf.anchor)
    reach = kernels.holdable(gap_sq * (step / taken), new, leaf.param)
    new = jnp.where(move.go & jnp.isfinite(reach), new, iterate)  # entry by entry: their sum would be a pass
    new = jnp.where(move.explode, leaf.anchor, new)

    measured = Measured(_sum(reach, dtype))
    if recent_sq is not None:
        measured = Measured(
            reach_sq=measured.reach_sq,
            grad_sq=_sum(squares * taken, dtype) / step,
            away_sq=_sum(gap_sq, dtype),
            away_product=_sum(gap_sq * recent_sq, dtype),
        )
    average = leaf.average
    if average is not None:
        average = kernels.lerp(average, new, move.weight)
        if rule.primal:
            new = kernels.mix(new, average, after)
    return Moved(new - leaf.point, average, velocity, recent_sq, measured)


def _sum(terms: jax.Array, dtype: Any) -> jax.Array:
    return jnp.sum(terms.astype(dtype))


def _with_momentum(leaf: Leaf, rule: Rule, moment: Moment) -> tuple[jax.Array, jax.Array | None]:
    """The direction v = m v + (1 − m) g, or (1 − m) g + m v for Nesterov; and the velocity v."""
    if leaf.velocity is None:
        return leaf.direction, None
    new = kernels.velocity(leaf.velocity, leaf.direction, moment.decay, rule.momentum)
    velocity = jnp.where(moment.move.go, new, leaf.velocity)
    if not rule.nesterov:
        return velocity, velocity
    return kernels.velocity(velocity, leaf.direction, rule.momentum, rule.momentum), velocity


def _coordinate_steps(
    single: Single, displacement: jax.Array, recent_sq: jax.Array, step: jax.Array, size: int
) -> jax.Array:
    """At least the step of the leaf."""
    single = jax.tree.map(lambda scalar: jnp.asarray(scalar, recent_sq.dtype), single)
    own = tracking.coordinate_steps(single, jnp.abs(displacement), recent_sq, size, jnp)
    least = jnp.maximum(step.astype(recent_sq.dtype), jnp.finfo(recent_sq.dtype).tiny)
    return jnp.clip(own, least, tracking.COORDINATE_RANGE * least)
