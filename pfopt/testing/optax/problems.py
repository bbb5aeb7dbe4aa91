"""The small problem on which transformations of optax are checked, and how it is trained."""

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from pfopt.testing.findings import STEPS, demand

Make = Callable[[], Any]
"""Builds the transformation."""

ROWS, BATCH = 64, 16
Tree = Any


def regression(dtype: Any = jnp.float32) -> Tree:
    """The parameters of a network of two layers, the same at every call."""
    draw = np.random.default_rng(0)
    shapes = {"first": {"weight": (6, 4), "bias": (6,)}, "second": {"weight": (1, 6), "bias": (1,)}}
    return {
        layer: {name: jnp.asarray(draw.normal(size=shape) / 2, dtype) for name, shape in leaves.items()}
        for layer, leaves in shapes.items()
    }


def _data() -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(1)
    inputs = draw.normal(size=(ROWS, 4))
    return inputs, inputs @ draw.normal(size=(4, 1)) + 0.5


INPUTS, TARGETS = _data()


def loss(params: Tree, step: Any = None, scale: Any = 1.0) -> Any:
    """Half the mean squared error of a batch, or of all rows; noiseless, in the parameters' dtype."""
    dtype = params["first"]["weight"].dtype
    inputs, targets = jnp.asarray(INPUTS, dtype), jnp.asarray(TARGETS, dtype)
    if step is not None:
        rows = (step * BATCH + jnp.arange(BATCH)) % ROWS
        inputs, targets = inputs[rows], targets[rows]
    hidden = jnp.tanh(inputs @ params["first"]["weight"].T + params["first"]["bias"])
    error = hidden @ params["second"]["weight"].T + params["second"]["bias"] - targets
    return jnp.asarray(scale, dtype) * jnp.mean(jnp.square(error)) / 2


def by_layer(names: dict[str, str]) -> Callable[[Tree], Tree]:
    """A function that labels all leaves of a layer, for ``optax.partition``."""

    def label(params: Tree) -> Tree:
        return {layer: dict.fromkeys(params[layer], name) for layer, name in names.items()}

    return label


def value(params: Tree) -> float:
    """The loss of all rows, in float32 at least."""
    return float(
        loss(jax.tree.map(lambda leaf: leaf.astype(jnp.promote_types(leaf.dtype, jnp.float32)), params))
    )


def extended(tx: Any) -> Any:
    """The transformation, with whatever else ``update`` is told."""
    return optax.with_extra_args_support(tx)


@functools.lru_cache(maxsize=4)
def compiled(make: Make) -> Callable[..., Any]:
    """The step of ``make``'s transformation, compiled once for all checks."""
    return make_step(make())


def make_step(tx: Any) -> Callable[..., Any]:
    """A compiled step: ``(params, state, number of the step)`` to the next two.

    What a check changes are arguments, since compiling takes longer than training: the scale of the objective, and
    what the gradients of each layer are multiplied with.
    """
    tx = extended(tx)

    def step(
        params: Tree, state: Any, number: Any, scale: Any = 1.0, first: Any = 1.0, second: Any = 1.0
    ) -> Any:
        told, grads = jax.value_and_grad(loss)(params, number, scale)
        factors = {"first": first, "second": second}
        grads = {
            layer: jax.tree.map(lambda leaf, factor=factors[layer]: leaf * factor.astype(leaf.dtype), leaves)
            for layer, leaves in grads.items()
        }
        updates, state = tx.update(grads, state, params, value=told)
        return optax.apply_updates(params, updates), state

    jitted = jax.jit(step)

    def call(
        params: Tree, state: Any, number: int, scale: float = 1.0, first: float = 1.0, second: float = 1.0
    ) -> Any:
        return jitted(params, state, jnp.int32(number), *map(jnp.asarray, (scale, first, second)))

    call.compiled = jitted  # type: ignore[attr-defined]
    return call


def train(
    step: Callable[..., Any], params: Tree, state: Any, steps: Iterable[int] = range(STEPS), **changes: float
) -> Any:
    """Parameters and state after these steps, all of them changed in one way."""
    for number in steps:
        params, state = step(params, state, number, **changes)
    return params, state


def same(one: Tree, other: Tree) -> bool:
    """Equal bit for bit; NaN equals nothing."""
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return all(np.array_equal(np.asarray(a), np.asarray(b)) for a, b in pairs)


def finite(tree: Tree) -> bool:
    """No NaN and no infinity."""
    return all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(tree))


def apart(one: Tree, other: Tree, start: Tree) -> float:
    """The distance between two points, relative to how far the second has come."""
    trees = (jax.tree.leaves(tree) for tree in (one, other, start))
    a, b, origin = (
        np.concatenate([np.ravel(np.asarray(leaf, np.float64)) for leaf in tree]) for tree in trees
    )
    return float(np.linalg.norm(a - b) / np.linalg.norm(b - origin))


def demand_descent(params: Tree, before: float, where: str) -> None:
    """The last parameters are finite, and better than the first."""
    demand(finite(params), f"{where}: a parameter is not finite.")
    after = value(params)
    demand(after < before, f"{where}: the loss went from {before:.4g} to {after:.4g} in {STEPS} steps.")


@contextlib.contextmanager
def double_precision() -> Iterator[None]:
    """float64 for as long as this lasts."""
    before = jax.config.read("jax_enable_x64")
    jax.config.update("jax_enable_x64", True)
    try:
        yield
    finally:
        jax.config.update("jax_enable_x64", before)
