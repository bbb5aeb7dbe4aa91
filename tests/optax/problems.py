"""Small deterministic problems, and ways to run a transformation on them, shared by the tests."""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import pfopt
import pfopt.optax

RNG = np.random.default_rng(0)
INPUTS = RNG.standard_normal((24, 4))
TARGETS = INPUTS @ RNG.standard_normal((4, 3)) + RNG.standard_normal(3)
START = RNG.standard_normal((4, 3))


def regression(dtype: Any = jnp.float32) -> dict[str, jax.Array]:
    """Parameters of a least squares problem with 4 inputs and 3 outputs."""
    return {"bias": jnp.zeros(3, dtype), "weight": jnp.asarray(START, dtype)}


def loss(params: Any, rows: slice = slice(None)) -> jax.Array:
    """Mean squared error, at least in float32 whatever the parameters' dtype."""
    kind = jnp.promote_types(jnp.float32, params["weight"].dtype)
    weight, bias = params["weight"].astype(kind), params["bias"].astype(kind)
    residual = (
        jnp.asarray(INPUTS[rows], weight.real.dtype) @ weight + bias - TARGETS[rows].astype(weight.real.dtype)
    )
    return jnp.mean(jnp.square(jnp.abs(residual)))


PLANS: dict[str, dict[str, Any]] = {
    "practical": {"momentum": 0.9},
    "practical, linear": {"plan": pfopt.Practical(anneal="linear", scope="tensor")},
    "certified": {"plan": "certified"},
    "certified, last": {"plan": pfopt.Certified(output="last")},
}


class Trained(NamedTuple):
    """Where a run ended."""

    params: Any
    state: Any


def stepper(tx: optax.GradientTransformation, *, losses: bool = False) -> Callable[..., tuple[Any, Any]]:
    """(params, state, factor of the gradient) -> (params, state), not yet jitted."""
    update = optax.with_extra_args_support(tx).update

    def step(params: Any, state: Any, factor: Any = 1.0) -> tuple[Any, Any]:
        value, grads = jax.value_and_grad(loss)(params)
        grads = jax.tree.map(jnp.conj, optax.tree.scale(factor, grads))
        extra = {"value": value} if losses else {}
        updates, state = update(grads, state, params, **extra)
        return optax.apply_updates(params, updates), state

    return step


@cache
def compiled(tx: optax.GradientTransformation, *, losses: bool = False) -> Callable[..., tuple[Any, Any]]:
    """The same, jitted, and compiled once for all tests that ask for it."""
    step = jax.jit(stepper(tx, losses=losses))
    return lambda params, state, factor=1.0: step(params, state, factor)


@cache
def fed(tx: optax.GradientTransformation, *, losses: bool = False) -> Callable[..., tuple[Any, Any]]:
    """(params, state, gradient, its loss) -> (params, state), likewise."""

    def step(params: Any, state: Any, grads: Any, value: Any) -> tuple[Any, Any]:
        updates, state = tx.update(grads, state, params, **({"value": value} if losses else {}))
        return optax.apply_updates(params, updates), state

    return jax.jit(step)


def train(tx: optax.GradientTransformation, params: Any, steps: int, *, losses: bool = False) -> Trained:
    """The whole run inside one ``lax.scan``."""
    return Trained(*_whole(tx, steps, losses)(params))


@cache
def _whole(tx: optax.GradientTransformation, steps: int, losses: bool) -> Callable[[Any], tuple[Any, Any]]:
    step = stepper(tx, losses=losses)

    def whole(params: Any) -> tuple[Any, Any]:
        return jax.lax.scan(lambda held, _: (step(*held), None), (params, tx.init(params)), length=steps)[0]

    return jax.jit(whole)


def types(tree: Any) -> list[tuple[Any, bool]]:
    """Shape, dtype, sharding type and weakness of every leaf."""
    found = map(jax.typeof, jax.tree.leaves(tree))
    return [(leaf, leaf.weak_type) for leaf in found]


def close(one: Any, other: Any, rtol: float = 0.0, atol: float = 0.0) -> None:
    """Trees of the same structure whose leaves agree."""
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        wide = [
            np.asarray(x, np.float64) if x.dtype in (jnp.bfloat16, jnp.float16) else np.asarray(x)
            for x in (a, b)
        ]
        np.testing.assert_allclose(*wide, rtol=rtol, atol=atol)


def all_finite(tree: Any) -> bool:
    return all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(tree))


@cache
def adam(total_steps: int | None, **kwargs: Any) -> optax.GradientTransformationExtraArgs:
    """Around Adam; as with ``sgd``, equal arguments give the same functions, which jit compiles once."""
    return pfopt.optax.parameter_free(optax.scale_by_adam(), total_steps, **kwargs)


sgd: Callable[..., Any] = cache(pfopt.optax.parameter_free_sgd)
