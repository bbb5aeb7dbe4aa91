"""eval_params and status find the state wherever it lies."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
import pytest

import pfopt.optax
from tests.optax.problems import close, compiled, loss, regression, sgd, train

STEPS = 400
LABELS = {"weight": "weight", "bias": "bias"}
WRAPPERS = {
    "bare": lambda: sgd(STEPS),
    "chain": lambda: optax.chain(optax.clip(10.0), sgd(STEPS)),
    "named chain": lambda: optax.named_chain(("clip", optax.clip(10.0)), ("sgd", sgd(STEPS))),
    "partition": lambda: optax.partition(
        {"all": sgd(STEPS)}, lambda tree: jax.tree.map(lambda _: "all", tree)
    ),
    "inject": lambda: optax.inject_hyperparams(pfopt.optax.parameter_free_sgd)(STEPS),
    "masked": lambda: optax.masked(sgd(STEPS), True),
    "finite": lambda: optax.apply_if_finite(sgd(STEPS), 3),
    "steps": lambda: optax.MultiSteps(sgd(STEPS), 1),
}


@pytest.mark.parametrize("name", list(WRAPPERS))
def test_found_everywhere(name: str) -> None:
    state = WRAPPERS[name]().init(regression())
    status = pfopt.optax.status(state)
    assert isinstance(status, pfopt.optax.Status)
    assert status[:5] == ("search", 0, 0, STEPS, 0.0)
    close(pfopt.optax.eval_params(state, regression()), regression())


def test_the_phases_of_a_run() -> None:
    tx = sgd(STEPS)
    step, params, state = compiled(tx, losses=True), regression(), tx.init(regression())
    read = jax.jit(pfopt.optax.eval_params)
    at_anchor, phases = float(loss(params)), []
    for turn in range(STEPS):
        status = pfopt.optax.status(state)
        assert status.step == turn
        assert status.steps_left == STEPS - turn
        deployed = read(state, params)
        if status.phase == "search":
            close(deployed, regression(), rtol=1e-6)
        assert loss(deployed) <= at_anchor * (1 + 1e-6)
        phases.append(status.phase)
        params, state = step(params, state)
    assert list(dict.fromkeys(phases)) == ["search", "main"]
    status = pfopt.optax.status(state)
    assert status.phase == "done"
    assert status.message == "The largest certified step size was found."
    assert status.lipschitz > 0
    assert status.distance > 0
    close(read(state, params), params)


def test_a_run_whose_loss_stands_still_is_not_called_certified() -> None:
    tx = sgd(STEPS)

    @jax.jit
    def step(params: Any, state: Any) -> Any:
        updates, state = tx.update(jax.grad(loss)(params), state, params, value=jnp.asarray(3.0))
        return optax.apply_updates(params, updates), state

    params, state = regression(), tx.init(regression())
    for _ in range(STEPS):
        params, state = step(params, state)
    assert pfopt.optax.status(state).message == pfopt.Outcome.NO_PROGRESS.message


def test_plan_certified_deploys_the_best_probe_so_far() -> None:
    tx = sgd(128, plan="certified")
    step, params, state = compiled(tx), regression(), tx.init(regression())
    losses = []
    for _ in range(128):
        params, state = step(params, state)
        losses.append(float(loss(pfopt.optax.eval_params(state, params))))
    assert losses[0] == pytest.approx(float(loss(regression())))
    assert losses[-1] < 0.5 * losses[0]


def test_partition_deploys_every_part() -> None:
    tx = optax.partition({"weight": sgd(STEPS), "bias": optax.sgd(0.1)}, LABELS)
    params, state = train(tx, regression(), STEPS // 2)
    deployed = pfopt.optax.eval_params(state, params)
    assert jax.tree.structure(deployed) == jax.tree.structure(params)
    close(deployed["bias"], params["bias"])
    assert not jnp.array_equal(deployed["weight"], params["weight"])
    two = optax.partition({"weight": sgd(STEPS), "bias": sgd(STEPS)}, LABELS)
    params, state = train(two, regression(), STEPS // 4)
    deployed = pfopt.optax.eval_params(state, params)
    assert not any(jax.tree.leaves(jax.tree.map(jnp.array_equal, deployed, params)))
    with pytest.raises(ValueError, match="state must hold one parameter-free state, got 2: pass one of them"):
        pfopt.optax.status(state)


def test_what_cannot_be_read() -> None:
    state: Any = optax.adam(1.0).init(regression())
    for read in (pfopt.optax.status, lambda held: pfopt.optax.eval_params(held, regression())):
        with pytest.raises(ValueError, match=r"state must hold the state of pfopt.optax.parameter_free_sgd"):
            read(state)
    many = jax.vmap(sgd(STEPS).init)(jax.tree.map(lambda x: jnp.stack([x, x]), regression()))
    for read in (pfopt.optax.status, lambda held: pfopt.optax.eval_params(held, regression())):
        with pytest.raises(ValueError, match=r"got a batch of shape \(2,\): index it first"):
            read(many)
    with pytest.raises(ValueError, match="call status outside of jit"):
        jax.jit(lambda held: pfopt.optax.status(held).step)(sgd(STEPS).init(regression()))


def test_other_params_are_refused() -> None:
    known = {"weight": jnp.ones((3, 2)), "bias": jnp.ones(2)}
    state, flat = sgd(STEPS).init(known), optax.flatten(sgd(STEPS)).init(known)
    fewer, narrower = {"weight": known["weight"]}, {**known, "weight": jnp.ones(2)}  # which would broadcast
    structure = r"structure that init saw, .*bias.*weight.*, got .*\{'weight': \*\}"
    with pytest.raises(ValueError, match=structure):
        pfopt.optax.eval_params(state, fewer)
    with pytest.raises(ValueError, match=r"shapes that init saw, \(3, 2\) at \['weight'\], got \(2,\)"):
        pfopt.optax.eval_params(state, narrower)
    with pytest.raises(ValueError, match=r"shapes that init saw, \(8,\) at its only leaf, got dict"):
        pfopt.optax.eval_params(flat, known)
