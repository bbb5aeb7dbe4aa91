"""The beginning of a search, and the end of a run: nothing else changes the state but the first gradient."""

from pfopt.core import bisection, budget, certified, main_run, practical
from pfopt.core.arrays import Count, Namespace, Real, count_scopes, namespace, where
from pfopt.core.certificate import RANGES
from pfopt.core.config import Config
from pfopt.core.records import Outcome, Phase, Run, Slot, Stage, State, Transition


def init(config: Config, scopes: int, xp: Namespace, initial_step: float | None = None) -> State:
    """The state before the first gradient.

    Args:
        config: what the caller chose.
        scopes: groups or tensors that are measured beside the whole.
        xp: array namespace, of the host or jax.
        initial_step: the step size of exponent 0; None where the first gradient fixes it.
    """
    if config.certified:
        length = budget.certified_probe_length(config.total_steps, RANGES[0])
    else:
        length = budget.probe_length(config.total_steps)
    return State(
        phase=Phase.SEARCH,
        outcome=Outcome.RUNNING,
        budget_doublings=0,
        spent=0,
        run_length=length,
        bracket=bisection.begin(Stage.RAISE if config.certified else Stage.START, scopes, xp),
        probe_length=length,
        has_initial_step=initial_step is not None,
        initial_step=initial_step or 0.0,
        noise_known=False,
        noise_sq=0.0,
        cap_exponent=0,
        output=Slot.ANCHOR,
    )


def started_from(state: State, step_size: float) -> State:
    """The state before the first gradient of a search about a step size that an earlier one has found.

    It is tested first, then 2^2 of it up or down, and the wider ranges only where that is not enough. Practical plan
    only. The first gradient finds no other one: ``initial_step`` is known before ``has_initial_step`` says that an
    anchor is.
    """
    like = state.bracket.lo_distance_sq
    bracket = bisection.begin(Stage.START, count_scopes(like), namespace(like), k=1)
    return state._replace(initial_step=step_size, bracket=bracket)


def finish(config: Config, state: State, run: Run) -> tuple[State, Transition]:
    """What comes after the run that has just taken its last gradient.

    Args:
        config: what the caller chose.
        state: during the run.
        run: what it measured, ``state.run_length`` gradients of it.
    """
    state = state._replace(spent=state.spent + state.run_length)
    plan = certified if config.certified else practical
    return plan.finish(config, state, run)


def extended(config: Config, state: State, run: Run, steps: int) -> tuple[State, Real]:
    """A practical plan with so many gradients more, or fewer, and how much farther from x̄ its parameters have to be.

    A search takes what it takes, and leaves more or less to the main run. There gradients are taken at z + β (x̄ − z),
    and β rises with the share of the run that is over: the parameters move, so that z does not. A run that was
    over goes on from the point that it returned. Numbers are of the host.

    Args:
        config: what the caller chose.
        state: during a run, or after the last one.
        run: what it has measured.
        steps: gradients; some must be left afterwards.
    """
    if state.phase == Phase.SEARCH:
        return state, 1.0
    if state.phase == Phase.DONE:
        state = state._replace(phase=Phase.MAIN, spent=state.spent - state.run_length)
    longer = state._replace(run_length=state.run_length + steps)
    before, after = (main_run.beta(config, each, run) for each in (state, longer))
    return longer, (1 - after) / (1 - before)


def deployed_slot(config: Config, state: State) -> Count:
    """Where the point to deploy is: in the search the best one known, in the main run its average, if it has one."""
    in_main_run = Slot.AVERAGE if config.returns_average else Slot.LAST
    in_search = state.output if config.certified else Slot.ANCHOR
    later = where(state.phase == Phase.MAIN, in_main_run, Slot.LAST)
    return where(state.phase == Phase.SEARCH, in_search, later)
