"""The contract of a GradientTransformation: containers, program transformations, dtypes, errors."""

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
    adam,
    all_finite,
    close,
    compiled,
    loss,
    regression,
    sgd,
    stepper,
    train,
    types,
)

STEPS = 64


@pytest.mark.parametrize("name", list(PLANS))
def test_one_compilation_for_the_whole_run(name: str) -> None:
    tx, traces = sgd(STEPS, **PLANS[name]), 0
    step = stepper(tx, losses=True)

    @jax.jit
    def counted(params: Any, state: Any) -> tuple[Any, Any]:
        nonlocal traces
        traces += 1
        return step(params, state)

    params, state = regression(), tx.init(regression())
    before, phases = types(state), set()
    for _ in range(STEPS + 2):
        params, state = counted(params, state)
        phases.add(pfopt.optax.status(state).phase)
        assert types(state) == before
    assert traces == 1
    assert "done" in phases
    assert loss(params) < 0.5 * loss(regression())
    close(params, train(tx, regression(), STEPS, losses=True).params, rtol=1e-5, atol=1e-6)


def test_vmap_is_as_many_runs() -> None:
    tx, keys = sgd(STEPS), jnp.arange(3)

    def start(key: jax.Array) -> Any:
        return jax.tree.map(lambda x: x + key, regression())

    def whole(params: Any) -> Any:
        def turn(held: Any, _: None) -> tuple[Any, None]:
            return stepper(tx)(*held), None

        return jax.lax.scan(turn, (params, tx.init(params)), length=STEPS)[0]

    many, states = jax.jit(jax.vmap(whole))(jax.vmap(start)(keys))
    for lane in range(3):
        alone, state = train(tx, start(keys[lane]), STEPS)
        close(jax.tree.map(lambda x, lane=lane: x[lane], many), alone, rtol=1e-4, atol=1e-5)
        own = jax.tree.map(lambda x, lane=lane: x[lane], states)
        assert pfopt.optax.status(own).probe == pfopt.optax.status(state).probe


@pytest.mark.parametrize("name", list(PLANS))
def test_buffers_can_be_donated(name: str) -> None:
    tx = sgd(STEPS, **PLANS[name])
    step = jax.jit(stepper(tx), donate_argnums=(0, 1))
    params, state = regression(), tx.init(regression())
    for _ in range(STEPS):
        params, state = step(params, state)
    close(params, train(tx, regression(), STEPS).params, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", list(PLANS))
def test_init_takes_abstract_parameters(name: str) -> None:
    tx, params = sgd(STEPS, **PLANS[name]), regression()
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), params)
    assert types(tx.init(shapes)) == types(tx.init(params)) == types(jax.jit(tx.init)(params))
    assert types(jax.eval_shape(tx.init, params)) == types(tx.init(params))
    wrong = tx.init(jax.tree.map(jnp.zeros_like, params))  # of the right shapes only
    step = compiled(tx)
    close(step(params, wrong)[0], step(params, tx.init(params))[0])


def test_injected_hyperparameters_change_nothing() -> None:
    plain = train(sgd(STEPS, momentum=0.5, weight_decay=0.01), regression(), STEPS)
    injected = optax.inject_hyperparams(pfopt.optax.parameter_free_sgd)(
        STEPS, momentum=0.5, weight_decay=0.01
    )
    found = train(injected, regression(), STEPS)
    close(found.params, plain.params, rtol=1e-5, atol=1e-6)
    assert pfopt.optax.status(found.state)[:4] == pfopt.optax.status(plain.state)[:4]


def test_injected_hyperparameters_can_be_scheduled() -> None:
    factory = optax.inject_hyperparams(pfopt.optax.parameter_free_sgd, static_args="total_steps")
    tx = factory(STEPS, momentum=optax.linear_schedule(0.5, 0.9, STEPS))
    found = train(tx, regression(), STEPS)
    assert pfopt.optax.status(found.state).phase == "done"
    assert loss(found.params) < 0.5 * loss(regression())


def labels(params: Any) -> Any:
    return {name: name for name in params}


def test_partition_gives_every_label_its_own_search() -> None:
    tx = optax.partition({"weight": sgd(STEPS), "bias": sgd(STEPS, momentum=0.9)}, labels)
    params, state = train(tx, regression(), STEPS)
    assert loss(params) < 0.5 * loss(regression())
    for inner in state.inner_states.values():
        assert pfopt.optax.status(inner).phase == "done"


def test_partition_with_another_optimizer_and_an_unused_label() -> None:
    # clipped: the gradients of a probe that diverges reach the other optimizer too
    clipped = optax.chain(optax.clip(1.0), optax.sgd(0.1))
    tx = optax.partition({"weight": sgd(STEPS), "bias": clipped, "nobody": sgd(STEPS)}, labels)
    params, state = train(tx, regression(), STEPS)
    assert loss(params) < 0.5 * loss(regression())
    assert pfopt.optax.status(state.inner_states["weight"]).step == STEPS
    assert pfopt.optax.status(state.inner_states["nobody"]).step == 0


def test_masked_touches_nothing_else() -> None:
    tx = optax.chain(
        optax.masked(sgd(STEPS), {"weight": True, "bias": False}),
        optax.masked(optax.set_to_zero(), {"weight": False, "bias": True}),
    )
    params, _ = train(tx, regression(), STEPS)
    close(params["bias"], regression()["bias"])
    assert loss(params) < 0.9 * loss(regression())


def test_multi_steps_counts_whole_batches() -> None:
    accumulated = optax.MultiSteps(sgd(STEPS), every_k_schedule=4).gradient_transformation()
    params, state = train(accumulated, regression(), 4 * STEPS)
    plain = train(sgd(STEPS), regression(), STEPS)
    close(params, plain.params, rtol=1e-4, atol=1e-5)
    assert pfopt.optax.status(state).phase == "done"


def test_apply_if_finite_spends_nothing_on_what_is_not() -> None:
    tx = optax.apply_if_finite(sgd(STEPS), max_consecutive_errors=100)
    step, params, state = compiled(tx), regression(), tx.init(regression())
    for turn in range(2 * STEPS):
        params, state = step(params, state, np.nan if turn % 2 else 1.0)
    close(params, train(sgd(STEPS), regression(), STEPS).params, rtol=1e-4, atol=1e-5)


def test_last_link_of_a_chain() -> None:
    tx = optax.chain(optax.clip_by_global_norm(1.0), optax.add_decayed_weights(1e-3), sgd(STEPS))
    params, state = train(tx, regression(), STEPS)
    assert pfopt.optax.status(state).phase == "done"
    assert loss(params) < 0.5 * loss(regression())


def test_weight_decay_is_a_penalty() -> None:
    alias = train(sgd(STEPS, weight_decay=0.1), regression(), STEPS)
    link = train(optax.chain(optax.add_decayed_weights(0.1), sgd(STEPS)), regression(), STEPS)
    close(alias.params, link.params, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "base", [optax.scale_by_adam(), optax.scale_by_lion(), optax.trace(0.5), optax.scale_by_rms()]
)
def test_any_base_direction(base: Any) -> None:
    tx = pfopt.optax.parameter_free(base, 256)
    params, state = train(tx, regression(), 256)
    assert pfopt.optax.status(state).phase == "done"
    assert loss(params) < 0.5 * loss(regression())


def test_the_base_begins_anew_at_every_restart() -> None:
    tx = pfopt.optax.parameter_free(optax.scale_by_adam(), STEPS)
    step, params, state = compiled(tx), regression(), tx.init(regression())
    counts, probes = [], []
    for _ in range(STEPS):
        params, state = step(params, state)
        counts.append(int(optax.tree.get(state, "count")))
        probes.append(pfopt.optax.status(state).probe)
    ended = [turn for turn in range(1, STEPS) if probes[turn] != probes[turn - 1]]
    assert len(ended) >= 2
    assert all(counts[turn] == 0 and counts[turn + 1] == 1 for turn in ended)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32, jnp.complex64])
@pytest.mark.parametrize("name", list(PLANS))
def test_dtypes(name: str, dtype: Any) -> None:
    tx, params = sgd(STEPS, **PLANS[name]), regression(dtype)
    state = tx.init(params)
    reals = {leaf.dtype for leaf in jax.tree.leaves(state) if jnp.issubdtype(leaf.dtype, jnp.floating)}
    assert reals == {jnp.dtype("float32")}
    updates, _ = jax.eval_shape(tx.update, params, state, params)
    assert jax.tree.map(lambda x: x.dtype, updates) == jax.tree.map(lambda x: x.dtype, params)
    trained, after = train(tx, params, STEPS)
    assert types(after) == types(jax.jit(tx.init)(params))
    assert all_finite(trained)
    assert loss(trained) < 0.5 * loss(params)


@pytest.mark.parametrize("name", list(PLANS))
def test_double_precision(name: str) -> None:
    with jax.enable_x64(True):
        tx = sgd(STEPS, **PLANS[name])
        for dtype, real in ((jnp.float64, "float64"), (jnp.complex128, "float64"), (jnp.float32, "float32")):
            trained, state = train(tx, regression(dtype), STEPS)
            controller, run = state.controller, state.run
            assert state.anchor_sq.dtype == run.grad_sq_sum.dtype == controller.initial_step.dtype == real
            assert controller.spent.dtype == run.step.dtype == jnp.int32
            assert loss(trained) < 0.5 * loss(regression(dtype))


def test_bf16_moves_as_far_as_float32() -> None:
    """Steps far below an ulp add up in the float32 iterate behind the parameters."""
    wide = train(sgd(512), regression(), 512).params
    narrow = train(sgd(512), regression(jnp.bfloat16), 512).params
    close(narrow, wide, rtol=0.05, atol=0.05)


def test_none_leaves_are_left_alone() -> None:
    """Equinox filters put None where there is no array."""
    tx, params = sgd(STEPS), {"a": jnp.ones(3), "b": None}
    state = tx.init(params)
    updates, _ = jax.eval_shape(tx.update, params, state, params)
    assert updates["b"] is None


def test_not_knowing_the_horizon_changes_nothing_where_nothing_decays() -> None:
    plan = pfopt.Practical(anneal="averaging")
    known, unknown = (train(adam(total_steps, plan=plan), regression(), 1000) for total_steps in (1024, None))
    close(
        pfopt.optax.eval_params(known.state, known.params),
        pfopt.optax.eval_params(unknown.state, unknown.params),
    )


def test_unknown_horizon_of_a_run_that_decays() -> None:
    tx = sgd(None, plan=pfopt.Practical(anneal="linear"))
    step, params, state = compiled(tx), regression(), tx.init(regression())
    stages = []
    for _ in range(3100):
        params, state = step(params, state)
        stages.append(int(state.controller.budget_doublings))
    assert stages[-1] == 2
    assert stages.index(1) == 1023
    assert stages.index(2) == 3071
    assert pfopt.optax.status(state).steps_left is None
    assert loss(params) < 0.05 * loss(regression())


def test_statistics_are_exact_where_bf16_would_stop() -> None:
    params = {"w": jnp.ones(4, jnp.bfloat16)}
    tx = sgd(10_000)
    state = tx.init(params)
    turns = 40

    def turn(state: Any, _: None) -> tuple[Any, None]:
        return tx.update({"w": jnp.full(4, 8, jnp.bfloat16)}, state, params)[1], None

    state, _ = jax.lax.scan(turn, state, length=turns)
    np.testing.assert_allclose(state.run.grad_sq_sum[0], turns * 256.0)
