"""Leaves of every kind in the one form in which they are computed, and what half precision costs."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from pfopt.optax import leaves, rounding

COMPLEX = jnp.array([[1.0 + 2.0j, 3.0]])


def test_complex_leaves_are_seen_as_real_ones() -> None:
    seen = leaves.as_real(COMPLEX, COMPLEX)
    np.testing.assert_array_equal(seen, [[[1.0, 2.0], [3.0, 0.0]]])
    assert seen.dtype == jnp.float32
    np.testing.assert_array_equal(leaves.as_param(seen, COMPLEX), COMPLEX)
    np.testing.assert_array_equal(leaves.as_real(jnp.ones((1, 2)), COMPLEX), [[[1.0, 0.0], [1.0, 0.0]]])
    np.testing.assert_array_equal(leaves.as_real(None, COMPLEX), leaves.zeros(COMPLEX))
    assert leaves.zeros(COMPLEX).shape == (1, 2, 2)


def test_products_of_leaves() -> None:
    vectors = [jnp.array([3.0, 4.0]), jnp.array([[1.0, 2.0]])]
    found = leaves.dots([(vectors, vectors), (vectors, [2 * x for x in vectors])], jnp.float32)
    np.testing.assert_array_equal(found, [[25.0, 5.0], [50.0, 10.0]])
    np.testing.assert_array_equal(leaves.by_scope(found[0], by_leaf=True), [30.0, 25.0, 5.0])
    np.testing.assert_array_equal(leaves.by_scope(found[0], by_leaf=False), [30.0])
    assert leaves.dots([([], [])] * 2, jnp.float32).shape == (2, 0)


def test_lerp_is_exact_at_both_ends() -> None:
    old, new = jnp.array([0.1, 1e30]), jnp.array([0.3, 1.0])
    np.testing.assert_array_equal(leaves.lerp(old, new, jnp.float32(1)), new)
    np.testing.assert_array_equal(leaves.lerp(old, jnp.full(2, jnp.nan), jnp.float32(0)), old)
    np.testing.assert_allclose(leaves.lerp(old, new, jnp.float32(0.25))[0], 0.15)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_the_iterate_behind_half_precision(dtype: Any) -> None:
    param = jnp.array([1.0, 1.0, -3.0], dtype)
    kept = jnp.array([1.0 + 1e-4, 1.5, -3.0])
    (found,) = rounding.points([param], [kept])
    np.testing.assert_array_equal(found, jnp.array([1.0 + 1e-4, 1.0, -3.0]))  # 1.5: changed by others
    (update,), (iterate,) = rounding.updates([param], [found], [jnp.full(3, 0.25)], done=jnp.asarray(False))
    np.testing.assert_array_equal(iterate, found + 0.25)
    np.testing.assert_array_equal(param + update, iterate.astype(dtype))
    (update,), _ = rounding.updates([param], [found], [jnp.zeros(3)], done=jnp.asarray(True))
    np.testing.assert_array_equal(update, jnp.zeros(3, dtype))


def test_half_precision_cannot_hold_what_wide_parameters_can() -> None:
    points = [jnp.array([1.0, 1e5])]
    held = [
        bool(rounding.overflows(points, [jnp.zeros(2, dtype)]))
        for dtype in (jnp.float16, jnp.bfloat16, jnp.float32)
    ]
    assert held == [True, False, False]


def test_what_rounds_to_zero_is_not_lost() -> None:
    """XLA writes 0 for what is below the smallest normal number: steps of 1e-6 add up all the same."""
    (found,) = rounding.points([jnp.zeros(2, jnp.float16)], [jnp.array([7.6e-6, -1e-3])])
    np.testing.assert_array_equal(found, jnp.array([7.6e-6, 0.0]))  # -1e-3: changed by others


def test_an_update_that_half_precision_cannot_hold_leads_part_of_the_way() -> None:
    param = jnp.array([-60000.0, 1.0], jnp.float16)
    point = param.astype(jnp.float32)
    (update,), _ = rounding.updates([param], [point], [jnp.array([120000.0, 1.0])], done=jnp.asarray(False))
    np.testing.assert_array_equal(param + update, jnp.array([5504.0, 2.0], jnp.float16))
