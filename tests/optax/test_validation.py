"""Wrong arguments raise where they are passed, in a sentence that names them, what is allowed and what came."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
import pytest

import pfopt
import pfopt.optax
from tests.optax.problems import regression, sgd

CERTIFIED = {"plan": "certified"}


@pytest.mark.parametrize(
    ("kwargs", "sentence"),
    [
        ({"total_steps": 15}, "total_steps is too small to search.*at least 16.*got 15"),
        ({"total_steps": 1.5}, "total_steps must be an integer, got 1.5"),
        ({"total_steps": 2**31}, r"total_steps must be at most 2\*\*30.*got 2147483648"),
        ({"total_steps": None, **CERTIFIED}, "total_steps must be an integer where"),
        ({"plan": "fast"}, "plan must be .* got 'fast'"),
        ({"momentum": 1.0}, r"momentum must be in \[0, 1\), got 1.0"),
        ({"momentum": None}, "momentum must be a number, got None"),
        ({"nesterov": 1}, "nesterov must be True or False, got 1"),
        ({"nesterov": True}, "nesterov=True needs momentum greater than 0, got momentum=0.0"),
        ({"weight_decay": -1.0}, "weight_decay must be at least 0 and finite, got -1.0"),
        (
            {"plan": pfopt.Practical(scope="group")},
            'scope must be .* got "group": for groups, give optax.partition',
        ),
        ({"momentum": 0.9, **CERTIFIED}, "is plain SGD: momentum must be 0, got 0.9"),
        ({"plan": pfopt.Certified(restarts="doubling")}, "restarts must be None but in pfopt.minimize"),
    ],
)
def test_wrong_arguments(kwargs: dict[str, Any], sentence: str) -> None:
    with pytest.raises((TypeError, ValueError), match=sentence):
        sgd(**{"total_steps": 100, **kwargs})


def test_traced_numbers_are_not_looked_at() -> None:
    @jax.jit
    def init(total_steps: Any, momentum: Any, weight_decay: Any) -> Any:
        tx = pfopt.optax.parameter_free_sgd(
            total_steps, momentum=momentum, nesterov=True, weight_decay=weight_decay
        )
        return tx.init(regression())

    assert pfopt.optax.status(init(100, 0.9, 0.1)).steps_left == 100
    plan = pfopt.Certified(lipschitz=1.0, delta=0.1)
    with pytest.raises(ValueError, match="total_steps must be an integer where lipschitz is given"):
        jax.jit(lambda steps: pfopt.optax.parameter_free_sgd(steps, plan=plan).init(regression()))(100)
    with pytest.raises(ValueError, match=r'plan="certified" is plain SGD: momentum must be 0'):
        jax.jit(
            lambda m: pfopt.optax.parameter_free_sgd(100, plan="certified", momentum=m).init(regression())
        )(0.0)


def test_wrong_base() -> None:
    with pytest.raises(TypeError, match=r"base must be a GradientTransformation .* got 0.1"):
        pfopt.optax.parameter_free(0.1, 100)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "made", [optax.adam(1e-3), optax.sgd(0.1), optax.scale(-1.0), optax.contrib.prodigy()]
)
def test_a_base_that_has_its_sign_already(made: Any) -> None:
    with pytest.raises(ValueError, match=r"base must leave the sign alone, as optax.scale_by_adam\(\) does"):
        pfopt.optax.parameter_free(made, 100)


@pytest.mark.parametrize(
    "base",
    [
        optax.masked(optax.scale_by_adam(), {"weight": True, "bias": False}),
        optax.partition(
            {"weight": optax.scale_by_adam(), "bias": optax.identity()}, lambda tree: {k: k for k in tree}
        ),
        optax.chain(optax.add_decayed_weights(0.1), optax.scale_by_lion()),
    ],
    ids=["masked", "partition", "lion"],
)
def test_a_base_whose_sign_is_right_or_cannot_be_told(base: Any) -> None:
    """The first two take one tree only, not the scalar that would tell."""
    init = jax.jit(lambda params: pfopt.optax.parameter_free(base, 256).init(params))
    assert pfopt.optax.status(init(regression())).phase == "search"


@pytest.mark.parametrize(
    ("params", "sentence"),
    [
        ({"w": jnp.arange(3)}, r"params must be floating-point or complex arrays, got int32 at \['w'\]"),
        ({"w": 1.0}, r"params must be floating-point or complex arrays, got float at \['w'\]"),
        ({"w": jnp.array([1.0, jnp.nan])}, r"params must be finite, got NaN or infinity at \['w'\]"),
    ],
)
def test_wrong_parameters(params: Any, sentence: str) -> None:
    with pytest.raises((TypeError, ValueError), match=sentence):
        sgd(100).init(params)


def test_known_parameters_of_a_traced_function() -> None:
    tx = sgd(100)
    abstract = jax.eval_shape(lambda: tx.init(regression()))
    assert jax.tree.structure(abstract) == jax.tree.structure(tx.init(regression()))
    broken = jax.tree.map(lambda x: x * jnp.nan, regression())
    with pytest.raises(ValueError, match="params must be finite"):
        jax.eval_shape(lambda: tx.init(broken))


def test_wrong_updates() -> None:
    tx, params = sgd(100), regression()
    state = tx.init(params)
    with pytest.raises(ValueError, match=r"params must be passed to update\(updates, state, params\)"):
        tx.update(params, state)
    with pytest.raises(ValueError, match=r"value must be a scalar, got shape \(2,\)"):
        tx.update(params, state, params, value=jnp.zeros(2))
    with pytest.raises(TypeError, match="value must be a real number, got dtype complex64"):
        tx.update(params, state, params, value=jnp.zeros((), jnp.complex64))
    with pytest.raises(ValueError, match="bias"):
        tx.update({"weight": params["weight"]}, state, params)
