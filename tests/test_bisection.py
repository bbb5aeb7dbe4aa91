"""The bracket of plan "train" where probes are silent: too short for their noise."""

from __future__ import annotations

from typing import Any

import numpy as np

from pfopt.search import bisection, plan, tracking
from pfopt.search.bisection import BISECT, LOWER, START
from pfopt.search.state import Bracket, Config, Phase, Run, State

CONFIG = plan.configure(8000, "train", "linear")


def ended(length: int, mean_sq: float, distance_sq: float) -> Run:
    """A probe of ``length`` gradients, of that mean ‖g‖² and r̄²."""
    run = tracking.begin(0, np.float64, np)
    squares, distances = np.asarray([length * mean_sq]), np.asarray([distance_sq])
    return run._replace(step=length, grad_sq=squares, distance_sq=distances)


def after(state: State, mean_sq: float, certified: bool, config: Config = CONFIG) -> State:
    """The state after a probe that moved twice as far as its certificate asks for, or half as far."""
    step, length = float(plan.step_size(state)), int(state.run_length)
    asked = config.alphas[0] * length * mean_sq * step**2
    return plan.finish(config, state, ended(length, mean_sq, asked * (4.0 if certified else 0.25)))[0]


def seen(bracket: Bracket) -> tuple[Any, ...]:
    return int(bracket.branch), int(bracket.k), int(bracket.exponent)


def test_a_silent_guess_is_tested_again_with_longer_probes() -> None:
    state = plan.init(CONFIG)._replace(initial_step=1.0)
    length = state.run_length
    state = after(after(state, 1.0, certified=False), 1.0, certified=False)
    assert seen(state.bracket) == (START, 2, 0)
    assert state.run_length == state.probe_length == plan.LENGTHEN * length


def test_below_a_step_that_is_too_large_silence_goes_on_in_the_middle() -> None:
    """2^0 meets gradients ten times as large as 2^-4, so it is too large; 2^-16 the same as 2^-4: silence."""
    state = plan.init(CONFIG)._replace(initial_step=1.0)
    length = state.run_length
    for mean_sq in (10.0, 1.0, 1.0):
        state = after(state, mean_sq, certified=False)
    assert seen(state.bracket) == (LOWER, 2, -10)
    assert state.run_length == state.probe_length == plan.LENGTHEN * length
    assert state.bracket.hi_grad_sq == plan.LENGTHEN * length * 1.0
    bisected = after(state, 1.0, certified=True)
    assert seen(bisected.bracket)[::2] == (BISECT, -7)
    assert bisected.bracket.lo == -10
    assert bisected.bracket.hi == -4
    lower = after(state, 0.1, certified=False)  # far smaller gradients than at 2^-4: too large still
    assert seen(lower.bracket) == (LOWER, 4, -16)
    assert lower.bracket.hi == -10
    louder = after(state, 1.0, certified=False)  # silent again
    assert seen(louder.bracket) == (LOWER, 2, -7)
    assert bisection.is_silent(louder.bracket, False, ended(16 * length, 1.0, 0.0))


def test_longer_probes_may_spend_less_of_the_budget() -> None:
    """Six probes of the first length fit into the search; of the longer ones, only what fits into an eighth."""
    config = plan.configure(1000, "train", "linear")
    state = plan.init(config)._replace(initial_step=1.0)
    length = int(state.run_length)
    for certified in (False, False, True):
        state = after(state, 1.0, certified, config)
    assert int(state.spent) == (2 + plan.LENGTHEN) * length
    assert state.phase == Phase.TRAIN
    assert state.bracket.lo == 0
