"""What comes after a run of the practical plan."""

from typing import Any

import numpy as np
import pytest

import pfopt
from pfopt import options
from pfopt.core import bisection, budget, controller, practical
from pfopt.core.config import Config
from pfopt.core.records import Outcome, Phase, Run, Slot, Stage, State, Transition
from tests.core.runs import ended, place

CONFIG = options.configure(pfopt.Practical(), 8000)
FIRST = 40  # gradients of a first probe


def begin(config: Config = CONFIG, scopes: int = 0) -> State:
    return controller.init(config, scopes, np, 1.0)


def finish(state: State, run: Run, config: Config = CONFIG) -> tuple[State, Transition]:
    return controller.finish(config, state, run)


def probe(state: State, mean_sq: float, accepted: bool, **fields: Any) -> Run:
    """A probe that moved twice as far as its certificate asks for, or half as far."""
    length, step_size = int(state.run_length), state.initial_step * 2.0 ** int(state.bracket.exponent)
    asked = 1.5 * length * mean_sq * step_size**2
    return ended(length, mean_sq, asked * (4.0 if accepted else 0.25), **fields)


def search(*probes: tuple[float, bool], config: Config = CONFIG) -> State:
    """After probes of these mean ‖g‖², certified or not."""
    state = begin(config)
    for mean_sq, accepted in probes:
        assert state.phase == Phase.SEARCH
        state, transition = finish(state, probe(state, mean_sq, accepted), config)
        assert transition == (accepted, Slot.ANCHOR, False)
    return state


def test_probes_are_of_one_length_and_spend_the_budget() -> None:
    state = search((1.0, True), (9.0, False), (1.0, True))
    assert place(state.bracket) == (Stage.BISECT, 2, 3)
    assert (state.spent, state.run_length, state.probe_length) == (3 * FIRST, FIRST, FIRST)
    assert (state.phase, state.outcome) == (Phase.SEARCH, Outcome.RUNNING)


# noise


def test_a_guess_that_is_noise_is_tested_again_with_longer_probes() -> None:
    state = search((1.0, False), (1.0, False))
    assert place(state.bracket) == (Stage.START, 2, 0)
    assert state.run_length == state.probe_length == 4 * FIRST
    assert state.initial_step == 1.0


def test_below_a_step_that_is_too_large_noise_goes_on_in_the_middle() -> None:
    """2^0 meets gradients ten times as large as 2^-4, so it is too large; 2^-16 the same as 2^-4: noise."""
    state = search((10.0, False), (1.0, False), (1.0, False))
    assert place(state.bracket) == (Stage.LOWER, 2, -10)
    assert state.run_length == state.probe_length == 4 * FIRST
    assert state.bracket.hi_grad_sq_sum == 4 * FIRST * 1.0
    bisected, _ = finish(state, probe(state, 1.0, True))
    assert place(bisected.bracket)[::2] == (Stage.BISECT, -7)
    assert (bisected.bracket.lo, bisected.bracket.hi) == (-10, -4)
    lower, _ = finish(state, probe(state, 0.1, False))  # far smaller gradients than at 2^-4: too large still
    assert place(lower.bracket) == (Stage.LOWER, 4, -16)
    assert lower.bracket.hi == -10
    longer, _ = finish(state, probe(state, 1.0, False))  # noise again
    assert place(longer.bracket) == (Stage.LOWER, 2, -7)
    assert longer.probe_length == 16 * FIRST


def test_longer_probes_may_spend_less_of_the_budget() -> None:
    """Six probes of the first length fit into the search; of the longer ones, only what fits into an eighth."""
    config = options.configure(pfopt.Practical(), 1000)
    state = search((1.0, False), (1.0, False), (1.0, True), config=config)
    assert state.spent == (2 + 4) * 16
    assert state.phase == Phase.MAIN
    assert (state.bracket.has_lo, state.bracket.lo) == (True, 0)


# a guess far too large, and probes that say nothing


def test_a_guess_that_is_too_large_throughout_comes_down() -> None:
    state = search((4.0**9, False), (4.0**8, False), (4.0**7, False))
    assert place(state.bracket) == (Stage.LOWER, 8, -256)
    state, transition = finish(state, probe(state, 1.0, False))
    assert state.initial_step == 2.0**-256
    assert state.bracket == begin().bracket
    assert state.phase == Phase.SEARCH
    assert state.probe_length == FIRST
    assert not transition.accepted


@pytest.mark.parametrize("fields", [{}, {"frozen": True}])
def test_a_probe_of_zeros_is_run_again(fields: dict[str, Any]) -> None:
    before = search((1.0, True))
    state, transition = finish(before, ended(FIRST, 0.0, 0.0, **fields))
    assert state == before._replace(spent=2 * FIRST)
    assert transition == (False, Slot.ANCHOR, False)


def test_a_search_of_zeros_ends_where_its_share_is_spent() -> None:
    state = begin()
    while state.phase == Phase.SEARCH:
        state, _ = finish(state, ended(FIRST, 0.0, 0.0))
    assert (state.spent, state.outcome, state.cap_exponent) == (2000, Outcome.NO_SIGNAL, practical.NO_CAP)
    assert state.run_length == 8000 - 2000


# the beginning of the main run


def test_the_main_run_begins_with_what_the_search_found_and_left() -> None:
    state = search((1.0, True), (9.0, False), (1.0, True), (9.0, False))
    assert (state.phase, state.outcome) == (Phase.MAIN, Outcome.CERTIFIED)
    assert (state.bracket.lo, state.bracket.hi, state.cap_exponent) == (2, 3, 2 + 2)
    assert (state.spent, state.run_length) == (4 * FIRST, 8000 - 4 * FIRST)
    based = options.configure(pfopt.Practical(), 8000, based=True)
    state = search((1.0, True), (9.0, False), (1.0, True), (9.0, False), config=based)
    assert state.cap_exponent == 2


def test_without_an_upper_end_there_is_no_cap() -> None:
    state = search(*[(1.0, True)] * 8)
    assert (state.phase, state.outcome) == (Phase.MAIN, Outcome.CERTIFIED)
    assert state.cap_exponent == 256 + 64


def test_without_a_lower_end_the_smallest_rejected_step_stands_for_it() -> None:
    config = options.configure(pfopt.Practical(), 400)
    state = search((100.0, False), (10.0, False), (1.0, False), config=config)
    assert state.phase == Phase.SEARCH
    while state.phase == Phase.SEARCH:
        state, _ = finish(state, ended(int(state.run_length), 0.0, 0.0), config)
    assert (state.outcome, state.cap_exponent) == (Outcome.NO_SIGNAL, -16 + 2)
    assert state.run_length + state.spent == 400


@pytest.mark.parametrize(
    ("plan", "based", "length"),
    [
        (pfopt.Practical(), False, budget.ENDLESS),
        (pfopt.Practical(anneal="averaging"), True, budget.ENDLESS),
        (pfopt.Practical(anneal="linear"), False, None),
        (pfopt.Practical(), True, None),
    ],
)
def test_where_the_horizon_is_unknown_only_a_decay_has_an_end(
    plan: Any, based: bool, length: int | None
) -> None:
    config = options.configure(plan, None, based=based)
    state = search((1.0, True), (9.0, False), (1.0, True), (9.0, False), config=config)
    assert state.phase == Phase.MAIN
    assert state.run_length == (length or 1024 - state.spent)


# noise at the anchor


def test_the_first_probe_tells_the_noise() -> None:
    """T = 40 exact gradients of norm 1: a straight line, η T long."""
    state, _ = finish(begin(), ended(FIRST, 1.0, FIRST**2 * 0.999))
    assert state.noise_known
    assert state.noise_sq == pytest.approx(0.001 * FIRST / (FIRST - 1), rel=1e-9)
    later, _ = finish(state, ended(FIRST, 1.0, 16.0**2 * FIRST**2))
    assert (later.noise_known, later.noise_sq) == (True, state.noise_sq)
    noisy, _ = finish(begin(), ended(FIRST, 1.0, FIRST**2 * 0.5))
    assert (noisy.noise_known, noisy.noise_sq) == (False, 0.0)
    silent, _ = finish(begin(), ended(FIRST, 0.0, 0.0))
    assert (silent.noise_known, silent.noise_sq) == (False, 0.0)
    half, _ = finish(begin()._replace(initial_step=0.5), ended(FIRST, 1.0, 0.25 * FIRST**2 * 0.999))
    assert half.noise_sq == pytest.approx(state.noise_sq)


def test_a_guess_tested_again_tells_it_again() -> None:
    known, _ = finish(begin()._replace(noise_known=True, noise_sq=7.0), ended(FIRST, 1.0, FIRST**2 * 0.5))
    assert (known.noise_known, known.noise_sq) == (False, 7.0)


@pytest.mark.parametrize(
    ("plan", "based", "total", "asked"),
    [
        (pfopt.Practical(), False, 8000, True),
        (pfopt.Practical(), False, None, False),
        (pfopt.Practical(anneal="linear"), False, 8000, False),
        (pfopt.Practical(anneal="averaging"), True, 8000, False),
    ],
)
def test_kinks_are_looked_for_where_nothing_else_decays_and_the_horizon_is_known(
    plan: Any, based: bool, total: int | None, asked: bool
) -> None:
    config = options.configure(plan, total, based=based)
    length = int(begin(config).run_length)
    state, _ = finish(begin(config), ended(length, 1.0, float(length**2)), config)
    assert state.noise_known == asked


# the end of the main run


@pytest.mark.parametrize(("anneal", "slot"), [("averaging", Slot.AVERAGE), ("linear", Slot.LAST)])
def test_the_end_of_the_main_run_is_the_end(anneal: Any, slot: Slot) -> None:
    config = options.configure(pfopt.Practical(anneal=anneal), 8000)
    before = search((1.0, True), (9.0, False), (1.0, True), (9.0, False), config=config)
    state, transition = finish(before, ended(int(before.run_length), 1.0, 1.0), config)
    assert state == before._replace(phase=Phase.DONE, output=slot, spent=8000)
    assert transition == (False, Slot.ANCHOR, False)


@pytest.mark.parametrize("has_lo", [False, True])
@pytest.mark.parametrize("scopes", [0, 2])
def test_stages_double_from_the_point_returned(has_lo: bool, scopes: int) -> None:
    config = options.configure(pfopt.Practical(), None, based=True)
    before = begin(config, scopes)
    bracket = before.bracket._replace(has_lo=has_lo, lo=3, hi=4, has_hi=True, stage=Stage.END)
    before = before._replace(
        phase=Phase.MAIN, spent=100, run_length=924, bracket=bracket, outcome=Outcome.CERTIFIED
    )
    run = ended(924, 1.0, 1.0)
    if scopes:
        run = run._replace(grad_sq_sum=np.ones(3), distance_sq=np.ones(3))
    state, transition = finish(before, run, config)
    assert transition == (False, Slot.ANCHOR, True)
    assert (state.phase, state.budget_doublings, state.spent) == (Phase.SEARCH, 1, 0)
    assert budget.stage_steps(config, state) == 2048
    assert state.run_length == state.probe_length == 16
    assert state.initial_step == (8.0 if has_lo else 1.0)
    assert state.output == Slot.AVERAGE
    fresh = bisection.begin(Stage.START, scopes, np)
    np.testing.assert_array_equal(state.bracket.lo_distance_sq, fresh.lo_distance_sq, strict=True)
    assert state.bracket._replace(lo_distance_sq=0) == fresh._replace(lo_distance_sq=0)
    longer = state._replace(phase=Phase.MAIN, spent=100, run_length=1948)
    third, _ = finish(longer, run, config)
    assert (third.budget_doublings, third.probe_length) == (2, 20)


def test_scopes_are_kept_where_a_search_begins_anew() -> None:
    """After a guess that came down, and after longer probes."""
    state = begin(scopes=2)
    squares = np.asarray([1.0, 2.0, 3.0])
    lowest = state.bracket._replace(stage=Stage.LOWER, k=8, exponent=-256, hi_grad_sq_sum=4.0**9)
    first = state.bracket._replace(stage=Stage.LOWER, exponent=-4)
    run = ended(FIRST, 1.0, 0.0)._replace(grad_sq_sum=squares, distance_sq=0 * squares)
    for bracket in (lowest, first):
        after, _ = finish(state._replace(bracket=bracket), run)
        assert place(after.bracket) == (Stage.START, 2, 0)
        assert after.bracket.lo_distance_sq.shape == (3,)
