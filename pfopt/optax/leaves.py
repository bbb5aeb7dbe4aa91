"""Operations on leaves, and on lists of them, that ``optax.tree`` does not have.

A leaf is computed in real numbers of at least 32 bits: half precision as float32, and a complex array as a real one
with its real and imaginary parts stacked in a last axis, so that there is one path for all of them.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from pfopt.core.update import Arithmetic

Leaves = list[jax.Array]


def is_half(leaf: Any) -> bool:
    """Whether a leaf has less precision than float32."""
    return leaf.dtype in (jnp.float16, jnp.bfloat16)


def as_real(leaf: Any, like: Any) -> jax.Array:
    """A leaf in the form in which the parameter ``like`` is computed; zeros where there is none."""
    if leaf is None:
        return zeros(like)
    leaf = jnp.asarray(leaf)
    if jnp.iscomplexobj(like):
        leaf = leaf.astype(like.dtype)
        leaf = jnp.stack([leaf.real, leaf.imag], axis=-1)
    return leaf.astype(_real_dtype(like))


def as_param(leaf: jax.Array, like: Any) -> jax.Array:
    """The inverse of ``as_real``: a leaf in the form of the parameter ``like``."""
    return lax.complex(leaf[..., 0], leaf[..., 1]) if jnp.iscomplexobj(like) else leaf.astype(like.dtype)


def zeros(param: Any) -> jax.Array:
    """Zeros in the form in which a parameter, which may be abstract, is computed."""
    kind = _real_dtype(param)
    plain = jnp.zeros_like(param, dtype=kind)
    return jnp.stack([plain, plain], axis=-1) if jnp.iscomplexobj(param) else plain


def statistics_dtype(params: list[Any]) -> Any:
    """Of norms and step sizes: float64 where a parameter holds that much, float32 otherwise."""
    return jnp.result_type(jnp.float32, *map(_real_dtype, params))


def arithmetic(dtype: Any) -> Arithmetic:
    """How the core computes with blocks."""

    def dot(a: jax.Array, b: jax.Array) -> jax.Array:
        return jnp.sum(a * b, dtype=dtype)

    return Arithmetic(dot, lerp, move=lambda a, b, c: a - b * c, clip=jnp.clip)


def cast(record: Any, dtype: Any) -> Any:
    """The same record with its real numbers in the dtype of a leaf, which they would widen otherwise."""

    def convert(x: Any) -> Any:
        return x.astype(dtype) if hasattr(x, "dtype") and jnp.issubdtype(x.dtype, jnp.floating) else x

    return jax.tree.map(convert, record)


def lerp(a: jax.Array, b: jax.Array, weight: jax.Array) -> jax.Array:
    """The point a + w (b − a); exactly a at w = 0, whatever b is, and exactly b at w = 1."""
    weight = weight.astype(a.dtype)
    return jnp.where(weight == 0, a, jnp.where(weight == 1, b, a + weight * (b - a)))


def sums(products: Any, dtype: Any) -> jax.Array:
    """The sum of each of some arrays of one shape, in one reduction; shape=(arrays,)."""
    stacked = jnp.stack(products)
    return jnp.sum(stacked, axis=tuple(range(1, stacked.ndim)), dtype=dtype)


def dots(pairs: list[tuple[Leaves, Leaves]], dtype: Any) -> jax.Array:
    """Inner products of pairs of lists, leaf by leaf; shape=(pairs, leaves)."""
    products = [
        [jnp.sum(a.astype(dtype) * b.astype(dtype)) for a, b in zip(*pair, strict=True)] for pair in pairs
    ]
    return table(products, dtype)


def norm_sq(vector: Leaves, dtype: Any) -> jax.Array:
    """‖x‖² of all leaves together."""
    return jnp.sum(dots([(vector, vector)], dtype))


def table(rows: list[list[jax.Array]], dtype: Any) -> jax.Array:
    """Rows of one number of each leaf, as one array: what is made of it costs a few operations for all leaves."""
    numbers = [number for row in rows for number in row]
    flat = jnp.stack(numbers) if numbers else jnp.zeros(0, dtype)
    return flat.reshape(len(rows), -1)


def by_scope(numbers: jax.Array, by_leaf: bool) -> jax.Array:
    """The sum of one number of each leaf and, where leaves are measured on their own, these numbers behind it."""
    whole = jnp.sum(numbers)[None]
    return jnp.concatenate([whole, numbers]) if by_leaf else whole


def wait_for(leaf: jax.Array, norm_sq: jax.Array) -> jax.Array:
    """The leaf itself; compiled for a CPU, not before ``norm_sq``, which is not negative, is known.

    There XLA does each operation on all leaves before the next one, so that what lies between two of them would be in
    memory for the whole model at once. (``lax.optimization_barrier`` orders nothing on CPUs.)
    """

    def wait(leaf: jax.Array, norm_sq: jax.Array) -> jax.Array:
        return jnp.where(norm_sq < 0, jnp.zeros_like(leaf), leaf)

    return lax.platform_dependent(leaf, norm_sq, cpu=wait, default=lambda leaf, _: leaf)


def _real_dtype(param: Any) -> Any:
    return jnp.dtype(jnp.float32) if is_half(param) else jnp.finfo(param.dtype).dtype
