"""What one gradient does to the parameters, whatever comes: faults, zeros, landings, strangers."""

from collections.abc import Iterator
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import pfopt
import pfopt.optax
from tests.optax.problems import (
    PLANS,
    START,
    adam,
    all_finite,
    close,
    compiled,
    loss,
    regression,
    sgd,
    stepper,
)

GRAD = jax.jit(jax.grad(loss))
TRANSFORMATIONS = {**{name: sgd(32, **kwargs) for name, kwargs in PLANS.items()}, "around adam": adam(32)}


@cache
def _points(name: str) -> Any:
    """Factors of 32 gradients -> (where they led, state, all points on the way); one compilation each."""
    tx = TRANSFORMATIONS[name]

    def turn(held: Any, factor: Any) -> Any:
        held = stepper(tx)(*held, factor)
        return held, held[0]

    def whole(factors: Any) -> Any:
        (params, state), points = jax.lax.scan(turn, (regression(), tx.init(regression())), factors)
        return params, state, points

    return jax.jit(whole)


@pytest.mark.parametrize("name", list(TRANSFORMATIONS))
def test_a_fault_at_any_step(name: str) -> None:
    at_anchor = float(loss(regression()))
    for fault in (np.nan, np.inf, -np.inf):
        for last in (1, 32):
            for when in range(0, 32, 5):
                factors = np.ones(32, np.float32)
                factors[when : when + last] = fault
                params, state, points = _points(name)(factors)
                assert all_finite(points), (fault, last, when)
                assert pfopt.optax.status(state).phase == "done"
                assert loss(params) <= at_anchor * (1 + 1e-5), (fault, last, when)
                if when == 0 and last == 32:
                    close(params, regression())


@pytest.mark.parametrize("name", ["practical", "around adam"])
def test_zeros_before_the_first_gradient_spend_nothing_and_later_ones_do(name: str) -> None:
    tx = TRANSFORMATIONS[name]
    step, params, state = compiled(tx), regression(), tx.init(regression())
    for _ in range(10):
        params, state = step(params, state, 0.0)
        close(params, regression())
    assert pfopt.optax.status(state).step == 0
    for turn in range(32):
        assert pfopt.optax.status(state).step == turn
        params, state = step(params, state, 0.0 if turn % 3 == 2 else 1.0)
        assert all_finite(params)
    assert pfopt.optax.status(state).phase == "done"


def test_not_jitted_with_zeros_only() -> None:
    tx, params = sgd(32, plan="certified"), regression()
    updates, state = tx.update(jax.tree.map(jnp.zeros_like, params), tx.init(params), params)
    close(updates, jax.tree.map(jnp.zeros_like, params))
    assert pfopt.optax.status(state).step == 0


@pytest.mark.parametrize("tx", [sgd(100), adam(100)], ids=["sgd", "adam"])
def test_no_parameters(tx: Any) -> None:
    updates, state = jax.eval_shape(tx.update, {}, tx.init({}), {})
    assert updates == {}
    assert jax.tree.structure(state) == jax.tree.structure(tx.init({}))


def test_a_run_that_explodes_says_so_and_a_few_faults_cost_nothing() -> None:
    tx, at_anchor = sgd(400), float(loss(regression()))
    step, params, state = compiled(tx), regression(), tx.init(regression())
    for turn in range(400):
        broken = turn in range(200, 220) or turn >= 397
        params, state = step(params, state, np.nan if broken else 1.0)
    assert "exploded once" in pfopt.optax.status(state).message
    assert loss(params) < 0.1 * at_anchor


def test_a_loss_that_is_not_finite_counts_as_such_a_gradient() -> None:
    tx, params = TRANSFORMATIONS["certified"], regression()
    update, state = jax.jit(tx.update), tx.init(params)
    for _ in range(3):
        updates, state = update(GRAD(params), state, params, value=jnp.nan)
        close(updates, jax.tree.map(jnp.zeros_like, params))
    assert pfopt.optax.status(state).lipschitz == 0


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("practical", jnp.float32),
        ("practical, linear", jnp.bfloat16),
        ("certified", jnp.bfloat16),
        ("certified, last", jnp.float32),
    ],
)
def test_the_last_update_lands_on_the_returned_point_and_later_ones_are_zero(name: str, dtype: Any) -> None:
    tx, params = sgd(128, **PLANS[name]), regression(dtype)
    update, state = jax.jit(tx.update), tx.init(params)
    deployed = params
    while pfopt.optax.status(state).phase != "done":
        deployed = pfopt.optax.eval_params(state, params)
        updates, state = update(GRAD(params), state, params)
        params = optax.apply_updates(params, updates)
    assert loss(params) < 0.5 * loss(regression(dtype))
    if name == "practical":  # the average changed by its last member only
        assert optax.tree.norm(optax.tree.sub(deployed, params)) < 0.1 * optax.tree.norm(params)
    close(pfopt.optax.eval_params(state, params), params)
    updates, after = update(jax.tree.map(jnp.ones_like, params), state, params)
    close(updates, jax.tree.map(jnp.zeros_like, params))
    close(after.anchor, state.anchor)


def test_a_probe_that_diverged_does_not_move_the_anchor() -> None:
    """Far away, float32 cannot add an update that leads back; the search does not go that far."""
    anchor = {"weight": 3.0 + jnp.asarray(START, jnp.float32), "bias": jnp.full(3, 5.0)}
    tx = sgd(1600)
    step, params, state = compiled(tx), anchor, tx.init(anchor)
    probes, farthest = 0, 0.0
    while pfopt.optax.status(state).phase == "search":
        params, state = step(params, state)
        farthest = max(farthest, float(optax.tree.norm(params)))
        if pfopt.optax.status(state).probe > probes:
            probes += 1
            close(params, anchor, rtol=1e-3)
    assert probes > 3
    assert farthest < 1024 * float(optax.tree.norm(anchor))


def test_parameters_changed_from_outside_are_measured_where_they_are() -> None:
    tx, params = sgd(400, plan=pfopt.Practical(scope="global")), regression()
    step, state = compiled(tx), tx.init(params)
    while pfopt.optax.status(state).phase != "main" or pfopt.optax.status(state).distance == 0:
        params, state = step(params, state)  # later on, a gradient of such a size is an explosion
    before = pfopt.optax.status(state).distance
    params = jax.tree.map(lambda x: x + 10.0, params)
    params, state = step(params, state)
    assert pfopt.optax.status(state).distance > 1.05 * before


def conditions(jaxpr: Any) -> Iterator[Any]:
    """What is executed under a condition in a traced function, and inside of what is; see ``state.when``."""
    for equation in jaxpr.eqns:
        if equation.primitive.name in ("cond", "while"):
            yield equation
        for value in jax.tree.leaves(
            list(equation.params.values()), is_leaf=lambda held: hasattr(held, "eqns")
        ):
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                yield from conditions(inner)


def test_the_displacement_is_measured_under_one_condition_for_all_leaves() -> None:
    """Its three sums of each leaf cost nothing in the steps that do not measure."""
    params = {str(size): jnp.ones((4, size)) for size in (3, 5, 7, 9, 11)}
    tx = sgd(400)
    traced = jax.make_jaxpr(tx.update)(params, tx.init(params), params)
    measuring = [
        each
        for each in conditions(traced.jaxpr)
        if any(out.aval.shape == (3, len(params)) for out in each.outvars)
    ]
    assert len(measuring) == 1
