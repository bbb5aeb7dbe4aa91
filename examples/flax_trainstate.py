"""flax.linen: ``TrainState.apply_gradients`` passes no loss on, and none is needed."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax.training.train_state import TrainState

import pfopt.optax
from examples import digits

STEPS = 800


class Network(nn.Module):
    """64 inputs, 64 hidden units, 10 outputs."""

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        """Logits, shape=(n, 10)."""
        return nn.Dense(10)(nn.relu(nn.Dense(64)(images)))


@jax.jit
def step(state: TrainState, images: jax.Array, labels: jax.Array) -> TrainState:
    """One gradient."""

    def loss(params: Any) -> jax.Array:
        scores = state.apply_fn(params, images)
        return optax.softmax_cross_entropy_with_integer_labels(scores, labels).mean()

    return state.apply_gradients(grads=jax.grad(loss)(state.params))


def main(rate: float | None = None, steps: int = STEPS) -> float:
    """Train and return the test accuracy; a ``rate`` is that of ``optax.sgd``, to compare with."""
    train, (images, labels) = digits.load()
    model = Network()
    params = model.init(jax.random.key(0), images)
    ours = pfopt.optax.parameter_free_sgd(steps, momentum=0.9)
    tx = ours if rate is None else optax.sgd(rate, momentum=0.9)
    state = TrainState.create(apply_fn=model.apply, params=params, tx=tx)
    for batch in digits.batches(train, steps):
        state = step(state, *batch)
    if rate is None:
        print(pfopt.optax.status(state.opt_state))
    # before the last step the point to deploy is pfopt.optax.eval_params(state.opt_state, state.params)
    scores = model.apply(state.params, images)
    return float(jnp.mean(scores.argmax(-1) == labels))


if __name__ == "__main__":
    print(f"test accuracy {main():.3f}")
