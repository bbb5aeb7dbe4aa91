"""Whether a run has made progress, and what is said of one that has not."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import pfopt
from pfopt import options, status
from pfopt.core import controller, progress
from pfopt.core.records import Outcome, Phase, Run, Slot, State
from tests.core.runs import fresh

PROBE, MAIN = 16, 400
Draw = Callable[[Any, int], NDArray[np.float64]]


def told(losses: Any, gamma: float) -> Run:
    run = fresh()
    for loss in losses:
        run = progress.record_loss(run, float(loss), True, gamma)
    return run


def after(early: Any, **fields: Any) -> State:
    """A state in the main run, after a probe of these losses was selected."""
    run, state = told(early, 0.0), controller.init(options.configure(pfopt.Practical(), 1000), 0, np)
    bracket = state.bracket._replace(
        lo_loss_mean=run.loss_mean, lo_loss_change=run.loss_change, lo_loss_count=run.loss_count
    )
    state = state._replace(phase=Phase.MAIN, outcome=Outcome.CERTIFIED, bracket=bracket)
    return state._replace(**fields)


def verdict(early: Any, late: Any, **fields: Any) -> Outcome:
    return progress.outcome(after(early, **fields), told(late, progress.LATE_GAMMA))


@pytest.mark.parametrize(
    "draw",
    [lambda rng, count: rng.standard_normal(count), lambda rng, count: rng.random(count)],
)
def test_a_run_at_its_first_loss_is_seldom_called_certified(draw: Draw) -> None:
    rng = np.random.default_rng(7)
    found = [verdict(draw(rng, PROBE), draw(rng, MAIN)) for _ in range(400)]
    assert found.count(Outcome.CERTIFIED) <= 4 + 3 * 2  # 1 %, and three deviations of that count


@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e200])
def test_a_run_that_falls_by_two_deviations_is_certified(scale: float) -> None:
    rng = np.random.default_rng(8)
    for _ in range(50):
        early, late = rng.standard_normal(PROBE), rng.standard_normal(MAIN)
        assert verdict(scale * early, scale * (late - 2)) == Outcome.CERTIFIED
        assert verdict(scale * early, scale * (late + 2)) == Outcome.NO_PROGRESS


def test_exact_losses_need_only_fall() -> None:
    assert verdict([2.0] * PROBE, [1.9] * MAIN) == Outcome.CERTIFIED
    assert verdict([2.0] * PROBE, [2.0] * MAIN) == Outcome.NO_PROGRESS


@pytest.mark.parametrize(
    "fields",
    [
        {"phase": Phase.SEARCH},
        {"phase": Phase.DONE, "output": Slot.LO},
        {"outcome": Outcome.NO_SIGNAL},
    ],
)
def test_other_ends_say_what_they_said(fields: dict[str, Any]) -> None:
    state = after([1.0] * PROBE, **fields)
    assert progress.outcome(state, told([2.0] * MAIN, 3.0)) == state.outcome


def test_without_losses_nothing_is_said() -> None:
    assert verdict([], [2.0] * MAIN) == Outcome.CERTIFIED
    assert verdict([1.0] * PROBE, []) == Outcome.CERTIFIED
    assert verdict([1.0] * PROBE, [2.0] * (progress.FEWEST - 1)) == Outcome.CERTIFIED
    assert verdict([1.0] * PROBE, [2.0] * progress.FEWEST) == Outcome.NO_PROGRESS


@pytest.mark.parametrize("output", [Slot.AVERAGE, Slot.LAST])
def test_it_is_said_when_all_is_over(output: Slot) -> None:
    state = after([1.0] * PROBE, phase=Phase.DONE, output=output)
    said = status.message(state, told([1.0] * MAIN, 3.0))
    assert said == Outcome.NO_PROGRESS.message
    assert "certified" not in Outcome.NO_PROGRESS.message.replace("A step size was certified, but", "")


def valued(fall: float) -> Callable[[NDArray[np.float64]], Any]:
    """Least squares of which the loss that is told is another, which falls by a share only."""
    draw = np.random.default_rng(3)

    def oracle(x: NDArray[np.float64]) -> Any:
        return fall * float(x @ x) + draw.standard_normal(), x + 0.1 * draw.standard_normal(x.shape)

    return oracle


def test_minimize_says_it() -> None:
    x0 = np.full(4, 3.0)
    assert pfopt.minimize(valued(1.0), x0, 1000).outcome is Outcome.CERTIFIED
    assert pfopt.minimize(valued(0.0), x0, 1000).outcome is Outcome.NO_PROGRESS
    assert pfopt.minimize(lambda x: valued(0.0)(x)[1], x0, 1000).outcome is Outcome.CERTIFIED
