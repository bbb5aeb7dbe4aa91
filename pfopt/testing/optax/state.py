"""What a transformation remembers, and what compiled programs ask of it."""

import io
import pickle
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from pfopt.testing.findings import STEPS, demand
from pfopt.testing.optax.problems import (
    Make,
    Tree,
    by_layer,
    compiled,
    demand_descent,
    extended,
    finite,
    loss,
    make_step,
    regression,
    same,
    train,
    value,
)

CUTS = (1, 3, 10, 20, 40)  # after so many steps a run is interrupted


def resumes_bit_for_bit(make: Make) -> None:
    """A run whose state is saved as arrays and loaded after 1, 3, 10, 20 or 40 steps must end at the same bits.

    Orbax, flax and equinox save the leaves of a state and put them back into the structure that ``init`` gives. What
    is no array, or changes its structure on the way, is lost.
    """
    step, start = compiled(make), regression()
    whole, _ = train(step, start, make().init(start))
    for cut in CUTS:
        params, state = train(step, start, make().init(start), range(cut))
        state = _on_disk(state, make().init(start))
        params, _ = train(step, params, state, range(cut, STEPS))
        demand(same(params, whole), f"Loaded after {cut} of {STEPS} steps, the run ends at other parameters.")


def pickles(make: Make) -> None:
    """A state must survive pickling, which is how it travels between processes."""
    step, start = compiled(make), regression()
    params, state = train(step, start, make().init(start), range(5))
    copied = pickle.loads(pickle.dumps(jax.device_get(state)))  # noqa: S301 (its own)
    demand(same(state, copied), "The copy is another one.")
    demand(same(train(step, params, state)[0], train(step, params, copied)[0]), "The copy goes another way.")


def keeps_its_structure(make: Make) -> None:
    """Structure, shapes and dtypes of the state must be those of ``init``, so that it can be carried by a loop.

    ``lax.scan`` and ``lax.cond`` refuse anything else, and a dtype that changes at the first step compiles twice.
    """
    params = regression()
    state = make().init(params)
    step = make_step(make())
    after = jax.eval_shape(step, params, state, 0)
    for name, one, other in (("The state", after[1], state), ("The tree of parameters", after[0], params)):
        demand(jax.tree.structure(one) == jax.tree.structure(other), f"{name} changes its structure.")
        pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
        changed = [f"{b.dtype} to {a.dtype}" for a, b in pairs if (a.shape, a.dtype) != (b.shape, b.dtype)]
        demand(not changed, f"{name} changes from {', '.join(changed)}.")
    train(step, params, state, range(3))
    times = step.compiled._cache_size()  # type: ignore[attr-defined]
    demand(times == 1, f"Three steps were compiled {times} times.")


def may_be_donated(make: Make) -> None:
    """``jax.jit(step, donate_argnums=…)`` must work: no leaf of the state may be the caller's own parameters.

    Donation halves the memory of a step; a state that keeps ``params`` as they came gives one buffer away twice.
    """
    step = compiled(make)
    donating = jax.jit(lambda params, state, number: step(params, state, number), donate_argnums=(0, 1))
    params = jax.tree.map(jnp.copy, regression())
    state = make().init(params)
    for number in range(3):
        params, state = donating(params, state, number)
    demand(finite(params), "A parameter is not finite.")


def needs_shapes_alone(make: Make) -> None:
    """``init`` must work under ``jax.eval_shape``, as sharded training plans its memory by."""
    shapes = jax.eval_shape(make().init, regression())
    state = make().init(regression())
    demand(jax.tree.structure(shapes) == jax.tree.structure(state), "The structure is another one.")


def composes(make: Make) -> None:
    """It must work inside ``chain``, ``partition``, ``MultiSteps`` and ``apply_if_finite``."""
    before = value(regression())

    layers = by_layer({"first": "first", "second": "second"})
    wrapped = {
        "chain": optax.chain(optax.clip_by_global_norm(10.0), make()),
        "partition": optax.partition({"first": make(), "second": make()}, layers),
        "MultiSteps": optax.MultiSteps(make(), 2),
        "apply_if_finite": optax.apply_if_finite(make(), 5),
    }
    for name, tx in wrapped.items():
        params, _ = train(make_step(tx), regression(), tx.init(regression()))
        demand_descent(params, before, f"Inside {name}")


def runs_in_lanes(make: Make) -> None:
    """Under ``vmap`` each lane must be its own run, and one that begins at zero gradients must not spoil the others.

    Populations, ensembles and grids are trained so; a lane at its minimum has a gradient of zero.
    """
    tx, start = extended(make()), regression()
    lanes = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), start)
    states = jax.vmap(tx.init)(lanes)

    def step(params: Tree, state: Any, number: Any, weight: Any) -> Any:
        told, grads = jax.value_and_grad(lambda params: weight * loss(params, number))(params)
        updates, state = tx.update(grads, state, params, value=told)
        return optax.apply_updates(params, updates), state

    several = jax.jit(jax.vmap(step, in_axes=(0, 0, None, 0)))
    for number in range(STEPS):
        lanes, states = several(lanes, states, jnp.int32(number), jnp.asarray([0.0, 1.0]))
    demand_descent(jax.tree.map(lambda leaf: leaf[1], lanes), value(start), "Beside a lane at zero gradients")
    demand(finite(lanes), "The lane at zero gradients is not finite.")


def _on_disk(state: Any, like: Any) -> Any:
    """The leaves go through a file of numpy's, without pickling."""
    file = io.BytesIO()
    leaves = jax.tree.leaves(state)
    np.savez(file, *[np.asarray(leaf) for leaf in leaves], allow_pickle=False)
    file.seek(0)
    with np.load(file, allow_pickle=False) as saved:
        arrays = [saved[name] for name in saved.files if name != "allow_pickle"]
    arrays = [jnp.asarray(array) for array in arrays]
    return jax.tree.unflatten(jax.tree.structure(like), arrays)
