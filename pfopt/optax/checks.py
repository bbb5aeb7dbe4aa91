"""Checks of what a caller passes in: each message names the argument, what is allowed and what came."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.core import Tracer

from pfopt.optax.memory import Options
from pfopt.search import plan as plans
from pfopt.search import schedule as schedules
from pfopt.search import validate

PARAMS_MISSING = (
    "params must be passed to update(updates, state, params), which measures the distance from the anchor, "
    "got None"
)


def options(
    total_steps: Any,
    *,
    plan: str,
    schedule: str,
    momentum: Any,
    nesterov: bool,
    weight_decay: Any,
    average: Any,
    scope: str,
    based: bool,
) -> Options:
    """The options of a transformation, ``based`` or not; numbers that are traced cannot be checked."""
    validate.one_of("plan", plan, ("train", "certified"))
    validate.one_of("schedule", schedule, ("linear", "constant"))
    if scope == "group":
        raise ValueError(
            'scope must be "auto", "global" or "tensor", got "group": for groups, give optax.partition one '
            "transformation per label"
        )
    validate.one_of("scope", scope, ("auto", "global", "tensor"))
    if not isinstance(nesterov, bool):
        raise TypeError(f"nesterov must be True or False, got {nesterov!r}")
    momentum, weight_decay, average = _number(momentum), _number(weight_decay), _number(average)
    if is_known(momentum):
        validate.fraction("momentum", momentum)
        if nesterov and momentum == 0:
            raise ValueError(f"nesterov=True needs momentum greater than 0, got momentum={momentum!r}")
    if is_known(weight_decay):
        validate.at_least_zero("weight_decay", weight_decay)
    if isinstance(average, str):
        if average not in ("auto", "last"):
            raise ValueError(f"average must be 'auto', 'last' or a number gamma >= 0, got {average!r}")
    elif is_known(average):
        validate.at_least_zero("average", average)
    if plan == "certified":
        _certified(total_steps, momentum, scope, average)
    config = plans.configure(
        total_steps=plans.FIRST_STAGE if total_steps is None else _steps(total_steps, plan),
        plan=plan,
        schedule=schedule,
        average=average,
        based=based,
        endless=total_steps is None,
    )
    gamma = schedules.GAMMA[config.primal] if isinstance(average, str) else average
    return Options(
        config, momentum, nesterov, weight_decay, gamma, "global" if plan == "certified" else scope
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


def is_known(value: Any) -> bool:
    """Whether a number's value is there to be looked at."""
    return not isinstance(value, Tracer)


def is_absent(value: Any) -> bool:
    """Whether a number is known to be 0, so that what it multiplies can be left out."""
    return is_known(value) and value == 0


def params(given: Any) -> None:
    """Parameters are floating-point or complex and, where they can be looked at, finite."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(given):
        name = jax.tree_util.keystr(path) or "its only leaf"
        if not (hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.inexact)):
            came = getattr(leaf, "dtype", type(leaf).__name__)
            raise TypeError(f"params must be floating-point or complex arrays, got {came} at {name}")
        if isinstance(leaf, (jax.Array, np.ndarray)) and is_known(leaf):
            with jax.ensure_compile_time_eval():  # known parameters of a traced function
                finite = jnp.isfinite(leaf).all()
            if not finite:
                raise ValueError(f"params must be finite, got NaN or infinity at {name}")


def same_params(anchor: Any, given: Any) -> None:
    """Parameters have the structure and the shapes of their anchor, where it is not another transformation's."""
    leaves, structure = jax.tree_util.tree_flatten_with_path(anchor, is_leaf=is_masked)
    try:
        own = structure.flatten_up_to(given)
    except ValueError:
        raise ValueError(
            f"params must have the structure that init saw, {jax.tree.structure(anchor)}, got "
            f"{jax.tree.structure(given)}"
        ) from None
    for (path, leaf), param in zip(leaves, own, strict=True):
        came = getattr(param, "shape", type(param).__name__)
        if not is_masked(leaf) and leaf.shape != came:
            name = jax.tree_util.keystr(path) or "its only leaf"
            raise ValueError(f"params must have the shapes that init saw, {leaf.shape} at {name}, got {came}")


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
        return is_known(direction) and bool(direction < 0)


def _certified(total_steps: Any, momentum: Any, scope: str, average: Any) -> None:
    if total_steps is None:
        raise ValueError('total_steps must be an integer where plan="certified", got None')
    plain = isinstance(average, str) and average == "auto"
    if not (is_known(momentum) and momentum == 0 and scope in ("auto", "global") and plain):
        raise ValueError(
            'plan="certified" is plain SGD: momentum must be 0, scope "auto" or "global" and average "auto", '
            f"got momentum={momentum!r}, scope={scope!r}, average={average!r}"
        )


def _steps(value: Any, plan: str) -> Any:
    if not is_known(value):
        return value
    steps = validate.budget(value, plan, "total_steps")
    if steps > plans.ENDLESS:
        raise ValueError(f"total_steps must be at most 2**30, or None where it is unknown, got {steps}")
    return steps


def _number(value: Any) -> Any:
    """Arrays that hold a number, as ``optax.inject_hyperparams`` makes them, as Python numbers."""
    return value.item() if isinstance(value, jax.Array) and is_known(value) and value.ndim == 0 else value
