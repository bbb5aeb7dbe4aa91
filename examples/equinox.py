"""Equinox: the model is a tree whose leaves need not be arrays, and Adam goes without a learning rate.

Run as ``python -m examples.equinox``: as a script, this file would be what ``import equinox`` finds.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax

import pfopt.optax
from examples import digits

STEPS = 800


def loss(model: eqx.nn.MLP, images: jax.Array, labels: jax.Array) -> jax.Array:
    """Mean cross-entropy."""
    return optax.softmax_cross_entropy_with_integer_labels(jax.vmap(model)(images), labels).mean()


def main(rate: float | None = None, steps: int = STEPS) -> float:
    """Train and return the test accuracy; a ``rate`` is that of ``optax.adam``, to compare with."""
    train, (images, labels) = digits.load()
    model = eqx.nn.MLP(64, 10, width_size=64, depth=1, key=jax.random.key(0))
    ours = pfopt.optax.parameter_free(optax.scale_by_adam(), steps)
    tx = ours if rate is None else optax.adam(rate)
    state = tx.init(eqx.filter(model, eqx.is_inexact_array))

    @eqx.filter_jit
    def step(model: eqx.nn.MLP, state: Any, images: jax.Array, labels: jax.Array) -> tuple[eqx.nn.MLP, Any]:
        value, grads = eqx.filter_value_and_grad(loss)(model, images, labels)
        updates, state = tx.update(grads, state, eqx.filter(model, eqx.is_inexact_array), value=value)
        return eqx.apply_updates(model, updates), state

    for batch in digits.batches(train, steps):
        model, state = step(model, state, *batch)
    if rate is None:
        print(pfopt.optax.status(state))
    return float(jnp.mean(jax.vmap(model)(images).argmax(-1) == labels))


if __name__ == "__main__":
    print(f"test accuracy {main():.3f}")
