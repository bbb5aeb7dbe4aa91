"""optimistix: ``OptaxMinimiser`` takes any optax transformation, and the whole search is one compiled loop.

``OptaxMinimiser`` stops where steps and changes are small, as the steps of a search may well be before they have grown:
``rtol=atol=0`` makes ``total_steps`` what ends it. Its own best-so-far point is returned; no average is asked for.
"""

import jax
import jax.numpy as jnp
import optax
import optimistix as optx

import pfopt.optax
from examples import digits

STEPS = 400


def loss(params: dict[str, jax.Array], data: tuple[jax.Array, jax.Array]) -> jax.Array:
    """Mean cross-entropy of a linear classifier over all images."""
    scores = data[0] @ params["weight"] + params["bias"]
    return optax.softmax_cross_entropy_with_integer_labels(scores, data[1]).mean()


def main(rate: float | None = None, steps: int = STEPS) -> float:
    """Minimise and return the test accuracy; a ``rate`` is that of ``optax.adam``, to compare with."""
    train, (images, labels) = digits.load()
    start = {"weight": jnp.zeros((64, 10)), "bias": jnp.zeros(10)}
    tx = pfopt.optax.parameter_free_sgd(steps) if rate is None else optax.adam(rate)
    solver = optx.OptaxMinimiser(tx, rtol=0.0, atol=0.0)
    solution = optx.minimise(
        loss, solver, start, tuple(map(jnp.asarray, train)), max_steps=steps + 1, throw=False
    )
    scores = images @ solution.value["weight"] + solution.value["bias"]
    return float(jnp.mean(scores.argmax(-1) == labels))


if __name__ == "__main__":
    print(f"test accuracy {main():.3f}")
