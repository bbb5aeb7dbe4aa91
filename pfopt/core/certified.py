"""The certified plan: Algorithm 1 as it stands. What comes after a probe."""

from pfopt.core import bisection, budget
from pfopt.core.arrays import negated, where
from pfopt.core.config import Config
from pfopt.core.records import Outcome, Phase, Run, Slot, Stage, State, Transition
from pfopt.core.run import is_clean


def finish(config: Config, state: State, run: Run) -> tuple[State, Transition]:
    """The state after a probe; the output of one of the probes is returned."""
    before = state.bracket
    accepted = bisection.accepts(config, before, run, state.initial_step)
    bracket = bisection.advance_algorithm_1(config, before, accepted, run)
    exhausted = (before.stage == Stage.RAISE) & accepted  # where the search ends with it
    floored = (before.stage == Stage.FLOOR) & negated(accepted)
    ended = bracket.stage == Stage.END
    hi_wins = bisection.prefers_hi(config, bracket, state.initial_step)
    nothing = exhausted | (
        floored & negated(is_clean(run))
    )  # a run that met what is not finite is never returned
    output = where(nothing, Slot.ANCHOR, where(floored | negated(hi_wins), Slot.LO, Slot.HI))
    outcome = where(exhausted, Outcome.RANGE_EXHAUSTED, where(floored, Outcome.LOWER_EXIT, Outcome.CERTIFIED))
    state = state._replace(
        phase=where(ended, Phase.DONE, Phase.SEARCH),
        outcome=where(ended, outcome, Outcome.RUNNING),
        bracket=bracket,
        run_length=budget.certified_probe_length(config.total_steps, bracket.k),
        output=where(ended, output, where(bracket.lo_grad_sq_sum > 0, Slot.LO, Slot.ANCHOR)),
    )
    keep = where(exhausted, Slot.ANCHOR, where(accepted | floored, Slot.LO, Slot.HI))
    return state, Transition(accepted, keep, False)
