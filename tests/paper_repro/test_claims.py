"""Every script holds in its quick form, and fails with a solver that is wrong."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest

import pfopt
from experiments.methods.lane import run_sgd
from paper_repro import convex_suite, limits, schedule_agreement
from paper_repro.__main__ import NAMES, load


@pytest.mark.parametrize("name", NAMES)
def test_claim_holds(name: str, tmp_path: Path) -> None:
    row = load(name).check(quick=True, pictures=tmp_path)
    assert row.finding.holds, f"expected {row.finding.expected}, measured {row.finding.measured}"
    assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_scripts_are_the_claims_of_the_list() -> None:
    scripts = {
        path.stem for path in Path(limits.__file__).parent.glob("*.py") if "CLAIM = " in path.read_text()
    }
    assert scripts - {"__main__"} == set(NAMES)
    assert [load(name).number for name in NAMES] == list(range(1, 11))
    assert [load(name).name for name in NAMES] == list(NAMES)


def elsewhere(*arguments: Any, **options: Any) -> pfopt.Result:
    """A solver that returns a point far from its run."""
    result = pfopt.minimize(*arguments, **options)
    return result._replace(x=result.x + 10.0)


def dearer(oracle: Any, x0: Any, budget: int, *, initial_step: float, **options: Any) -> pfopt.Result:
    """A solver whose cost grows with the logarithm of the range, not with its logarithm's logarithm."""
    share = 1.0
    while share * initial_step < 1:
        initial_step, budget = 2 * initial_step, budget - budget // 16
    return pfopt.minimize(oracle, x0, max(budget, 16), initial_step=initial_step, **options)


def uncounted(*arguments: Any, **options: Any) -> pfopt.Result:
    """A solver that forgets one gradient."""
    result = pfopt.minimize(*arguments, **options)
    return result._replace(gradients=result.gradients - 1)


def idle(oracle: Any, x0: Any, budget: int, **options: Any) -> pfopt.Result:
    """A solver that gives up at once."""
    return pfopt.minimize(oracle, x0, 8, **options)


def clairvoyant(oracle: Any, x0: Any, budget: int, **options: Any) -> pfopt.Result:
    """A solver that knows which of the two problems it was given."""
    return pfopt.minimize(oracle, x0, 16)._replace(x=x0 + float(oracle is limits.far))


@pytest.mark.parametrize(
    ("name", "solver"),
    [
        ("nonsmooth_rate", elsewhere),
        ("cost_of_range", dearer),
        ("budget", uncounted),
        ("localisation", elsewhere),
        ("fast_rates", idle),
        ("high_probability", idle),
        ("linear_decay_certificate", elsewhere),
        ("limits", clairvoyant),
    ],
)
def test_wrong_solver_is_caught(name: str, solver: Any) -> None:
    assert not load(name).measure(solver, True).holds


def test_learning_rate_that_is_too_small_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    timid = partial(run_sgd, learning_rate=1e-6)
    monkeypatch.setattr(convex_suite, "METHODS", dict.fromkeys(convex_suite.METHODS, timid))
    assert not load("convex_suite").measure(pfopt.minimize, True).holds


def test_wrong_bound_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    right = schedule_agreement.optimum
    monkeypatch.setattr(schedule_agreement, "optimum", lambda factor: right(factor**1.1))
    assert not load("schedule_agreement").measure(pfopt.minimize, True).holds
