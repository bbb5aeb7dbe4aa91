"""The practical plan: short probes, then one main run. What comes after each of them.

    search      Probes of probe_length(B) gradients bisect the largest certified step size. Where they show no signal
                (a small step is certified only after (alpha − 1) E‖g‖²/‖∇f‖² gradients) they are lengthened.
    main run    One run with capped certificate tracking (``main_run``). Its average is returned, or its last iterate
                where steps decay.

Where the horizon is unknown the main run has no end, unless its steps decay: then budgets double, and each stage goes
on from the point that the last one returned.
"""

from pfopt.core import averaging, bisection, budget
from pfopt.core.arrays import Flag, choose, count_scopes, doublings, namespace, negated, where, whole
from pfopt.core.config import Config
from pfopt.core.records import Outcome, Phase, Run, Slot, Stage, State, Transition

NO_CAP = 64  # doublings above the initial step size, where the search found no bound


def finish(config: Config, state: State, run: Run) -> tuple[State, Transition]:
    """The state after a run of either kind."""
    searched = state.phase == Phase.SEARCH
    after_probe, accepted = _finish_probe(config, state, run)
    returned = Slot.AVERAGE if config.returns_average else Slot.LAST
    following = choose(searched, after_probe, state._replace(phase=Phase.DONE, output=returned))
    reanchor = (following.phase == Phase.DONE) & config.stages
    if config.stages:
        following = choose(reanchor, _next_stage(config, following), following)
    return following, Transition(accepted & searched, Slot.ANCHOR, reanchor)


def _finish_probe(config: Config, state: State, run: Run) -> tuple[State, Flag]:
    xp, before = namespace(run.grad_sq_sum), state.bracket
    has_signal = whole(run.grad_sq_sum) > 0  # otherwise the gradients say nothing, and the probe is run again
    accepted = has_signal & bisection.accepts(config, before, run, state.initial_step)
    bracket = choose(has_signal, bisection.advance_from_guess(before, accepted, run), before)
    state = state._replace(bracket=bracket)
    if config.interpolates and not config.unknown_horizon:  # a decay needs an end, and others decay anyway
        known, found = averaging.noise_sq(run, doublings(state.initial_step, before.exponent))
        first = has_signal & (before.stage == Stage.START)
        state = state._replace(
            noise_known=where(first, known, state.noise_known),
            noise_sq=where(first & known, found, state.noise_sq),
        )

    noise = has_signal & bisection.is_noise(before, accepted, run)
    too_large = has_signal & bisection.is_too_large_throughout(before, accepted, run)
    length = budget.LENGTHENING * state.probe_length
    longer = state._replace(
        bracket=bisection.lengthened(before, budget.LENGTHENING, xp), probe_length=length, run_length=length
    )
    lower = state._replace(
        bracket=bisection.begin(Stage.START, count_scopes(run.grad_sq_sum), xp),
        initial_step=doublings(state.initial_step, before.exponent),
    )
    following = choose(noise, longer, choose(too_large, lower, state))
    found = (bracket.stage == Stage.END) & negated(noise | too_large)
    leave = found | budget.search_is_over(config, following)
    return choose(leave, _begin_main_run(config, state), following), accepted


def _begin_main_run(config: Config, state: State) -> State:
    """The main run, on what the search has left, bounded by what the search knows.

    Where no step size was certified, the smallest one that was rejected stands for it, though it may have been noise
    alone that rejected it: without a bound the main run takes steps that are too large indeed.
    """
    bracket = state.bracket
    left = budget.stage_steps(config, state) - state.spent
    return state._replace(
        phase=Phase.MAIN,
        outcome=where(bracket.has_lo, Outcome.CERTIFIED, Outcome.NO_SIGNAL),
        cap_exponent=where(bracket.has_lo, bracket.lo, bracket.hi)
        + where(bracket.has_hi, config.constants.cap, NO_CAP),
        run_length=budget.ENDLESS if config.endless else left,
    )


def _next_stage(config: Config, state: State) -> State:
    """Twice the budget, from the point just returned; its search starts at the step size last selected."""
    bracket = state.bracket
    doubled = state._replace(budget_doublings=state.budget_doublings + 1)
    length = budget.probe_length(budget.stage_steps(config, doubled))
    selected = doublings(state.initial_step, bracket.lo)
    return doubled._replace(
        phase=Phase.SEARCH,
        spent=0,
        run_length=length,
        probe_length=length,
        bracket=bisection.begin(
            Stage.START, count_scopes(bracket.lo_distance_sq), namespace(bracket.lo_distance_sq)
        ),
        initial_step=where(bracket.has_lo, selected, state.initial_step),
    )
