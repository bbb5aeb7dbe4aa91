"""How long a base's directions are, and how far they led, told by their products with the gradients.

The same as ``pfopt/torch/pairing.py``, which says why.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from pfopt.optax import kernels


class Memory(NamedTuple):
    """What is remembered between gradients; real."""

    unit: Any  # shape=(), ‖d‖²/⟨g, d⟩ at the first direction that is not zero; 0 before
    reach_sq: Any  # shape=(1 + scopes,), the squared displacement of the run


class Pairing(NamedTuple):
    """The products of one gradient g, shape=(leaves,)."""

    inner: jax.Array  # ⟨g, d⟩
    ahead: jax.Array  # ⟨g, x_0 − x⟩


def begin(length: int, dtype: Any) -> Memory:
    """Nothing measured; ``length`` is 1 + scopes."""
    return Memory(jnp.zeros((), dtype), jnp.zeros(length, dtype))


def grads_sq(memory: Memory, inner: jax.Array, directions_sq: jax.Array) -> tuple[Memory, jax.Array]:
    """What stands for ‖g‖²: ⟨g, d⟩ in the unit in which the first one is ‖d‖²; all of shape=(1 + scopes,)."""
    unit = directions_sq[0] / inner[0]
    usable = jnp.isfinite(unit) & (unit > 0)
    unit = jnp.where((memory.unit == 0) & usable, unit, memory.unit)
    return memory._replace(unit=unit), jnp.maximum(unit * inner, 0)


def advance(memory: Memory, pairing: Pairing, steps: jax.Array, go: jax.Array, scope: str) -> Memory:
    """The displacement after a move with ``steps``, shape=() or (leaves,), where ``go``."""
    gain = 2 * steps * pairing.ahead + jnp.square(steps) * pairing.inner
    new = memory.reach_sq + memory.unit * kernels.by_scope(gain, scope)
    return memory._replace(reach_sq=jnp.where(go & jnp.isfinite(new), new, memory.reach_sq))
