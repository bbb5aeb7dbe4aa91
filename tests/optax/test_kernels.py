"""The mathematics on lists of leaves."""

import doctest
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import pfopt.optax.transform
from pfopt.optax import kernels

LEAVES = [jnp.array([3.0, 4.0]), jnp.array([[1.0 + 2.0j]])]


def test_norms() -> None:
    np.testing.assert_allclose(kernels.norms_sq(LEAVES, "global", jnp.float32), [30.0])
    np.testing.assert_allclose(kernels.norms_sq(LEAVES, "auto", jnp.float32), [30.0, 25.0, 5.0])
    np.testing.assert_allclose(kernels.norms_sq([], "auto", jnp.float32), [0.0])
    np.testing.assert_allclose(kernels.distances_sq(LEAVES, LEAVES, "tensor", jnp.float32), [0.0, 0.0, 0.0])


@pytest.mark.parametrize(("scope", "factors"), [("global", (2, 2)), ("tensor", (1, 3)), ("auto", (2, 3))])
def test_moves(scope: str, factors: tuple[int, int]) -> None:
    moved = kernels.moves(LEAVES, kernels.own_steps(jnp.array([2.0, 1.0, 3.0]), scope, len(LEAVES)))
    for leaf, new, factor in zip(LEAVES, moved, factors, strict=True):
        assert new.dtype == leaf.dtype
        np.testing.assert_allclose(new, -factor * leaf)


def test_lerp_is_exact_at_both_ends() -> None:
    old, new = jnp.array([0.1, 1e30]), jnp.array([0.3, 1.0])
    np.testing.assert_array_equal(kernels.lerp(old, new, jnp.float32(1)), new)
    np.testing.assert_array_equal(kernels.lerp(old, jnp.full(2, jnp.nan), jnp.float32(0)), old)
    np.testing.assert_allclose(kernels.lerp(old, new, jnp.float32(0.25))[0], 0.15)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_the_iterate_behind_half_precision(dtype: Any) -> None:
    param = jnp.array([1.0, 1.0, -3.0], dtype)
    kept = jnp.array([1.0 + 1e-4, 1.5, -3.0])
    (found,) = kernels.iterates([param], [kept])
    np.testing.assert_array_equal(found, jnp.array([1.0 + 1e-4, 1.0, -3.0]))  # 1.5: changed by others
    (update,) = kernels.updates([param], [found], [jnp.full(3, 0.25)], done=jnp.asarray(False))
    np.testing.assert_array_equal(param + update, (found + 0.25).astype(dtype))
    (update,) = kernels.updates([param], [found], [jnp.zeros(3)], done=jnp.asarray(True))
    np.testing.assert_array_equal(update, jnp.zeros(3, dtype))


def test_half_precision_cannot_hold_what_wide_parameters_can() -> None:
    points = [jnp.array([1.0, 1e5])] * 3
    params = [jnp.zeros(2, jnp.float16), jnp.zeros(2, jnp.bfloat16), jnp.zeros(2)]
    reach = [kernels.holdable(jnp.square(x), x, param) for x, param in zip(points, params, strict=True)]
    assert [bool(jnp.isfinite(leaf).all()) for leaf in reach] == [False, True, True]
    reaches_sq = kernels.reaches_sq(points, [jnp.zeros(2)] * 3, params, jnp.float32)
    np.testing.assert_allclose(reaches_sq, [jnp.inf, 1e10, 1e10])


def test_examples_of_the_docstrings() -> None:
    outcome = doctest.testmod(pfopt.optax.transform)
    assert outcome.attempted > 5
    assert outcome.failed == 0


def test_interpolation_and_back() -> None:
    share = jnp.asarray(2 / 3)
    for leaf in LEAVES:
        point = kernels.mix(leaf, leaf + 1, share)
        np.testing.assert_allclose(point, leaf + 2 / 3, rtol=1e-6)
        np.testing.assert_allclose(kernels.mix(point, leaf + 1, share / (share - 1)), leaf, rtol=1e-5)
