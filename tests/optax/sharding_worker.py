"""Run in a process of its own with 8 host devices: ``python -m tests.optax.sharding_worker``."""

import sys
import unittest
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import pfopt
import pfopt.optax
from tests.optax import upstream

DEVICES, STEPS = 8, 96
RNG = np.random.default_rng(0)
INPUTS = RNG.standard_normal((32, 16)).astype(np.float32)
TARGETS = (INPUTS @ RNG.standard_normal((16, 8))).astype(np.float32)
PLANS: dict[str, dict[str, Any]] = {
    "practical": {"momentum": 0.9},
    "certified": {"plan": "certified"},
    "certified_last": {"plan": pfopt.Certified(output="last")},
}


def loss(params: Any, inputs: Any, targets: Any) -> jax.Array:
    return jnp.mean((inputs @ params["w"] + params["b"] - targets) ** 2)


def whole_run(tx: Any, place: Any, data: Any) -> tuple[Any, Any]:
    """Data-parallel batches, parameters where ``place`` puts them."""
    params = {"w": place(jnp.ones((16, 8)), P("x", None)), "b": place(jnp.zeros(8), P("x"))}
    inputs, targets = (place(jnp.asarray(each), data) for each in (INPUTS, TARGETS))
    state = tx.init(params)

    @jax.jit
    def step(params: Any, state: Any) -> tuple[Any, Any]:
        grads = jax.grad(loss)(params, inputs, targets)
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    for _ in range(STEPS):
        params, state = jax.block_until_ready(step(params, state))  # on few cores, steps in flight deadlock
    return params, state


def check_the_same_run_as_on_one_device() -> None:
    mesh = jax.make_mesh((DEVICES,), ("x",), axis_types=(AxisType.Auto,))
    for name, kwargs in PLANS.items():
        tx = pfopt.optax.parameter_free_sgd(STEPS, **kwargs)
        alone, state = whole_run(tx, lambda x, _: jax.device_put(x, jax.devices()[0]), P())
        shared, sharded = whole_run(tx, lambda x, spec: jax.device_put(x, NamedSharding(mesh, spec)), P("x"))
        assert len(shared["w"].sharding.device_set) == DEVICES, name
        assert sharded.anchor["w"].sharding.is_equivalent_to(shared["w"].sharding, 2), name
        one, other = pfopt.optax.status(state), pfopt.optax.status(sharded)
        assert one[:4] == other[:4], (name, one, other)
        np.testing.assert_allclose(shared["w"], alone["w"], rtol=1e-3, atol=1e-4, err_msg=name)


def check_optax_sharding_tests() -> None:
    optimizers = {name: pfopt.optax.parameter_free_sgd(100, **kwargs) for name, kwargs in PLANS.items()}
    optimizers["adam"] = pfopt.optax.parameter_free(optax.scale_by_adam(), 100)
    real, jax.__version__ = jax.__version__, "0.9"  # optax 0.2.8 compares strings: "0.10.2" < "0.7.2"
    try:
        module = upstream.load(
            "_src.sharding_test", "tests.optax.upstream_sharding", {"OPTIMIZERS": optimizers}
        )
        suite = unittest.defaultTestLoader.loadTestsFromTestCase(module.ShardingTest)
        outcome = unittest.TextTestRunner(stream=sys.stdout, verbosity=2).run(suite)
    finally:
        jax.__version__ = real
    assert outcome.wasSuccessful()
    assert not outcome.skipped
    assert outcome.testsRun >= 3 * len(optimizers)


if __name__ == "__main__":
    assert jax.device_count() == DEVICES
    check_the_same_run_as_on_one_device()
    check_optax_sharding_tests()
    print("all well")
