"""The contract of a GradientTransformation: containers, program transformations, dtypes, errors."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import pfopt.optax
from tests.optax.problems import (
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

PLANS: dict[str, dict[str, Any]] = {
    "train": {"momentum": 0.9},
    "train, constant": {"schedule": "constant", "scope": "tensor"},
    "certified": {"plan": "certified", "schedule": "constant"},
    "certified, linear": {"plan": "certified"},
}
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
    plain = train(sgd(STEPS, momentum=0.5, weight_decay=0.01, average=3.0), regression(), STEPS)
    injected = optax.inject_hyperparams(pfopt.optax.parameter_free_sgd)(
        STEPS, momentum=0.5, weight_decay=0.01, average=3.0
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


def test_the_alias_is_a_chain_as_optax_builds_its_own() -> None:
    scaled = optax.chain(pfopt.optax.scale_by_parameter_free_sgd(STEPS), optax.scale(-1.0))
    close(train(scaled, regression(), STEPS).params, train(sgd(STEPS), regression(), STEPS).params)


def test_the_sign_of_the_alias_costs_no_pass_of_its_own() -> None:
    params = {"w": jnp.ones((256, 256))}
    reads = []
    for tx in (sgd(STEPS), pfopt.optax.scale_by_parameter_free_sgd(STEPS)):
        costs: Any = jax.jit(tx.update).lower(params, tx.init(params), params).compile().cost_analysis()
        reads.append(costs["bytes accessed"])
    assert reads[0] < reads[1]  # which has to negate what is the update already


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
            found = state[0]
            assert found.anchor_sq.dtype == found.run.grad_sq.dtype == found.search.initial_step.dtype == real
            assert found.search.spent.dtype == found.run.step.dtype == jnp.int32
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
    known, unknown = (
        train(sgd(total_steps, schedule="constant"), regression(), 1000) for total_steps in (1024, None)
    )
    close(
        pfopt.optax.eval_params(known.state, known.params),
        pfopt.optax.eval_params(unknown.state, unknown.params),
    )


def test_unknown_horizon_of_a_run_that_decays() -> None:
    tx = sgd(None, average="last")
    step, params, state = compiled(tx), regression(), tx.init(regression())
    stages = []
    for _ in range(3100):
        params, state = step(params, state)
        stages.append(int(state[0].search.stage))
    assert stages[-1] == 2
    assert stages.index(1) == 1023
    assert stages.index(2) == 3071
    assert pfopt.optax.status(state).steps_left is None
    assert loss(params) < 0.05 * loss(regression())


@pytest.mark.parametrize(
    ("kwargs", "sentence"),
    [
        ({"total_steps": 0}, "total_steps must be positive, got 0"),
        ({"total_steps": 15}, "total_steps is too small to search.*at least 16.*got 15"),
        ({"total_steps": 1.5}, "total_steps must be an integer, got 1.5"),
        ({"total_steps": 2**31}, r"total_steps must be at most 2\*\*30.*got 2147483648"),
        ({"total_steps": True}, "total_steps must be an integer, got True"),
        ({"total_steps": None, "plan": "certified"}, "total_steps must be an integer where"),
        ({"plan": "fast"}, "plan must be one of 'train', 'certified', got 'fast'"),
        ({"schedule": "cosine"}, "schedule must be one of 'linear', 'constant', got 'cosine'"),
        ({"momentum": 1.0}, r"momentum must be in \[0, 1\), got 1.0"),
        ({"momentum": None}, "momentum must be a number, got None"),
        ({"nesterov": 1}, "nesterov must be True or False, got 1"),
        ({"nesterov": True}, "nesterov=True needs momentum greater than 0, got momentum=0.0"),
        ({"weight_decay": -1.0}, "weight_decay must be at least 0 and finite, got -1.0"),
        ({"average": "best"}, "average must be 'auto', 'last' or a number gamma >= 0, got 'best'"),
        ({"average": -1.0}, "average must be at least 0 and finite, got -1.0"),
        ({"scope": "group"}, 'scope must be .* got "group": for groups, give optax.partition'),
        ({"scope": "layer"}, "scope must be one of 'auto', 'global', 'tensor', got 'layer'"),
        ({"plan": "certified", "momentum": 0.9}, "is plain SGD: momentum must be 0.*got momentum=0.9"),
        ({"plan": "certified", "scope": "tensor"}, "is plain SGD.*scope='tensor'"),
        ({"plan": "certified", "average": "last"}, "is plain SGD.*average='last'"),
    ],
)
def test_wrong_arguments(kwargs: dict[str, Any], sentence: str) -> None:
    with pytest.raises((TypeError, ValueError), match=sentence):
        sgd(**{"total_steps": 100, **kwargs})


def test_wrong_base() -> None:
    with pytest.raises(TypeError, match=r"base must be a GradientTransformation .* got 0.1"):
        pfopt.optax.parameter_free(0.1, 100)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "made", [optax.adam(1e-3), optax.sgd(0.1), optax.scale(-1.0), optax.contrib.prodigy()]
)
def test_a_base_that_has_its_sign_already(made: Any) -> None:
    for build in (pfopt.optax.parameter_free, pfopt.optax.scale_by_parameter_free):
        with pytest.raises(
            ValueError, match=r"base must leave the sign alone, as optax.scale_by_adam\(\) does"
        ):
            build(made, 100)


@pytest.mark.parametrize(
    "base",
    [
        optax.masked(optax.scale_by_adam(), {"weight": True, "bias": False}),
        optax.partition({"weight": optax.scale_by_adam(), "bias": optax.identity()}, labels),
        optax.chain(optax.add_decayed_weights(0.1), optax.scale_by_lion()),
    ],
    ids=["masked", "partition", "lion"],
)
def test_a_base_whose_sign_is_right_or_cannot_be_told(base: Any) -> None:
    """The first two take one tree only, not the scalar that would tell."""
    tx = jax.jit(lambda params: pfopt.optax.parameter_free(base, 256).init(params))
    assert pfopt.optax.status(tx(regression())).phase == "search"


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


def test_statistics_are_exact_where_bf16_would_stop() -> None:
    params = {"w": jnp.ones(4, jnp.bfloat16)}
    tx = sgd(10_000)
    state = tx.init(params)
    turns = 40

    def turn(state: Any, _: None) -> tuple[Any, None]:
        return tx.update({"w": jnp.full(4, 8, jnp.bfloat16)}, state, params)[1], None

    state, _ = jax.lax.scan(turn, state, length=turns)
    np.testing.assert_allclose(state[0].run.grad_sq[0], turns * 256.0)
