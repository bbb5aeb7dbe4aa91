"""Checks that only this front end needs; what all of them share is in ``pfopt.options``."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from pfopt import options as choices
from pfopt.core.budget import ENDLESS
from pfopt.optax.state import Options, is_traced
from pfopt.options import Certified, PlanLike, Practical

PARAMS_MISSING = (
    "params must be passed to update(updates, state, params), which measures the distance from the "
    "anchor, got None"
)


def options(
    total_steps: Any,
    plan: PlanLike,
    *,
    base: optax.GradientTransformationExtraArgs | None = None,
    momentum: Any = 0.0,
    nesterov: bool = False,
    weight_decay: Any = 0.0,
) -> Options:
    """The options of a transformation; numbers that are traced cannot be checked."""
    chosen = choices.plan(plan)
    momentum, weight_decay = _number(momentum), _number(weight_decay)
    choices.hyperparameters(
        0.5 if is_traced(momentum) else momentum, nesterov, 0.0 if is_traced(weight_decay) else weight_decay
    )
    choices.sgd_only(chosen, total_steps, momentum=momentum, weight_decay=weight_decay)
    if total_steps is not None:
        total_steps = _total_steps(total_steps, chosen)
    scope = chosen.scope if isinstance(chosen, Practical) else "global"
    if scope == "group":
        raise ValueError(
            'scope must be "auto", "global" or "tensor", got "group": for groups, give optax.partition one '
            "transformation per label"
        )
    return Options(
        config=choices.configure(chosen, total_steps, based=base is not None),
        base=base,
        momentum=momentum,
        nesterov=nesterov,
        weight_decay=weight_decay,
        by_leaf=scope != "global",
        by_whole=scope != "tensor",
        by_coordinate=scope == "auto" and base is None,
    )


def base(given: Any) -> optax.GradientTransformationExtraArgs:
    """A transformation that makes a direction of a gradient, and leaves its sign alone."""
    if not isinstance(given, optax.GradientTransformation):
        raise TypeError(
            "base must be a GradientTransformation that leaves the sign alone, such as "
            f"optax.scale_by_adam(), got {given!r}"
        )
    made = optax.with_extra_args_support(given)
    if _turns_the_sign(made):
        raise ValueError(
            "base must leave the sign alone, as optax.scale_by_adam() does, got one whose updates point against "
            "the gradient, as those of optax.adam(learning_rate) do"
        )
    return made


def params(given: Any) -> None:
    """Parameters are floating-point or complex and, where they can be looked at, finite."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(given):
        name = jax.tree_util.keystr(path) or "its only leaf"
        if not (hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.inexact)):
            came = getattr(leaf, "dtype", type(leaf).__name__)
            raise TypeError(f"params must be floating-point or complex arrays, got {came} at {name}")
        if isinstance(leaf, (jax.Array, np.ndarray)) and not is_traced(leaf):
            with jax.ensure_compile_time_eval():  # known parameters of a traced function
                finite = jnp.isfinite(leaf).all()
            if not finite:
                raise ValueError(f"params must be finite, got NaN or infinity at {name}")


def same_params(anchor: Any, given: Any) -> None:
    """Parameters have the structure and the shapes of their anchor, where it is not another transformation's."""
    paths, structure = jax.tree_util.tree_flatten_with_path(anchor, is_leaf=is_masked)
    try:
        found = structure.flatten_up_to(given)
    except ValueError:
        raise ValueError(
            f"params must have the structure that init saw, {jax.tree.structure(anchor)}, got "
            f"{jax.tree.structure(given)}"
        ) from None
    for (path, leaf), param in zip(paths, found, strict=True):
        if is_masked(leaf):
            continue
        is_complex = jnp.issubdtype(getattr(param, "dtype", float), jnp.complexfloating)
        shape = leaf.shape[:-1] if is_complex else leaf.shape
        came = getattr(param, "shape", type(param).__name__)
        if shape != came:
            name = jax.tree_util.keystr(path) or "its only leaf"
            raise ValueError(f"params must have the shapes that init saw, {shape} at {name}, got {came}")


def is_masked(node: Any) -> bool:
    """Whether a leaf of the anchor is missing, its parameter being another transformation's."""
    return isinstance(node, optax.MaskedNode)


def loss(given: Any, dtype: Any) -> jax.Array | None:
    """A real scalar loss in the dtype of the statistics."""
    if given is None:
        return None
    array = jnp.asarray(given)
    if array.size != 1:
        raise ValueError(f"value must be a scalar, got shape {array.shape}")
    if not (jnp.issubdtype(array.dtype, jnp.floating) or jnp.issubdtype(array.dtype, jnp.integer)):
        raise TypeError(f"value must be a real number, got dtype {array.dtype}")
    return array.reshape(()).astype(dtype)


def _turns_the_sign(given: optax.GradientTransformationExtraArgs) -> bool:
    """Whether a direction points against its gradient, where a scalar parameter can tell."""
    with jax.ensure_compile_time_eval():
        one = jnp.ones(())
        try:
            direction: Any = given.update(one, given.init(one), one)[0]
        except Exception:  # it asks for another tree, or for more than a gradient
            return False
        return not is_traced(direction) and bool(direction < 0)


def _total_steps(value: Any, chosen: Certified | Practical) -> Any:
    if is_traced(value):
        if isinstance(chosen, Certified) and chosen.lipschitz is not None:
            raise ValueError("total_steps must be an integer where lipschitz is given, got a traced value")
        return value
    steps = choices.total_steps(value, chosen)
    if steps > ENDLESS:
        raise ValueError(f"total_steps must be at most 2**30, or None where it is unknown, got {steps}")
    return steps


def _number(value: Any) -> Any:
    """Arrays that hold a number, as ``optax.inject_hyperparams`` makes them, as Python numbers."""
    return (
        value.item() if isinstance(value, jax.Array) and not is_traced(value) and value.ndim == 0 else value
    )
