"""The checks for optax: each finds the fault that it is about."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
import pytest

from pfopt import testing
from pfopt.testing import optax as checks


class Kept(NamedTuple):
    """A state with the parameters as they came."""

    params: Any


def keeps_parameters() -> optax.GradientTransformation:
    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        return jax.tree.map(lambda leaf: -0.05 * leaf, updates), state

    return optax.GradientTransformation(Kept, update)


def counts_in_python() -> optax.GradientTransformation:
    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        return jax.tree.map(lambda leaf: -0.05 * leaf, updates), (*state, jnp.zeros(()))

    return optax.GradientTransformation(lambda params: (), update)


def divides_by_norm() -> optax.GradientTransformation:
    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        norm = optax.tree.norm(updates)
        return jax.tree.map(lambda leaf: -0.05 * leaf / norm, updates), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


@pytest.mark.parametrize(
    ("make", "failed", "passed"),
    [
        (keeps_parameters, ["may_be_donated", "is_free_of_scale"], ["pickles", "takes_odd_shapes"]),
        (counts_in_python, ["keeps_its_structure"], []),
        (divides_by_norm, ["stays_at_zero_gradients", "survives_a_bad_batch"], ["is_free_of_scale"]),
    ],
)
def test_faults_are_found(make: Any, failed: list[str], passed: list[str]) -> None:
    wanted = [check for check in checks.CHECKS if check.__name__ in failed + passed]
    found = testing.check_transformation(make, wanted)
    assert len(found) == len(failed + passed)
    for finding in found:
        assert finding.outcome == (testing.FAILED if finding.check in failed else testing.PASSED), finding
