"""The checks of `python -m tests.theory_checks` at reduced size."""

import numpy as np
import pytest

from tests.reference.algorithm1 import algorithm1
from tests.reference.outcome import Outcome
from tests.reference.subject import by_pfopt
from tests.theory_checks import CHECKS, Check


@pytest.mark.parametrize("number", CHECKS)
def test_pfopt(number: int) -> None:
    check = CHECKS[number](by_pfopt, False)
    assert check.holds, f"{check.claim}: {check.measured}"


@pytest.mark.parametrize("number", [1, 4, 5, 6, 10, 11])
def test_literal_algorithm(number: int) -> None:
    """The oracle itself passes: a check that fails on both is wrong."""
    check = CHECKS[number](algorithm1, False)
    assert check.holds, f"{check.claim}: {check.measured}"


def test_every_check_of_the_list_is_there() -> None:
    assert list(CHECKS) == [*range(1, 14), 16]
    assert all(check.__annotations__["return"] is Check for check in CHECKS.values())


def too_long(oracle, x0: np.ndarray, B: int, eta_eps: float, **options) -> Outcome:
    """A solver that takes a step size 64 times as long as it certified."""
    outcome = algorithm1(oracle, x0, B, 64 * eta_eps, **options)
    probes = [probe._replace(eta=probe.eta / 64) for probe in outcome.probes]
    return outcome._replace(probes=probes)


def too_generous(oracle, x0: np.ndarray, B: int, eta_eps: float, **options) -> Outcome:
    """A solver with another constant in its certificate than it was asked for."""
    return algorithm1(oracle, x0, B, eta_eps, **{**options, "alpha": options.get("alpha", 3.0) / 64})


def too_expensive(oracle, x0: np.ndarray, B: int, eta_eps: float, **options) -> Outcome:
    """A solver that counts one call more than it was given."""
    outcome = algorithm1(oracle, x0, B, eta_eps, **options)
    return outcome._replace(calls=outcome.calls + 1)


def biased(oracle, x0: np.ndarray, B: int, eta_eps: float, **options) -> Outcome:
    """A solver that returns a point far from its run."""
    outcome = algorithm1(oracle, x0, B, eta_eps, **options)
    return outcome._replace(point=outcome.point + 10.0)


@pytest.mark.parametrize(
    ("number", "solver"),
    [
        (1, too_expensive),
        (4, too_long),
        (5, biased),
        (6, too_generous),
        (7, biased),
        (8, biased),
        (9, too_long),
        (10, biased),
        (11, biased),
        (12, too_generous),
        (13, too_generous),
        (16, biased),
    ],
)
def test_a_wrong_solver_is_caught(number: int, solver) -> None:
    assert not CHECKS[number](solver, False).holds
