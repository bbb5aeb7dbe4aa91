"""The contract of a GradientTransformation: program transformations, containers, bases, dtypes.

Where any plan would do, it is the certified one, which compiles fastest.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import pfopt
import pfopt.optax
from pfopt.testing.optax.problems import double_precision
from tests.optax.problems import (
    PLANS,
    adam,
    all_finite,
    close,
    compiled,
    fed,
    loss,
    regression,
    sgd,
    stepper,
    train,
    types,
)

STEPS = 64
CERTIFIED = sgd(STEPS, **PLANS["certified"])


@pytest.mark.parametrize("name", list(PLANS))
def test_one_compilation_for_the_whole_run_which_may_donate_its_buffers(name: str) -> None:
    tx, traces = sgd(STEPS, **PLANS[name]), 0

    def counted(params: Any, state: Any) -> tuple[Any, Any]:
        nonlocal traces
        traces += 1
        return stepper(tx, losses=True)(params, state)

    step = jax.jit(counted, donate_argnums=(0, 1))
    params, state = regression(), tx.init(regression())
    before, phases = types(state), set()
    for _ in range(STEPS + 2):
        params, state = step(params, state)
        phases.add(pfopt.optax.status(state).phase)
        assert types(state) == before
    assert traces == 1
    assert "done" in phases
    assert loss(params) < 0.5 * loss(regression())
    if name == "practical":
        close(params, train(tx, regression(), STEPS).params, rtol=1e-5, atol=1e-6)


def test_vmap_is_as_many_runs() -> None:
    tx, keys = sgd(STEPS, **PLANS["practical"]), jnp.arange(2)

    def start(key: jax.Array) -> Any:
        return jax.tree.map(lambda x: x + key, regression())

    def whole(params: Any) -> Any:
        def turn(held: Any, _: None) -> tuple[Any, None]:
            return stepper(tx)(*held), None

        return jax.lax.scan(turn, (params, tx.init(params)), length=STEPS)[0]

    many, states = jax.jit(jax.vmap(whole))(jax.vmap(start)(keys))
    for index in range(2):
        alone, state = train(tx, start(keys[index]), STEPS)
        own, its_state = jax.tree.map(lambda x, index=index: x[index], (many, states))
        close(own, alone, rtol=1e-4, atol=1e-5)
        assert pfopt.optax.status(its_state).probe == pfopt.optax.status(state).probe


@pytest.mark.parametrize("name", list(PLANS))
def test_init_takes_abstract_parameters(name: str) -> None:
    tx, params = sgd(STEPS, **PLANS[name]), regression()
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), params)
    assert types(tx.init(shapes)) == types(tx.init(params)) == types(jax.jit(tx.init)(params))
    assert types(jax.eval_shape(tx.init, params)) == types(tx.init(params))


def test_init_looks_at_shapes_only() -> None:
    params, step = regression(), compiled(CERTIFIED)
    others = CERTIFIED.init(jax.tree.map(jnp.zeros_like, params))
    close(step(params, others)[0], step(params, CERTIFIED.init(params))[0])


def test_injected_hyperparameters_change_nothing() -> None:
    plain = train(sgd(STEPS, momentum=0.5, weight_decay=0.01), regression(), STEPS)
    injected = optax.inject_hyperparams(pfopt.optax.parameter_free_sgd)(
        STEPS, momentum=optax.constant_schedule(0.5), weight_decay=0.01
    )
    found = train(injected, regression(), STEPS)
    close(found.params, plain.params, rtol=1e-5, atol=1e-6)
    assert pfopt.optax.status(found.state)[:4] == pfopt.optax.status(plain.state)[:4]


def labels(params: Any) -> Any:
    return {name: name for name in params}


def test_partition_gives_every_label_its_own_search() -> None:
    last = sgd(STEPS, **PLANS["certified, last"])
    tx = optax.partition({"weight": CERTIFIED, "bias": last, "nobody": CERTIFIED}, labels)
    params, state = train(tx, regression(), STEPS)
    assert loss(params) < 0.5 * loss(regression())
    inner = {name: pfopt.optax.status(each) for name, each in state.inner_states.items()}
    assert inner["weight"].phase == inner["bias"].phase == "done"
    assert inner["nobody"].step == 0


def test_partition_with_another_optimizer() -> None:
    # clipped: the gradients of a probe that diverges reach the other optimizer too
    clipped = optax.chain(optax.clip(1.0), optax.sgd(0.1))
    params, _ = train(optax.partition({"weight": CERTIFIED, "bias": clipped}, labels), regression(), STEPS)
    assert loss(params) < 0.5 * loss(regression())


def test_masked_touches_nothing_else() -> None:
    tx = optax.chain(
        optax.masked(CERTIFIED, {"weight": True, "bias": False}),
        optax.masked(optax.set_to_zero(), {"weight": False, "bias": True}),
    )
    params, _ = train(tx, regression(), STEPS)
    close(params["bias"], regression()["bias"])
    assert loss(params) < 0.9 * loss(regression())


def test_multi_steps_counts_whole_batches() -> None:
    accumulated = optax.MultiSteps(CERTIFIED, every_k_schedule=4).gradient_transformation()
    params, state = train(accumulated, regression(), 4 * STEPS)
    close(params, train(CERTIFIED, regression(), STEPS).params, rtol=1e-4, atol=1e-5)
    assert pfopt.optax.status(state).phase == "done"


def test_apply_if_finite_spends_nothing_on_what_is_not() -> None:
    tx = optax.apply_if_finite(CERTIFIED, max_consecutive_errors=100)
    step, params, state = compiled(tx), regression(), tx.init(regression())
    for turn in range(2 * STEPS):
        params, state = step(params, state, np.nan if turn % 2 else 1.0)
    close(params, train(CERTIFIED, regression(), STEPS).params, rtol=1e-4, atol=1e-5)


def test_last_link_of_a_chain() -> None:
    linked = train(optax.chain(optax.clip_by_global_norm(1e9), CERTIFIED), regression(), STEPS)
    close(train(CERTIFIED, regression(), STEPS).params, linked.params, rtol=1e-4, atol=1e-5)
    assert pfopt.optax.status(linked.state).phase == "done"


@pytest.mark.parametrize(
    "base",
    [
        optax.scale_by_lion(),
        optax.chain(optax.scale_by_adam(), optax.add_decayed_weights(1e-3), optax.trace(0.5)),
        optax.chain(optax.add_noise(1e-3, 0.5, jax.random.key(0)), optax.scale_by_rms()),
    ],
    ids=["lion", "adamw", "noise"],
)
def test_any_base_direction(base: Any) -> None:
    params, state = train(pfopt.optax.parameter_free(base, 128), regression(), 128)
    assert pfopt.optax.status(state).phase == "done"
    assert loss(params) < 0.5 * loss(regression())


def test_the_base_begins_anew_at_every_restart() -> None:
    step, params, state = compiled(adam(STEPS)), regression(), adam(STEPS).init(regression())
    counts, probes = [], []
    for _ in range(STEPS):
        params, state = step(params, state)
        counts.append(int(optax.tree.get(state, "count")))
        probes.append(pfopt.optax.status(state).probe)
    ended = [turn for turn in range(1, STEPS) if probes[turn] != probes[turn - 1]]
    assert len(ended) >= 2
    assert all(counts[turn] == 0 and counts[turn + 1] == 1 for turn in ended)


def test_the_base_gets_the_loss_and_what_else_there_is() -> None:
    def update(updates: Any, state: Any, params: Any = None, *, value: Any, factor: Any) -> Any:
        return jax.tree.map(lambda g: g * factor * value, updates), state

    function: Any = update
    base = optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), function)
    tx, params = pfopt.optax.parameter_free(base, STEPS, plan="certified"), regression()
    updates, _ = jax.eval_shape(tx.update, params, tx.init(params), params, value=1.0, factor=2.0)
    assert jax.tree.structure(updates) == jax.tree.structure(params)
    with pytest.raises(TypeError, match="factor"):
        jax.eval_shape(tx.update, params, tx.init(params), params, value=1.0)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("practical", jnp.bfloat16),
        ("practical", jnp.complex64),
        ("practical, linear", jnp.float16),
        ("certified", jnp.complex64),
        ("certified, last", jnp.bfloat16),
    ],
)
def test_dtypes(name: str, dtype: Any) -> None:
    tx, params = sgd(STEPS, **PLANS[name]), regression(dtype)
    state = tx.init(params)
    kinds = {leaf.dtype for leaf in jax.tree.leaves(state)}
    assert kinds == {jnp.dtype(kind) for kind in ("bool", "int32", "float32")}
    updates, _ = jax.eval_shape(tx.update, params, state, params)
    assert jax.tree.map(lambda x: x.dtype, updates) == jax.tree.map(lambda x: x.dtype, params)
    trained, after = train(tx, params, STEPS)
    assert types(after) == types(jax.jit(tx.init)(params))
    assert all_finite(trained)
    assert loss(trained) < 0.5 * loss(params)


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("practical", ("float64", "float32")),
        ("practical, linear", ("float32", "float32")),
        ("certified, last", ("complex128", "complex128")),
    ],
)
def test_double_precision(name: str, kinds: tuple[str, str]) -> None:
    with double_precision():
        decay = {} if name == "certified, last" else {"weight_decay": 1e-3}
        tx = sgd(STEPS, **{**PLANS[name], **decay})
        params = {
            key: leaf.astype(kind)
            for (key, leaf), kind in zip(regression(jnp.float64).items(), kinds, strict=True)
        }
        trained, state = train(tx, params, STEPS)
        real = "float64" if any(jnp.dtype(kind).itemsize > 4 for kind in kinds) else "float32"
        controller, run = state.controller, state.run
        assert state.anchor_sq.dtype == run.grad_sq_sum.dtype == controller.initial_step.dtype == real
        assert controller.spent.dtype == run.step.dtype == jnp.int32
        assert [leaf.dtype.itemsize for leaf in jax.tree.leaves(state.anchor)] == [
            jnp.finfo(kind).bits // 8 for kind in kinds
        ]
        assert loss(trained) < 0.5 * loss(params)


def test_bf16_moves_as_far_as_float32() -> None:
    """Steps far below an ulp add up in the float32 iterate behind the parameters."""
    wide = train(sgd(400), regression(), 400).params
    narrow = train(sgd(400), regression(jnp.bfloat16), 400).params
    close(narrow, wide, rtol=0.05, atol=0.05)


def test_statistics_are_exact_where_bf16_would_stop() -> None:
    tx, params = sgd(10_000, plan="certified"), {"w": jnp.ones(4, jnp.bfloat16)}
    update, state = jax.jit(tx.update), tx.init(params)
    for _ in range(40):
        _, state = update({"w": jnp.full(4, 8, jnp.bfloat16)}, state, params)
    np.testing.assert_allclose(state.run.grad_sq_sum[0], 40 * 256.0)


@pytest.mark.parametrize(
    ("make", "steps"), [("sgd", None), ("sgd", STEPS), ("sgd, momentum", STEPS), ("adam", STEPS)]
)
def test_a_leaf_whose_gradient_is_zero_stays_where_it_is(make: str, steps: int | None) -> None:
    tx = {"sgd": sgd, "sgd, momentum": partial(sgd, momentum=0.9), "adam": adam}[make](steps)
    step, params, state = fed(tx), regression(), tx.init(regression())
    gradient = jax.jit(jax.grad(loss))
    held, end = params, steps or 6 * STEPS
    for place in range(end):
        grads = gradient(params)
        if place >= end // 2:
            grads["bias"] = jnp.zeros_like(grads["bias"])
            held = params if place == end // 2 else held
        params, state = step(params, state, grads, 0.0)
    assert pfopt.optax.status(state).phase == ("done" if steps else "main")
    np.testing.assert_array_equal(params["bias"], held["bias"])
    np.testing.assert_array_equal(pfopt.optax.eval_params(state, params)["bias"], held["bias"])
    assert (params["weight"] != regression()["weight"]).all()


def test_none_leaves_are_left_alone() -> None:
    """Equinox filters put None where there is no array."""
    params = {"a": jnp.ones(3), "b": None}
    updates, _ = jax.eval_shape(CERTIFIED.update, params, CERTIFIED.init(params), params)
    assert updates["b"] is None


def test_not_knowing_the_horizon_changes_nothing_where_nothing_decays() -> None:
    plan = pfopt.Practical(anneal="averaging")
    known, unknown = (train(adam(steps, plan=plan), regression(), 1000) for steps in (1024, None))
    assert pfopt.optax.status(unknown.state).steps_left is None
    close(
        pfopt.optax.eval_params(known.state, known.params),
        pfopt.optax.eval_params(unknown.state, unknown.params),
    )


def test_unknown_horizon_of_a_run_that_decays() -> None:
    tx = sgd(None, plan=pfopt.Practical(anneal="linear", scope="global"))

    def turn(held: Any, _: None) -> tuple[Any, Any]:
        params, state = stepper(tx)(*held)
        return (params, state), state.controller.budget_doublings

    run = jax.jit(lambda params: jax.lax.scan(turn, (params, tx.init(params)), length=3100))
    (params, _), doublings = run(regression())
    stages = doublings.tolist()
    assert stages[-1] == 2
    assert stages.index(1) == 1023
    assert stages.index(2) == 3071
    assert loss(params) < 0.05 * loss(regression())


def test_around_a_base_leaves_move_at_powers_of_two_times_the_rate_of_the_whole() -> None:
    tx = pfopt.optax.parameter_free(optax.identity(), STEPS)
    params: Any = {"calm": jnp.ones(3), "noisy": jnp.ones(3)}
    noise = np.random.default_rng(0).standard_normal((STEPS, 3))
    update, state, ratios = jax.jit(tx.update), tx.init(params), []
    for drawn in noise:
        grads = {"calm": 0.1 * params["calm"], "noisy": params["noisy"] + drawn}
        searching = pfopt.optax.status(state).phase == "search"
        moves, state = update(grads, state, params)
        params = optax.apply_updates(params, moves)
        if not searching:
            rates = {name: optax.tree.norm(moves[name]) / optax.tree.norm(grads[name]) for name in moves}
            ratios.append(float(jnp.log2(rates["calm"] / rates["noisy"])))
    assert max(ratios) > 0.9
    np.testing.assert_allclose(ratios, np.round(ratios), atol=0.01)
