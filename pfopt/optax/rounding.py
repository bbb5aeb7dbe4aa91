"""What half precision and additive updates cost, and how little of it a run is made to feel.

Steps far below one unit in the last place of a half-precision parameter would be lost: a float32 iterate behind it
adds them up. And updates are added: from far away they miss the anchor, since p + (x_0 − p) is off by up to one unit in
the last place of p. Two rules keep a probe that diverged from spoiling the next one. A run's first move starts at the
anchor itself, wherever the parameters landed: at worst one gradient was taken a rounding error away. And a probe that
is lost goes back to the anchor while the way is still short.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax

from pfopt.optax import leaves
from pfopt.optax.leaves import Leaves
from pfopt.optax.state import ParameterFreeState

FARTHEST = (
    2.0**10
)  # norms of the anchor; the same in float32 and float64, so that both take the same decisions
NEAR = 0.0625  # of the anchor's norm: an update from FARTHEST leads back to within that, in any dtype


def points(params: list[Any], iterates: Leaves) -> Leaves:
    """Where the parameters are: as they are seen or, behind those of half precision, at the iterates that were kept.

    A kept iterate counts while it still rounds to its parameter, up to one unit in the last place, or to zero, where
    XLA leaves what is below the smallest normal number: others may have changed that since, or have rounded the update.
    """
    kept = iter(iterates)

    def point(param: Any) -> jax.Array:
        seen = leaves.as_real(param, param)
        if not leaves.is_half(param):
            return seen
        iterate = next(kept)
        info = jnp.finfo(param.dtype)
        unit = jnp.maximum(float(info.eps) * jnp.abs(seen), float(info.tiny))
        return jnp.where(jnp.abs(seen - iterate) <= unit, iterate, seen)

    return [point(param) for param in params]


def updates(params: list[Any], points: Leaves, moves: Leaves, done: jax.Array) -> tuple[list[Any], Leaves]:
    """What to add to the parameters, in their dtype, so that they hold points + moves; and the iterates to keep.

    Two numbers of half precision may be farther apart than the largest one: then the update is that, and leads part of
    the way.

    Args:
        params: as the caller holds them.
        points: where they are.
        moves: of the points.
        done: whether the returned point was delivered before: then nothing moves any more.
    """
    new = optax.tree.add(points, moves)

    def update(param: Any, point: jax.Array, move: jax.Array) -> Any:
        if leaves.is_half(param):
            far = float(jnp.finfo(param.dtype).max)
            move = jnp.clip(_rounded(point, param.dtype) - param.astype(jnp.float32), -far, far)
            move = jnp.where(done, 0, move)
        return leaves.as_param(move, param)

    kept = [x for x, param in zip(new, params, strict=True) if leaves.is_half(param)]
    return [update(*row) for row in zip(params, new, moves, strict=True)], kept


def largest(param: Any, *, based: bool) -> float | None:
    """The largest number that a parameter holds; None where no move of the main run leads there.

    A base's directions may be of any size, and those of half precision are computed in float32.
    """
    return float(jnp.finfo(param.dtype).max) if based or leaves.is_half(param) else None


def overflows(points: Leaves, params: list[Any]) -> jax.Array | bool:
    """Whether a point has an entry that its half-precision parameter cannot hold."""
    over = False
    for point, param in zip(points, params, strict=True):
        if leaves.is_half(param):
            over |= jnp.any(jnp.abs(point) > float(jnp.finfo(param.dtype).max))
    return over


def is_lost(
    state: ParameterFreeState, step_size: jax.Array, distance_sq: jax.Array, params: list[Any]
) -> jax.Array:
    """Whether a probe is farther away than an update leads back from, and diverges.

    Its gradients outweigh its displacement, η² Σ‖g‖² > r̄²: a probe with a signal is certified at alpha = 1. From the
    origin no probe is lost, since every way back is exact.

    Args:
        state: after a move, which is recorded.
        step_size: of the probe.
        distance_sq: ‖x − x_0‖² now, for a base, in whose metric r̄² is another one.
        params: as the caller holds them.
    """
    run, far = state.run, min([FARTHEST, *(NEAR / float(jnp.finfo(param.dtype).eps) for param in params)])
    diverges = ~(step_size * (step_size * run.grad_sq_sum[0]) <= run.distance_sq[0])
    if state.metric is None:
        distance_sq = run.distance_sq[0]
    away = (state.anchor_sq > 0) & (distance_sq > far**2 * state.anchor_sq)
    return (run.step >= 2) & (run.step < state.controller.run_length) & away & diverges


def _rounded(x: jax.Array, dtype: Any) -> jax.Array:
    info = jnp.finfo(dtype)  # a pair of casts would be optimised away
    return lax.reduce_precision(x, exponent_bits=info.nexp, mantissa_bits=info.nmant)
