"""The beginning of a search, and where the point to deploy is."""

from typing import Any

import numpy as np
import pytest

import pfopt
from pfopt import options
from pfopt.core import bisection, controller
from pfopt.core.records import Outcome, Phase, Slot, Stage, State
from tests.core.runs import ended


@pytest.mark.parametrize("initial_step", [None, 0.25])
@pytest.mark.parametrize(
    ("plan", "stage", "length"), [(pfopt.Certified(), Stage.RAISE, 100), (pfopt.Practical(), Stage.START, 16)]
)
def test_the_state_before_the_first_gradient(
    plan: Any, stage: Stage, length: int, initial_step: float | None
) -> None:
    config = options.configure(plan, 400)
    for scopes in (0, 2):
        state = controller.init(config, scopes, np, initial_step)
        bracket = bisection.begin(stage, scopes, np)
        np.testing.assert_array_equal(state.bracket.lo_distance_sq, bracket.lo_distance_sq, strict=True)
        assert state._replace(bracket=bracket._replace(lo_distance_sq=0)) == State(
            phase=Phase.SEARCH,
            outcome=Outcome.RUNNING,
            budget_doublings=0,
            spent=0,
            run_length=length,
            bracket=bracket._replace(lo_distance_sq=0),
            probe_length=length,
            has_initial_step=initial_step is not None,
            initial_step=initial_step or 0.0,
            noise_known=False,
            noise_sq=0.0,
            cap_exponent=0,
            output=Slot.ANCHOR,
        )
        assert bracket.exponent == (4 if stage == Stage.RAISE else 0)


@pytest.mark.parametrize("plan", [pfopt.Certified(), pfopt.Practical()])
def test_a_finished_run_is_spent(plan: Any) -> None:
    config = options.configure(plan, 400)
    state = controller.init(config, 0, np, 1.0)._replace(spent=7)
    after, _ = controller.finish(config, state, ended(int(state.run_length), 1.0, 1.0))
    assert after.spent == 7 + state.run_length


@pytest.mark.parametrize(
    ("plan", "output", "expected"),
    [
        (pfopt.Certified(), Slot.LO, {Phase.SEARCH: Slot.LO, Phase.DONE: Slot.LAST}),
        (pfopt.Certified(), Slot.ANCHOR, {Phase.SEARCH: Slot.ANCHOR, Phase.DONE: Slot.LAST}),
        (
            pfopt.Practical(),
            Slot.LO,
            {Phase.SEARCH: Slot.ANCHOR, Phase.MAIN: Slot.AVERAGE, Phase.DONE: Slot.LAST},
        ),
        (
            pfopt.Practical(anneal="linear"),
            Slot.LO,
            {Phase.SEARCH: Slot.ANCHOR, Phase.MAIN: Slot.LAST, Phase.DONE: Slot.LAST},
        ),
    ],
)
def test_where_the_point_to_deploy_is(plan: Any, output: Slot, expected: dict[Phase, Slot]) -> None:
    """At the end the parameters hold it."""
    config = options.configure(plan, 400)
    state = controller.init(config, 0, np)._replace(output=output)
    for phase, slot in expected.items():
        assert controller.deployed_slot(config, state._replace(phase=phase)) == slot
