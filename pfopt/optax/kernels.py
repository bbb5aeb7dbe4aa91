"""The mathematics of a step on lists of leaves; decides nothing.

A wide leaf is one in the dtype it is computed in: float32 for half precision, its own otherwise.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

HALF = (jnp.float16, jnp.bfloat16)
FAR = 2.0**10  # anchor norms; the same in float32 and float64, so that both take the same decisions


def is_half(leaf: Any) -> bool:
    """Whether a leaf has less precision than float32."""
    return leaf.dtype in HALF


def wide_dtype(leaf: Any) -> Any:
    """What a leaf is computed in."""
    return jnp.dtype(jnp.float32) if is_half(leaf) else leaf.dtype


def zeros(leaf: Any) -> jax.Array:
    """Zeros of the shape and sharding of a leaf, which may be abstract."""
    return jnp.zeros_like(leaf, dtype=wide_dtype(leaf))


def real_zeros(leaf: Any) -> jax.Array:
    """Zeros for the squares of a leaf's entries."""
    return jnp.zeros_like(leaf, dtype=jnp.finfo(wide_dtype(leaf)).dtype)


def widen(leaf: Any, like: jax.Array) -> jax.Array:
    """A gradient in the dtype that the parameter ``like`` is computed in; zero where there is none."""
    return zeros(like) if leaf is None else jnp.asarray(leaf).astype(wide_dtype(like))


def real_dtype(leaves: list[Any]) -> Any:
    """Of the statistics: float64 where a leaf holds that much, float32 otherwise."""
    wide = any(jnp.finfo(leaf.dtype).bits > 32 for leaf in leaves)
    return jnp.dtype(jnp.float64 if wide else jnp.float32)


def largest(leaves: list[Any], dtype: Any) -> float:
    """A distance from the origin below which no entry and no sum of squares can overflow."""
    entry = min((float(jnp.finfo(leaf.dtype).max) for leaf in leaves), default=float("inf"))
    return 0.25 * min(entry, float(jnp.finfo(dtype).max) ** 0.5)


def range_of_return(leaves: list[Any]) -> float:
    """Distance, in anchor norms, from which an update still leads back to within 1/16 of the anchor.

    Where the dtype allows it the error is far less: 1e-13 in float64, 1e-4 in float32.
    """
    return min([FAR, *(0.0625 / float(jnp.finfo(leaf.dtype).eps) for leaf in leaves)])


def count_coordinates(leaves: list[Any]) -> int:
    """Real numbers in all leaves together."""
    return sum(leaf.size * (2 if jnp.iscomplexobj(leaf) else 1) for leaf in leaves)


def count_scopes(scope: str, leaves: list[Any]) -> int:
    """How many scopes there are beside the whole parameter vector."""
    return 0 if scope == "global" else len(leaves)


def norms_sq(leaves: list[jax.Array], scope: str, dtype: Any) -> jax.Array:
    """‖leaf‖², shape=(1 + scopes,), real: of all leaves, then of each scope."""
    squares = [jnp.sum(_abs_sq(leaf, dtype)) for leaf in leaves]
    whole = sum(squares, jnp.zeros((), dtype))
    return jnp.stack([whole, *squares] if scope != "global" else [whole])


def holdable(gap_sq: jax.Array, x: jax.Array, param: Any) -> jax.Array:
    """|x − x_0|² of every entry, infinite where the parameter's dtype cannot hold x."""
    return jnp.where(jnp.isfinite(_round(x, param.dtype)), gap_sq, jnp.inf) if is_half(param) else gap_sq


def reaches_sq(points: list[jax.Array], anchors: list[jax.Array], params: list[Any], dtype: Any) -> jax.Array:
    """‖x − x_0‖² of each leaf, shape=(leaves,), real; infinite where a parameter's dtype cannot hold x."""
    rows = zip(points, anchors, params, strict=True)
    return stacked([jnp.sum(holdable(_abs_sq(x - x0, dtype), x, param)) for x, x0, param in rows], dtype)


def products(ones: list[jax.Array], others: list[jax.Array], dtype: Any) -> jax.Array:
    """The real ⟨a, b⟩ of each leaf, shape=(leaves,)."""
    return stacked([_real_product(a, b, dtype) for a, b in zip(ones, others, strict=True)], dtype)


def stacked(each: list[jax.Array], dtype: Any) -> jax.Array:
    """One number of each leaf, shape=(leaves,)."""
    return jnp.stack(each) if each else jnp.zeros(0, dtype)


def by_scope(each: jax.Array, scope: str) -> jax.Array:
    """Sums of what each leaf has, shape=(1 + scopes,)."""
    whole = jnp.sum(each)[None]
    return whole if scope == "global" else jnp.concatenate([whole, each])


def distances_sq(points: list[jax.Array], anchors: list[jax.Array], scope: str, dtype: Any) -> jax.Array:
    """‖x − x_0‖², shape=(1 + scopes,), real."""
    return norms_sq([x - x0 for x, x0 in zip(points, anchors, strict=True)], scope, dtype)


def after(leaf: jax.Array, norm_sq: jax.Array) -> jax.Array:
    """The leaf itself; compiled for a CPU, not before ``norm_sq``, which is not negative, is known."""

    def wait(leaf: jax.Array, norm_sq: jax.Array) -> jax.Array:
        return jnp.where(norm_sq < 0, jnp.zeros_like(leaf), leaf)  # optimization_barrier orders nothing there

    return lax.platform_dependent(leaf, norm_sq, cpu=wait, default=lambda leaf, _: leaf)


def select(condition: jax.Array, yes: list[jax.Array], no: list[jax.Array]) -> list[jax.Array]:
    """``yes`` where the scalar ``condition`` holds; what is not finite in it cannot leak otherwise."""
    return [jnp.where(condition, a, b) for a, b in zip(yes, no, strict=True)]


def scale(leaves: list[jax.Array], factor: Any) -> list[jax.Array]:
    """The product factor · leaf, in the leaf's dtype."""
    return [scaled(leaf, factor) for leaf in leaves]


def scaled(leaf: jax.Array, factor: Any) -> jax.Array:
    """The product factor · leaf, in the leaf's dtype; a factor of shape=() or that of the leaf."""
    return jnp.asarray(factor).astype(_real_part(leaf)) * leaf


def own_steps(steps: jax.Array, scope: str, count: int) -> list[jax.Array]:
    """The step size of each of ``count`` leaves, shape=() each; ``steps``: shape=(1 + scopes,)."""
    if scope == "global":
        return [steps[0]] * count
    own = steps[1:] if scope == "tensor" else jnp.maximum(steps[0], steps[1:])
    return [own[place] for place in range(count)]


def moves(directions: list[jax.Array], steps: list[jax.Array]) -> list[jax.Array]:
    """−step · direction, with the step size of each leaf, shape=()."""
    return [scaled(leaf, -step) for leaf, step in zip(directions, steps, strict=True)]


def mix(leaf: jax.Array, other: jax.Array, share: jax.Array) -> jax.Array:
    """The point x + share (other − x)."""
    return leaf + scaled(other - leaf, share)


def add(leaves: list[jax.Array], others: list[jax.Array]) -> list[jax.Array]:
    """Leaf by leaf sums."""
    return [a + b for a, b in zip(leaves, others, strict=True)]


def subtract(leaves: list[jax.Array], others: list[jax.Array]) -> list[jax.Array]:
    """Leaf by leaf differences."""
    return [a - b for a, b in zip(leaves, others, strict=True)]


def lerp(average: jax.Array, leaf: jax.Array, weight: jax.Array) -> jax.Array:
    """x̄ + w (x − x̄); exactly x̄ at w = 0, whatever x is, and exactly x at w = 1."""
    return jnp.where(weight == 0, average, jnp.where(weight == 1, leaf, mix(average, leaf, weight)))


def velocity(old: jax.Array, direction: jax.Array, decay: Any, momentum: Any) -> jax.Array:
    """The velocity decay v + (1 − m) g; ``decay`` is m, or 0 while the run has not moved."""
    return scaled(old, decay) + scaled(direction, 1 - momentum)


def iterates(params: list[jax.Array], kept: list[jax.Array]) -> list[jax.Array]:
    """What moves: wide parameters themselves, or the float32 iterates ``kept`` behind half-precision ones.

    A kept iterate counts while it still rounds to the parameter, up to one unit in the last place: others may
    have changed that since, or have rounded the update.
    """
    rest = iter(kept)
    return [_behind(leaf, next(rest)) if is_half(leaf) else leaf for leaf in params]


def kept(params: list[jax.Array], points: list[jax.Array]) -> list[jax.Array]:
    """The iterates to keep behind half-precision parameters."""
    return [x for x, leaf in zip(points, params, strict=True) if is_half(leaf)]


def updates(
    params: list[jax.Array], points: list[jax.Array], moves: list[jax.Array], done: jax.Array
) -> list[jax.Array]:
    """What to add to the parameters, in their dtype, so that they hold points + moves; zero when ``done``."""
    found = []
    for leaf, x, move in zip(params, points, moves, strict=True):
        if is_half(leaf):
            gap = _round(x + move, leaf.dtype) - leaf.astype(jnp.float32)
            move = jnp.where(done, 0, gap).astype(leaf.dtype)
        found.append(move)
    return found


def abs_sq(leaf: jax.Array) -> jax.Array:
    """|x|² of every entry, real, in the leaf's precision."""
    return _abs_sq(leaf, _real_part(leaf))


def _abs_sq(leaf: jax.Array, dtype: Any) -> jax.Array:
    if jnp.iscomplexobj(leaf):
        return jnp.square(leaf.real.astype(dtype)) + jnp.square(leaf.imag.astype(dtype))
    return jnp.square(leaf.astype(dtype))


def _real_product(a: jax.Array, b: jax.Array, dtype: Any) -> jax.Array:
    if jnp.iscomplexobj(a):
        real, imag = a.real.astype(dtype) * b.real.astype(dtype), a.imag.astype(dtype) * b.imag.astype(dtype)
        return jnp.sum(real + imag)
    return jnp.sum(a.astype(dtype) * b.astype(dtype))


def _behind(param: jax.Array, iterate: jax.Array) -> jax.Array:
    seen = param.astype(jnp.float32)
    near = jnp.abs(seen - iterate) <= float(jnp.finfo(param.dtype).eps) * jnp.abs(seen)
    return jnp.where(near, iterate, seen)


def _round(x: jax.Array, dtype: Any) -> jax.Array:
    info = jnp.finfo(dtype)  # a pair of casts would be optimised away
    return lax.reduce_precision(x, exponent_bits=info.nexp, mantissa_bits=info.nmant)


def _real_part(leaf: jax.Array) -> Any:
    return jnp.finfo(leaf.dtype).dtype
