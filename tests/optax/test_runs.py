"""What one gradient does: faults, zeros, landings, and what torch does with the same gradients."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

import pfopt.optax
import pfopt.torch
from tests.optax.problems import (
    INPUTS,
    START,
    TARGETS,
    all_finite,
    close,
    compiled,
    fed,
    loss,
    regression,
    sgd,
)

PLANS: dict[str, dict[str, Any]] = {
    "train": {},
    "train, global": {"scope": "global", "momentum": 0.9},
    "train, last": {"scope": "tensor", "average": "last"},
    "train, constant": {"schedule": "constant", "momentum": 0.9, "nesterov": True},
    "certified": {"plan": "certified", "schedule": "constant"},
    "certified, linear": {"plan": "certified"},
}
GRAD = jax.jit(jax.grad(loss))
FAULTS = {"nan": jnp.nan, "inf": jnp.inf, "-inf": -jnp.inf}


@pytest.mark.parametrize("name", list(PLANS))
def test_a_fault_at_any_step(name: str) -> None:
    tx, steps, at_anchor = sgd(32, **PLANS[name]), 32, float(loss(regression()))
    for fault in FAULTS.values():
        for forever in (False, True):
            for when in range(0, steps, 3):
                factors = jnp.ones(steps).at[when].set(fault)
                factors = jnp.where(forever & (jnp.arange(steps) > when), fault, factors)
                params, state, points = _run(name, tx, factors)
                assert all_finite(points), (fault, forever, when)
                assert pfopt.optax.status(state).phase == "done"
                assert loss(params) <= at_anchor * (1 + 1e-5), (fault, forever, when)


RUNS: dict[str, Any] = {}


def _run(name: str, tx: Any, factors: Any) -> Any:
    """One compilation per plan."""
    if name not in RUNS:

        def whole(factors: Any) -> Any:
            def turn(held: Any, factor: Any) -> Any:
                params, state = held
                grads = optax.tree.scale(factor, jax.grad(loss)(params))
                updates, state = tx.update(grads, state, params)
                params = optax.apply_updates(params, updates)
                return (params, state), params

            (params, state), points = jax.lax.scan(turn, (regression(), tx.init(regression())), factors)
            return params, state, points

        RUNS[name] = jax.jit(whole)
    return RUNS[name](factors)


@pytest.mark.parametrize("name", list(PLANS))
def test_nothing_but_faults_returns_the_anchor(name: str) -> None:
    params, state, _ = _run(name, sgd(32, **PLANS[name]), jnp.full(32, jnp.nan))
    assert pfopt.optax.status(state).phase == "done"
    close(params, regression())


@pytest.mark.parametrize("scale", [1e-12, 1e-3, 1e3, 1e12])
@pytest.mark.parametrize("name", ["train", "certified"])
def test_any_scale_of_the_objective(name: str, scale: float) -> None:
    plain, _, _ = _run(name, sgd(32, **PLANS[name]), jnp.ones(32))
    scaled, _, _ = _run(name, sgd(32, **PLANS[name]), jnp.full(32, scale))
    close(scaled, plain, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("power", [-20, 7])
@pytest.mark.parametrize("name", list(PLANS))
def test_powers_of_two_on_the_objective_change_nothing(name: str, power: int) -> None:
    plain = _run(name, sgd(32, **PLANS[name]), jnp.ones(32))
    scaled = _run(
        name, sgd(32, **PLANS[name]), 2.0**power * jnp.ones(32)
    )  # not weakly typed: the same program
    close(scaled[2], plain[2])


@pytest.mark.parametrize("name", list(PLANS))
def test_zeros_before_the_first_gradient_spend_nothing_and_later_ones_do(name: str) -> None:
    total = 128  # of 64, a probe of 4 with 3 that are not zero stands at alpha = 3: rounding decides
    tx = sgd(total, **PLANS[name])
    step, params, state = compiled(tx), regression(), tx.init(regression())
    for _ in range(40):
        params, state = step(params, state, 0.0)
    assert pfopt.optax.status(state).step == 0
    for turn in range(total):
        assert pfopt.optax.status(state).step == turn
        params, state = step(params, state, 0.0 if turn % 3 == 2 else 1.0)
        assert all_finite(params)
    assert pfopt.optax.status(state).phase == "done"


@pytest.mark.parametrize("made", [sgd(100), pfopt.optax.parameter_free(optax.scale_by_adam(), 100)])
def test_known_parameters_of_a_traced_function(made: Any) -> None:
    abstract = jax.eval_shape(lambda: made.init(regression()))
    assert jax.tree.structure(abstract) == jax.tree.structure(made.init(regression()))
    broken = jax.tree.map(lambda x: x * jnp.nan, regression())
    with pytest.raises(ValueError, match="params must be finite"):
        jax.eval_shape(lambda: made.init(broken))


@pytest.mark.parametrize("made", [sgd(100), pfopt.optax.parameter_free(optax.scale_by_adam(), 100)])
def test_no_parameters(made: Any) -> None:
    updates, state = jax.jit(made.update)({}, made.init({}), {})
    assert updates == {}
    assert pfopt.optax.status(state).step == 0


def test_a_run_that_explodes_says_so_and_a_few_faults_cost_nothing() -> None:
    tx, at_anchor = sgd(400), float(loss(regression()))
    step, params, state = compiled(tx), regression(), tx.init(regression())
    for turn in range(400):
        broken = turn in range(200, 220) or turn >= 397
        params, state = step(params, state, np.nan if broken else 1.0)
    assert "exploded once" in pfopt.optax.status(state).message
    assert loss(params) < 0.1 * at_anchor


def test_only_zero_gradients() -> None:
    tx, params = sgd(32), regression()
    updates, state = tx.update(jax.tree.map(jnp.zeros_like, params), tx.init(params), params)  # not jitted
    close(updates, jax.tree.map(jnp.zeros_like, params))
    assert pfopt.optax.status(state).step == 0


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
@pytest.mark.parametrize("name", list(PLANS))
def test_the_last_update_lands_on_the_returned_point_and_later_ones_are_zero(name: str, dtype: Any) -> None:
    tx, params = sgd(128, **PLANS[name]), regression(dtype)
    update, state = jax.jit(tx.update), tx.init(params)
    before = deployed = params
    while pfopt.optax.status(state).phase != "done":
        before, deployed = params, pfopt.optax.eval_params(state, params)
        updates, state = update(GRAD(params), state, params)
        params = optax.apply_updates(params, updates)
    assert loss(params) < 0.5 * loss(regression(dtype))
    if name == "train":  # the average changed by its last member only
        close(deployed, params, rtol=1e-2)
    close(pfopt.optax.eval_params(state, params), params)
    updates, after = update(jax.tree.map(jnp.ones_like, params), state, params)
    close(updates, jax.tree.map(jnp.zeros_like, params))
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), after[0].anchor, state[0].anchor))
    assert before is not params


def test_a_probe_that_diverged_does_not_move_the_anchor() -> None:
    """Far away, float32 cannot add an update that leads back; the search does not go, or stay, that far."""
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
    assert farthest > 100 * float(optax.tree.norm(anchor))


def test_parameters_changed_from_outside_are_measured_where_they_are() -> None:
    tx, params = sgd(400, scope="global"), regression()
    step, state = compiled(tx), tx.init(params)
    while pfopt.optax.status(state).phase != "train" or pfopt.optax.status(state).distance == 0:
        params, state = step(params, state)  # later on, a gradient of such a size is an explosion
    before = pfopt.optax.status(state).distance
    params = jax.tree.map(lambda x: x + 10.0, params)
    params, state = step(params, state)
    assert pfopt.optax.status(state).distance > 1.05 * before


@pytest.mark.parametrize(
    "kwargs",
    [
        {"scope": "global", "momentum": 0.9},
        {"scope": "global", "momentum": 0.9, "nesterov": True, "average": 1.0},
        {"scope": "tensor"},
        {"scope": "auto", "weight_decay": 0.05},
        {"scope": "auto", "average": "last", "schedule": "constant"},
        {"plan": "certified", "weight_decay": 0.05},
    ],
    ids=str,
)
@pytest.mark.parametrize("losses", [False, True], ids=["gradients", "losses"])
@pytest.mark.parametrize("broken", [(), (300, 301), range(300, 340)], ids=["finite", "faults", "explodes"])
def test_the_same_run_as_torch(kwargs: dict[str, Any], losses: bool, broken: Any) -> None:
    at_the_edge = kwargs == {
        "scope": "auto",
        "weight_decay": 0.05,
    }  # of stability, where rounding errors grow
    steps, params = 520, [torch.nn.Parameter(torch.from_numpy(x.copy())) for x in (np.zeros(3), START)]
    optimizer = pfopt.torch.ParameterFreeSGD(params, steps, **kwargs)

    def grads_at(bias: Any, weight: Any, step: int) -> tuple[float, list[Any]]:
        residual = INPUTS @ weight + bias - TARGETS
        if at_the_edge:
            residual += 0.1 * np.random.default_rng(step).standard_normal(TARGETS.shape)
        grads = [2 * residual.sum(0) / residual.size, 2 * INPUTS.T @ residual / residual.size]
        factor = np.nan if step in broken else 1.0
        return float(np.mean(residual**2)), [factor * grad for grad in grads]

    with jax.enable_x64(True):
        tx = sgd(steps, **kwargs)
        ours: Any = [jnp.zeros(3), jnp.asarray(START)]
        state, step = tx.init(ours), fed(tx, losses=losses)
        for turn in range(steps):
            value, grads = grads_at(np.asarray(ours[0]), np.asarray(ours[1]), turn)
            ours, state = step(ours, state, grads, value)
            value, grads = grads_at(params[0].detach().numpy(), params[1].detach().numpy(), turn)
            for param, grad in zip(params, grads, strict=True):
                param.grad = torch.from_numpy(grad)
            optimizer.step(loss=value if losses else None)
        status, theirs = pfopt.optax.status(state), optimizer.status()
        assert status[:4] == theirs[:4]
        assert status.message == theirs.message
        np.testing.assert_allclose(status[4:7], theirs[4:7], rtol=1e-6)
        for one, other in zip(ours, params, strict=True):
            np.testing.assert_allclose(one, other.detach().numpy(), rtol=1e-9, atol=1e-9)
