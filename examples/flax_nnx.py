"""flax.nnx: ``nnx.Optimizer`` hands ``value`` on to the transformation, and ``Monitor`` watches the losses."""

import jax
import jax.numpy as jnp
import optax
from flax import nnx

import pfopt.optax
from examples import digits
from pfopt.control import Monitor

STEPS = 800


class Network(nnx.Module):
    """64 inputs, 64 hidden units, 10 outputs."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.hidden = nnx.Linear(64, 64, rngs=rngs)
        self.out = nnx.Linear(64, 10, rngs=rngs)

    def __call__(self, images: jax.Array) -> jax.Array:
        """Logits, shape=(n, 10)."""
        return self.out(nnx.relu(self.hidden(images)))


def loss(model: Network, images: jax.Array, labels: jax.Array) -> jax.Array:
    """Mean cross-entropy."""
    return optax.softmax_cross_entropy_with_integer_labels(model(images), labels).mean()


@nnx.jit
def step(model: Network, optimizer: nnx.Optimizer, images: jax.Array, labels: jax.Array) -> jax.Array:
    """One gradient; returns the loss."""
    value, grads = nnx.value_and_grad(loss)(model, images, labels)
    optimizer.update(model, grads, value=value)
    return value


def main(rate: float | None = None, steps: int = STEPS) -> float:
    """Train and return the test accuracy; a ``rate`` is that of ``optax.sgd``, to compare with."""
    train, (images, labels) = digits.load()
    model = Network(nnx.Rngs(0))
    ours = pfopt.optax.parameter_free_sgd(steps, momentum=0.9)
    tx = ours if rate is None else optax.sgd(rate, momentum=0.9)
    optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)
    monitor = Monitor(total_steps=steps)
    for count, batch in enumerate(digits.batches(train, steps)):
        value = step(model, optimizer, *batch)
        if count % 10 == 0:  # since a loss and a status wait for the device
            status = pfopt.optax.status(nnx.as_pure(optimizer.opt_state)) if rate is None else None
            monitor.update(count, loss=value, status=status)
    print(monitor.verdict.message)
    if rate is None:
        print(pfopt.optax.status(nnx.as_pure(optimizer.opt_state)))
    return float(jnp.mean(model(images).argmax(-1) == labels))


if __name__ == "__main__":
    print(f"test accuracy {main():.3f}")
