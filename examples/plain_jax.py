"""Plain JAX: a two-layer network as a dictionary of arrays, trained without a learning rate."""

import jax
import jax.numpy as jnp
import optax

import pfopt.optax
from examples import digits

STEPS = 800


def init(key: jax.Array) -> dict[str, jax.Array]:
    """Parameters of a network with 64 inputs, 64 hidden units and 10 outputs."""
    first, second = jax.random.split(key)
    return {
        "w1": jax.random.normal(first, (64, 64)) / 8,
        "b1": jnp.zeros(64),
        "w2": jax.random.normal(second, (64, 10)) / 8,
        "b2": jnp.zeros(10),
    }


def logits(params: dict[str, jax.Array], images: jax.Array) -> jax.Array:
    """Shape=(n, 10)."""
    return jax.nn.relu(images @ params["w1"] + params["b1"]) @ params["w2"] + params["b2"]


def loss(params: dict[str, jax.Array], images: jax.Array, labels: jax.Array) -> jax.Array:
    """Mean cross-entropy."""
    scores = logits(params, images)
    return optax.softmax_cross_entropy_with_integer_labels(scores, labels).mean()


def main(rate: float | None = None, steps: int = STEPS) -> float:
    """Train and return the test accuracy; a ``rate`` is that of ``optax.sgd``, to compare with."""
    train, (images, labels) = digits.load()
    ours = pfopt.optax.parameter_free_sgd(steps, momentum=0.9)
    tx = ours if rate is None else optax.sgd(rate, momentum=0.9)
    params = init(jax.random.key(0))
    state = tx.init(params)

    @jax.jit
    def step(params, state, images, labels):
        value, grads = jax.value_and_grad(loss)(params, images, labels)
        updates, state = tx.update(grads, state, params, value=value)
        return optax.apply_updates(params, updates), state

    for batch in digits.batches(train, steps):
        params, state = step(params, state, *batch)
    if rate is None:
        print(pfopt.optax.status(state))
    # after the last step params are the point to deploy; before it pfopt.optax.eval_params(state, params)
    return float(jnp.mean(logits(params, images).argmax(-1) == labels))


if __name__ == "__main__":
    print(f"test accuracy {main():.3f}")
