"""A loss times a number is the same run, down to what the number format can hold."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import pfopt
from pfopt.core.records import Outcome
from pfopt.optax import parameter_free, parameter_free_sgd, status

STEPS = 200


def end(tx: Any, factors: Any, dtype: Any = jnp.float32) -> tuple[Any, Any]:
    """Where runs on factor · ‖x − 3‖² end, each in a lane of its own, and their states."""

    def run(factor: jax.Array) -> tuple[Any, Any]:
        def step(carry: Any, _: Any) -> Any:
            params, state = carry
            updates, state = tx.update(2 * factor.astype(dtype) * (params - 3), state, params)
            return (optax.apply_updates(params, updates), state), None

        params = jnp.zeros(10, dtype)
        return jax.lax.scan(step, (params, tx.init(params)), length=STEPS)[0]

    return jax.jit(jax.vmap(run))(jnp.asarray(factors, jnp.float32))


def lane(state: Any, place: int) -> Any:
    return jax.tree.map(lambda x: x[place], state)


@pytest.mark.parametrize("plan", ["practical", "certified", pfopt.Certified(output="last")])
def test_a_loss_times_a_power_of_two_is_the_same_run(plan: Any) -> None:
    powers = [0, -110, -70, -33, -10, 10, 33, 60, 100]
    found, state = end(parameter_free_sgd(STEPS, plan=plan), 2.0 ** np.array(powers))
    plain = status(lane(state, 0))
    assert plain.message == Outcome.CERTIFIED.message
    for place, power in enumerate(powers):
        waits = power > 64 and plan == "practical"  # the first gradient cannot be squared: it is left out
        np.testing.assert_allclose(found[place], found[0], rtol=1e-5, atol=1e-3 if waits else 1e-6)
        told = status(lane(state, place))
        assert told.message == plain.message
        if not waits:
            np.testing.assert_allclose(told.step_size * 2.0**power, plain.step_size, rtol=1e-4)
            np.testing.assert_allclose(told.lipschitz / 2.0**power, plain.lipschitz, rtol=1e-4)


def test_around_a_base_no_success_is_told_of_what_it_cannot_see() -> None:
    """Adam's squares and its eps are its own."""
    found, state = end(parameter_free(optax.scale_by_adam(), STEPS), [1.0, 1e-20, 1e18, 1e25])
    assert np.isfinite(found).all()
    assert (np.square(found - 3).sum(1) <= 90 * (1 + 1e-3)).all()
    for place, point in enumerate(found):
        moved = float(np.abs(point).max()) > 1
        assert moved == (status(lane(state, place)).message == Outcome.CERTIFIED.message)


def test_a_first_gradient_of_nan_or_zero_fixes_no_unit() -> None:
    tx, params = parameter_free_sgd(STEPS), jnp.zeros(2)
    state: Any = tx.init(params)
    for factor, unit in ((0.0, 0.0), (jnp.nan, 0.0), (1e30, 2.0**-52), (1.0, 2.0**-52)):
        _, state = tx.update(jnp.full(2, factor), state, params)
        assert float(state.unit) == unit
