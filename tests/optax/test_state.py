"""The state's shape and size, and ``when``."""

import doctest
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import pfopt
import pfopt.optax.transform
from pfopt.optax import state as states
from tests.optax.problems import PLANS, close, regression, sgd


def copies(tx: Any, params: Any) -> float:
    """Bytes of the state, in those of the parameters."""
    sizes = [sum(leaf.nbytes for leaf in jax.tree.leaves(tree)) for tree in (tx.init(params), params)]
    return sizes[0] / sizes[1]


@pytest.mark.parametrize(
    ("kwargs", "dtype", "expected"),
    [
        ({}, jnp.float32, 3),
        ({}, jnp.complex64, 3),
        ({"plan": pfopt.Practical(scope="tensor")}, jnp.float32, 2),
        ({"momentum": 0.9}, jnp.float32, 4),
        ({"plan": "certified"}, jnp.float32, 4),
        ({"plan": pfopt.Certified(output="last")}, jnp.float32, 4),
        ({}, jnp.bfloat16, 8),  # anchor, average, squares and iterate in float32
    ],
    ids=str,
)
def test_copies_of_the_parameters(kwargs: dict[str, Any], dtype: Any, expected: int) -> None:
    params = {"w": jnp.ones((1000, 100), dtype)}
    assert copies(sgd(1000, **kwargs), params) == pytest.approx(expected, abs=0.01)


def test_a_base_costs_an_anchor() -> None:
    params, base = {"w": jnp.ones((1000, 100))}, optax.scale_by_adam()
    beyond = copies(pfopt.optax.parameter_free(base, 1000), params) - copies(base, params)
    assert beyond == pytest.approx(1, abs=0.01)


def test_what_an_update_holds_on_the_way() -> None:
    params = [jnp.ones((64, 256))] * 8
    tx = sgd(1000, momentum=0.9)
    update = jax.jit(tx.update, donate_argnums=(0, 1)).lower(params, tx.init(params), params).compile()
    analysis: Any = update.memory_analysis()
    beside = analysis.temp_size_in_bytes / sum(leaf.nbytes for leaf in params)
    assert beside < 1.6  # more where leaves do not wait for each other


def test_no_two_leaves_share_a_buffer() -> None:
    leaves = jax.tree.leaves((sgd(100, momentum=0.9).init(regression()), regression()))
    pointers = [leaf.unsafe_buffer_pointer() for leaf in leaves]
    assert len(set(pointers)) == len(pointers)


@pytest.mark.parametrize("name", list(PLANS))
def test_every_leaf_is_an_array_that_keeps_its_type(name: str) -> None:
    state = sgd(100, **PLANS[name]).init(regression())
    assert all(isinstance(leaf, jax.Array) and not leaf.weak_type for leaf in jax.tree.leaves(state))


def test_flatten_and_back() -> None:
    params = {"a": jnp.ones(3, jnp.bfloat16), "b": [jnp.ones(2), None]}
    state = sgd(100, plan="certified").init(params)
    flat = states.flatten(state)
    assert [leaf.shape for leaf in flat.anchor] == [(3,), (2,)]
    assert [leaf.dtype for leaf in flat.iterate] == [jnp.float32]
    assert flat.velocity == []
    close(states.unflatten(flat, state), state)


def test_map_params_finds_the_trees() -> None:
    tx, params = sgd(100, momentum=0.9), regression(jnp.bfloat16)
    state: Any = optax.tree.map_params(tx, lambda leaf: leaf + 1, tx.init(params))
    for name in ("anchor", "average", "velocity", "iterate"):
        assert all(bool((leaf == 1).all()) for leaf in jax.tree.leaves(getattr(state, name)))
    assert state.probes == 0


@pytest.mark.parametrize("condition", [False, True])
def test_when(condition: bool) -> None:
    def change(held: Any) -> Any:
        return held[0] + held[1], 2  # a weak type

    held = (jnp.arange(3.0), jnp.zeros((), jnp.int32))
    found = jax.jit(lambda flag, held: states.when(flag, change, held))(jnp.asarray(condition), held)
    close(found, (held[0], jnp.full((), 2, jnp.int32)) if condition else held)
    assert [leaf.weak_type for leaf in found] == [False, False]


def test_when_under_vmap_is_a_choice_for_each() -> None:
    flags = jnp.array([True, False, True])
    found = jax.vmap(lambda flag, x: states.when(flag, lambda y: y + 1, x))(flags, jnp.zeros(3))
    np.testing.assert_array_equal(found, [1, 0, 1])


def test_when_copies_nothing_that_stays() -> None:
    """The reason for a loop: the program outside of its body holds no copy of a leaf."""

    def step(flag: Any, held: Any) -> Any:
        return states.when(flag, lambda pair: (pair[1] * 2, pair[0] + 1), held)

    held = (jnp.ones(1000), jnp.ones(1000))
    compiled = jax.jit(step, donate_argnums=1).lower(jnp.asarray(True), held).compile()
    text = compiled.as_text() or ""
    entry = text[text.index("ENTRY") :]
    assert not [line for line in entry.splitlines() if "f32[1000]" in line and " copy(" in line]


def test_examples_of_the_docstrings() -> None:
    outcome = doctest.testmod(pfopt.optax.transform)
    assert outcome.attempted > 5
    assert outcome.failed == 0
