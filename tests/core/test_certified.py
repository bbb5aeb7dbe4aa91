"""What comes after a probe of the certified plan."""

from typing import Any

import numpy as np
import pytest

import pfopt
from pfopt import options
from pfopt.core import bisection, controller
from pfopt.core.records import Outcome, Phase, Run, Slot, Stage, State, Transition
from tests.core.runs import ended, place

TOTAL = 64


def probe(state: State, accepted: bool, **fields: Any) -> Run:
    """A probe of the state's length that moved twice as far as its certificate asks for, or half as far."""
    length, step_size = int(state.run_length), state.initial_step * 2.0 ** int(state.bracket.exponent)
    asked = 3.0 * length * step_size**2
    return ended(length, 1.0, asked * (4.0 if accepted else 0.25), **fields)


def search(
    *answers: bool, total: int = TOTAL, last: dict[str, Any] | None = None
) -> tuple[State, Transition]:
    """After probes that are certified or not; ``last`` are fields of the last one."""
    config = options.configure(pfopt.Certified(), total)
    state, transition = controller.init(config, 0, np, 1.0), None
    for count, accepted in enumerate(answers, 1):
        assert state.phase == Phase.SEARCH
        fields = last or {}
        state, transition = controller.finish(
            config, state, probe(state, accepted, **(fields if count == len(answers) else {}))
        )
    assert transition is not None
    return state, transition


def seen(state: State) -> tuple[Any, ...]:
    return state.phase, state.outcome, state.output


def test_the_first_probes() -> None:
    state, transition = search(False)
    assert seen(state) == (Phase.SEARCH, Outcome.RUNNING, Slot.ANCHOR)
    assert transition == (False, Slot.HI, False)
    assert place(state.bracket) == (Stage.FLOOR, 2, 0)
    assert (state.run_length, state.spent) == (16, 16)
    state, transition = search(False, True)
    assert seen(state) == (Phase.SEARCH, Outcome.RUNNING, Slot.LO)
    assert transition == (True, Slot.LO, False)
    assert (place(state.bracket), state.run_length) == ((Stage.BISECT, 2, 2), 16)


def test_the_best_point_known_is_that_at_lo_however_small_gradients_are() -> None:
    assert search(False, True, last={"grad_sq_sum": np.float64(1e-9)})[0].output == Slot.LO
    assert search(False, True, False)[0].output == Slot.LO


def test_a_wider_range_has_shorter_probes() -> None:
    state, transition = search(True)
    assert (state.phase, state.outcome) == (Phase.SEARCH, Outcome.RUNNING)
    assert transition.accepted
    assert (place(state.bracket), state.run_length) == ((Stage.RAISE, 4, 16), 8)
    state, _ = search(True, True)
    assert (place(state.bracket), state.run_length) == ((Stage.RAISE, 8, 256), 4)


@pytest.mark.parametrize("answers", [(True,), (True, True), (True, True, True)])
def test_a_range_that_is_exhausted_returns_the_anchor(answers: tuple[bool, ...]) -> None:
    state, transition = search(*answers, total=8 * 2 ** len(answers) - 1)
    assert seen(state) == (Phase.DONE, Outcome.RANGE_EXHAUSTED, Slot.ANCHOR)
    assert transition == (True, Slot.ANCHOR, False)


def test_a_lower_exit_returns_the_run_at_the_initial_step() -> None:
    state, transition = search(False, False)
    assert seen(state) == (Phase.DONE, Outcome.LOWER_EXIT, Slot.LO)
    assert transition == (False, Slot.LO, False)


@pytest.mark.parametrize("last", [{"frozen": True}, {"nonfinite_in_a_row": 1}])
def test_a_run_that_met_what_is_not_finite_is_never_returned(last: dict[str, Any]) -> None:
    state, transition = search(False, True, last=last)
    assert seen(state) == (Phase.DONE, Outcome.LOWER_EXIT, Slot.ANCHOR)
    assert not transition.accepted
    state, _ = search(False, True, False, True, last=last)
    assert seen(state) == (Phase.DONE, Outcome.CERTIFIED, Slot.LO)


def test_the_bisection_returns_lo_or_hi() -> None:
    """hi where its certificate holds with the displacement of lo: 3 · 16 · 2² · η² here, against 4 times that of lo."""
    state, transition = search(False, True, False, False)
    assert seen(state) == (Phase.DONE, Outcome.CERTIFIED, Slot.HI)
    assert transition == (False, Slot.HI, False)
    assert (state.bracket.lo, state.bracket.hi) == (0, 1)
    louder = {"grad_sq_sum": np.float64(16.1)}
    state, _ = search(False, True, False, False, last=louder)
    assert seen(state) == (Phase.DONE, Outcome.CERTIFIED, Slot.LO)
    state, transition = search(False, True, True, True)
    assert seen(state) == (Phase.DONE, Outcome.CERTIFIED, Slot.HI)
    assert transition == (True, Slot.LO, False)
    assert (state.bracket.lo, state.bracket.hi) == (3, 4)


def test_bisection_tells_what_is_preferred(monkeypatch: pytest.MonkeyPatch) -> None:
    for wins in (False, True):
        monkeypatch.setattr(bisection, "prefers_hi", lambda *_, wins=wins: wins)
        assert search(False, True, False, False)[0].output == (Slot.HI if wins else Slot.LO)
