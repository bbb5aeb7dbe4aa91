"""How the budget is spent: which run comes next, and when the parameters are returned.

Plan "certified" is Algorithm 1 as it stands: probes of ⌊B/2k⌋ gradients, the output of one of them is returned.

Plan "train" spends little on the search and the rest on one run:

    search      probes of probe_length(B) gradients bisect the largest certified step size, the root. No signal
                (theory: a small step is certified only after (alpha − 1) E‖g‖²/‖∇f‖² gradients): the probes
                are lengthened.
    train       one run with capped certificate tracking (tracking.py); its average is returned, or its last
                iterate where a base such as Adam makes the directions and the steps decay.

Where the horizon is unknown the long run has no end, unless its steps decay: then budgets double, and each stage
goes on from the point that the last one returned.

``finish`` is called when a run has taken its ``state.run_length`` gradients; nothing else changes the state.
"""

from typing import Any

import numpy as np

from pfopt.search import bisection, tracking
from pfopt.search import schedule as schedules
from pfopt.search.bisection import END, FLOOR, RAISE, START
from pfopt.search.certificate import RANGES
from pfopt.search.state import (
    ANCHOR,
    AVERAGE,
    HI,
    LAST,
    LO,
    Config,
    Outcome,
    Phase,
    ProbeRecord,
    Run,
    State,
    Verdict,
    choose,
)

SMALLEST = {"certified": 8, "train": 16}  # total_steps; below, no probe is longer than the guess is worth
ALPHA = {"certified": 3.0, "train": 1.5}  # at 3 a short probe does not see past its noise
FIRST_STAGE = 1024  # gradients of the first stage where the horizon is unknown; its search is the only one
ENDLESS = 2**30  # gradients of a long run that does not decay, where the horizon is unknown
FIRST_STEP = {"certified": 2.0**-20, "train": 2.0**-8}  # of ‖x_0‖/‖g_0‖, or of 1/‖g_0‖ at the origin
SEARCH_SHARE = 0.25  # of the budget, at most; a search with signal ends far below it
LENGTHENED_SHARE = 0.125  # likewise, once probes are longer: the long run's certificate mends a low root
LENGTHEN = 4  # probes without signal grow by this factor
CAP = {False: 2, True: 0}  # Config.cap; True where a base such as Adam makes the directions
HEAD_START = {False: 1.0, True: 0.1}  # Config.head_start, likewise
UNCAPPED = 64  # doublings: no bound, where the search found none


def configure(
    total_steps: int,
    plan: str,
    schedule: str,
    average: Any = "auto",
    *,
    based: bool = False,
    endless: bool = False,
) -> Config:
    """A ``Config`` with the plan's own constants.

    Args:
        total_steps: gradients in all; of the first stage where the horizon is unknown.
        plan: "certified" or "train".
        schedule: "constant" or "linear".
        average: "auto", "last" or gamma, of plan "train".
        based: whether a base such as Adam makes the directions. It remembers gradients and goes without primal
            averaging, since both together forget too slowly; its steps decay instead, and at the end of a decay
            the last iterate is ahead of every average (NOTES).
        endless: whether the horizon is unknown.
    """
    decays = based and schedule == "linear" and not endless
    last = isinstance(average, str) and (average == "last" or (plan == "train" and decays))
    primal = plan == "train" and schedule == "linear" and not (last or based)
    return Config(
        total_steps,
        plan,
        schedule,
        alphas=(ALPHA[plan],) * len(RANGES),
        output=LAST if last else AVERAGE,
        cap=CAP[based],
        head_start=HEAD_START[based],
        primal=primal,
        endless=endless,
    )


def probe_length(total_steps: Any, xp: Any = np) -> Any:
    """Gradients of a first probe of plan "train": B/200, at least 16 where that is no more than B/16, at most 64."""
    return xp.clip(total_steps // 200, xp.clip(total_steps // 16, 4, 16), 64)


def first_step(config: Config, anchor_sq: Any, grad_sq: Any, xp: Any = np) -> Any:
    """The step size of exponent 0 from ‖x_0‖² and ‖g_0‖²: a lower bound in plan "certified", a guess in "train"."""
    length_sq = xp.where(anchor_sq > 0, anchor_sq, xp.ones_like(anchor_sq))
    return FIRST_STEP[config.plan] * xp.sqrt(length_sq / grad_sq)


def step_schedule(config: Config) -> str:
    """What becomes of the long run's step size: primal averaging anneals without a decay, but at kinks."""
    return "constant" if config.primal else config.schedule


def averages(config: Config) -> bool:
    """Whether an average of the iterates may be returned."""
    return config.schedule == "constant" if config.plan == "certified" else config.output == AVERAGE


def interpolation(config: Config, state: State, run: Run, xp: Any = np) -> Any:
    """shape=(), share of the average in the point at which the long run takes its next gradient."""
    step = tracking.real(run.step, run, xp)
    return schedules.interpolation(step, state.run_length, xp) if config.primal else xp.zeros_like(step)


def init(config: Config, scopes: int = 0, xp: Any = np) -> State:
    """The state before the first gradient."""
    certified = config.plan == "certified"
    length = config.total_steps // 4 if certified else probe_length(config.total_steps, xp)
    return State(
        phase=Phase.SEARCH,
        outcome=Outcome.RUNNING,
        stage=0,
        spent=0,
        run_length=length,
        bracket=bisection.begin(RAISE if certified else START, scopes, xp),
        probe_length=length,
        initial_step=0.0,
        noise_sq=xp.inf,
        cap=0,
        output=ANCHOR,
    )


def stage_steps(config: Config, state: State, xp: Any = np) -> Any:
    """Gradients of the current stage."""
    return xp.left_shift(config.total_steps, state.stage)


def step_size(state: State, xp: Any = np) -> Any:
    """Step size of the probe now running."""
    return xp.ldexp(state.initial_step, state.bracket.exponent)


def cap_size(state: State, xp: Any = np) -> Any:
    """Largest step size of the long run that the bisection vouches for."""
    return xp.ldexp(state.initial_step, state.cap)


def start_sq(config: Config, state: State, xp: Any = np) -> Any:
    """shape=(1 + scopes,): squared displacement that the long run starts with, as if it had come so far.

    That of the probe at the root; of the last one where none was certified. A scope that stood still there
    starts like the whole.
    """
    b = state.bracket
    known = b.lo_distance_sq[0] > 0
    root = xp.where(known, b.lo_distance_sq, b.hi_distance_sq + xp.zeros_like(b.lo_distance_sq))
    return config.head_start**2 * xp.where(root > 0, root, root[0])


def record(state: State, run: Run, accepted: bool) -> ProbeRecord:
    """The probe that has just ended, as the caller sees it; host numbers only."""
    lipschitz, distance = tracking.estimates(run)
    return ProbeRecord(
        k=int(state.bracket.k),
        exponent=int(state.bracket.exponent),
        step_size=float(step_size(state)),
        steps=int(state.run_length),
        lipschitz=lipschitz,
        distance=distance,
        accepted=bool(accepted),
        mean_value=float(run.value_sum / run.value_count) if run.value_count else None,
    )


def finish(config: Config, state: State, run: Run, xp: Any = np) -> tuple[State, Verdict]:
    """What comes after the run that has just taken its last gradient."""
    state = state._replace(spent=state.spent + state.run_length)
    if config.plan == "certified":
        return _finish_certified(config, state, run, xp)
    after_search, accepted = _finish_probe(config, state, run, xp)
    after_train = state._replace(phase=Phase.DONE, output=config.output)
    searched = state.phase == Phase.SEARCH
    following = choose(xp, searched, after_search, after_train)
    done = following.phase == Phase.DONE
    if config.endless:
        following = choose(xp, done, _next_stage(config, following, xp), following)
    return following, Verdict(accepted & searched, ANCHOR, done & config.endless)


def _finish_certified(config: Config, state: State, run: Run, xp: Any) -> tuple[State, Verdict]:
    before = state.bracket
    accepted = bisection.accepts(config, before, run, state.initial_step, xp)
    bracket = bisection.advance(config, before, accepted, run, xp)
    raised = (before.branch == RAISE) & accepted
    floored = (before.branch == FLOOR) & xp.logical_not(accepted)
    ended = bracket.branch == END
    hi_wins = bisection.prefers_hi(bracket, config, state.initial_step, xp)
    nothing = raised | (floored & (run.bad > 0))  # a run that met a non-finite number is never returned
    output = xp.where(nothing, ANCHOR, xp.where(floored | xp.logical_not(hi_wins), LO, HI))
    outcome = xp.where(
        raised, Outcome.RANGE_EXHAUSTED, xp.where(floored, Outcome.LOWER_EXIT, Outcome.CERTIFIED)
    )
    state = state._replace(
        phase=xp.where(ended, Phase.DONE, Phase.SEARCH),
        outcome=xp.where(ended, outcome, Outcome.RUNNING),
        bracket=bracket,
        run_length=config.total_steps // (2 * bracket.k),
        output=xp.where(ended, output, xp.where(bracket.lo_grad_sq > 0, LO, ANCHOR)),
    )
    keep = xp.where(raised, ANCHOR, xp.where(accepted | floored, LO, HI))
    return state, Verdict(accepted, keep, False)


def _finish_probe(config: Config, state: State, run: Run, xp: Any) -> tuple[State, Any]:
    before, total = state.bracket, stage_steps(config, state, xp)
    measured = run.grad_sq[0] > 0  # gradients that are zero or not finite say nothing: the probe is run again
    accepted = measured & bisection.accepts(config, before, run, state.initial_step, xp)
    bracket = choose(xp, measured, bisection.advance(config, before, accepted, run, xp), before)
    state = state._replace(bracket=bracket)
    if config.primal and not config.endless:  # a decay needs the horizon, and others decay anyway
        found = tracking.noise_sq(run, step_size(state._replace(bracket=before), xp), xp)
        state = state._replace(noise_sq=xp.where(measured & (before.branch == START), found, state.noise_sq))

    silent = measured & bisection.is_silent(before, accepted, run, xp)
    too_high = measured & bisection.is_bottomless(before, accepted, run, xp)
    length = LENGTHEN * state.probe_length
    longer = state._replace(
        bracket=bisection.lengthened(before, LENGTHEN, xp), probe_length=length, run_length=length
    )
    lower = state._replace(
        bracket=bisection.begin(START, len(run.grad_sq) - 1, xp),
        initial_step=step_size(state._replace(bracket=before), xp),
    )
    following = choose(xp, silent, longer, choose(xp, too_high, lower, state))
    lengthened = following.probe_length > probe_length(total, xp)
    share = xp.where(lengthened, LENGTHENED_SHARE, SEARCH_SHARE)
    spent_out = following.spent + following.run_length > share * total
    leave = spent_out | ((bracket.branch == END) & xp.logical_not(silent | too_high))
    return choose(xp, leave, _begin_train(config, state, xp), following), accepted


def _begin_train(config: Config, state: State, xp: Any) -> State:
    """The long run, on what the search has left."""
    b, left = state.bracket, stage_steps(config, state, xp) - state.spent
    certified = b.lo_distance_sq[0] > 0
    bounded = certified & (b.hi_grad_sq > 0)
    endless = config.endless and step_schedule(config) == "constant"
    return state._replace(
        phase=Phase.TRAIN,
        outcome=xp.where(certified, Outcome.CERTIFIED, Outcome.NO_SIGNAL),
        cap=xp.where(certified, b.lo, b.hi) + xp.where(bounded, config.cap, UNCAPPED),
        run_length=ENDLESS if endless else left,
    )


def _next_stage(config: Config, state: State, xp: Any) -> State:
    """Twice the budget, from the point just returned; the search starts at the last root."""
    stage = state.stage + 1
    total = xp.left_shift(config.total_steps, stage)
    length = probe_length(total, xp)
    known = state.bracket.lo_distance_sq[0] > 0
    guess = xp.ldexp(state.initial_step, state.bracket.lo)
    return state._replace(
        phase=Phase.SEARCH,
        stage=stage,
        spent=0,
        run_length=length,
        probe_length=length,
        bracket=bisection.begin(START, len(state.bracket.lo_distance_sq) - 1, xp),
        initial_step=xp.where(known, guess, state.initial_step),
    )
