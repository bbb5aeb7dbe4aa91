"""Doubling ranges and the root-finding bisection: Algorithm 1 of Carmon & Hinder (COLT 2022), on exponents.

    for k = 2, 4, 8:                                  # widen()
        if k > B/4: return x_0
        RAISE   hi = 2^(2^k) eta_eps certified?       yes -> next k
        FLOOR   lo = eta_eps certified?               no  -> return the run at lo
        BISECT  while hi > 2 lo: mid = sqrt(lo hi)    certified -> lo = mid, else hi = mid
        return hi if r̄(hi) <= r̄(lo) phi(hi)/hi else lo

A step size is ``initial_step * 2**exponent`` with an integer exponent, so the geometric mean is the mean of two
integers and ``hi > 2 lo`` is ``hi - lo > 1``: no rounding can add a probe.

The practical plan starts from a step size that is a guess rather than a lower bound. It therefore tests the guess
first (START) and looks for the other end of the bracket below it in the same doubling ranges (LOWER), or above it
(RAISE) 2^4, 2^8, 2^16, … times as far, k = 2, 3, 4, …, 8: what goes too far there is seen by whoever looks at losses,
and 2^8 is less than 2^16. Where the guess is what an earlier search has found, k = 1 comes first, 2^2 to either side.
The bisection is the same.
"""

from pfopt.core.arrays import (
    Count,
    Flag,
    Namespace,
    Real,
    choose,
    count_scopes,
    doublings,
    negated,
    power_of_two,
    where,
    whole,
    zeros,
)
from pfopt.core.certificate import RANGES, at_range, certified
from pfopt.core.config import Config
from pfopt.core.records import Bracket, Run, Stage
from pfopt.core.run import is_clean


def begin(stage: Stage, scopes: int, xp: Namespace, k: int = RANGES[0]) -> Bracket:
    """The bracket before the first probe; ``scopes`` is the length of a ``Vector``, less one."""
    return Bracket(
        stage=stage,
        k=k,
        exponent=2**k if stage == Stage.RAISE else 0,
        lo=0,
        hi=0,
        has_lo=False,
        has_hi=False,
        hi_diverged=False,
        lo_distance_sq=zeros(scopes, xp),
        lo_grad_sq_sum=0.0,
        lo_loss_mean=0.0,
        lo_loss_change=0.0,
        lo_loss_count=0,
        hi_distance_sq=0.0,
        hi_grad_sq_sum=0.0,
    )


def accepts(config: Config, bracket: Bracket, run: Run, initial_step: Real) -> Flag:
    """Whether the probe that has just ended certifies its step size; one that met something not finite never does."""
    step_size = doublings(initial_step, bracket.exponent)
    alpha, beta = (at_range(values, bracket.k) for values in (config.alphas, config.betas))
    return is_clean(run) & certified(step_size, whole(run.grad_sq_sum), whole(run.distance_sq), alpha, beta)


def advance_algorithm_1(config: Config, bracket: Bracket, accepted: Flag, run: Run) -> Bracket:
    """The bracket after the probe at ``bracket.exponent``; every range is tested from its upper end."""
    at_lo, at_hi = _as_lo(bracket, run), _as_hi(bracket, run)
    after_raise = choose(
        accepted,
        widen(at_lo, +1, 2 * bracket.k, config.total_steps // 4),
        at_hi._replace(stage=Stage.FLOOR, exponent=0),
    )
    after_floor = choose(accepted, bisect(at_lo), bracket._replace(stage=Stage.END))
    after_bisect = bisect(choose(accepted, at_lo, at_hi))
    later = choose(bracket.stage == Stage.FLOOR, after_floor, after_bisect)
    return choose(bracket.stage == Stage.RAISE, after_raise, later)


def advance_from_guess(bracket: Bracket, accepted: Flag, run: Run) -> Bracket:
    """The bracket after the probe at ``bracket.exponent``; the first one is at the guess."""
    at_lo, at_hi = _as_lo(bracket, run), _as_hi(bracket, run)
    after_start = choose(
        accepted,
        at_lo._replace(stage=Stage.RAISE, exponent=power_of_two(bracket.k)),
        at_hi._replace(stage=Stage.LOWER, exponent=-power_of_two(bracket.k)),
    )
    after_raise = choose(accepted, widen(at_lo, +1, bracket.k + 1), bisect(at_hi))
    lower = widen(at_hi, -1, 2 * bracket.k)
    lower = choose(is_noise(bracket, accepted, run), bracket._replace(stage=Stage.END), lower)
    after_lower = choose(accepted, bisect(at_lo), lower)
    after_bisect = bisect(choose(accepted, at_lo, at_hi))
    later = choose(bracket.stage == Stage.LOWER, after_lower, after_bisect)
    later = choose(bracket.stage == Stage.RAISE, after_raise, later)
    return choose(bracket.stage == Stage.START, after_start, later)


def widen(bracket: Bracket, sign: int, k: Count, largest_k: Count = RANGES[-1]) -> Bracket:
    """The bracket of the next ``k``, or its end where ``largest_k`` or the largest range is passed."""
    over = (k > RANGES[-1]) | (k > largest_k)
    wider = bracket._replace(k=k, exponent=sign * power_of_two(k))
    return choose(over, bracket._replace(stage=Stage.END), wider)


def bisect(bracket: Bracket) -> Bracket:
    """Test the geometric mean of ``lo`` and ``hi`` next, or end where they are neighbours."""
    found = bracket.hi - bracket.lo <= 1
    return bracket._replace(
        stage=where(found, Stage.END, Stage.BISECT),
        exponent=where(found, bracket.exponent, (bracket.lo + bracket.hi) // 2),
    )


def is_noise(bracket: Bracket, accepted: Flag, run: Run) -> Flag:
    """Whether a probe below the guess was rejected because its gradients are noise, not because its step is too large.

    A step that is too large meets larger gradients. Where one that is 2^4 times smaller meets gradients no less than
    half as large, the path is a random walk, which no step size can have certified. (2^2 times smaller says nothing.)
    """
    same = (
        is_clean(run)
        & (bracket.k >= RANGES[0])
        & negated(bracket.hi_diverged)
        & (2.0 * whole(run.grad_sq_sum) >= bracket.hi_grad_sq_sum)
    )
    return (bracket.stage == Stage.LOWER) & negated(accepted) & same


def is_too_large_throughout(bracket: Bracket, accepted: Flag, run: Run) -> Flag:
    """Whether the lower end of the widest range is too large still: the guess itself must come down."""
    lowest = (bracket.stage == Stage.LOWER) & (bracket.k == RANGES[-1])
    return lowest & negated(accepted | is_noise(bracket, accepted, run))


def lengthened(bracket: Bracket, factor: int, xp: Namespace) -> Bracket:
    """The bracket after noise, for probes that are ``factor`` times as long.

    If the probes of the first range were pure noise, test the initial step size again with the longer probe: it met
    the same gradients. Below that range a larger step size is known to be too large, and the search goes on in the
    middle: the walk of a small step shows the same signal whatever its size, so that nothing is lost by going up.
    """
    again = begin(Stage.START, count_scopes(bracket.lo_distance_sq), xp)
    at_its_end = bracket.exponent == -power_of_two(bracket.k)
    middle = bracket._replace(
        k=where(at_its_end, bracket.k // 2, bracket.k),
        exponent=(bracket.exponent + bracket.hi) // 2,
        hi_grad_sq_sum=factor * bracket.hi_grad_sq_sum,
    )
    return choose(at_its_end & (bracket.k == RANGES[0]), again, middle)


def prefers_hi(config: Config, bracket: Bracket, initial_step: Real) -> Flag:
    """Line 15 of Algorithm 1, r̄(hi) <= r̄(lo) phi(hi)/hi, with r̄(hi) cancelled; a tie goes to hi.

    What remains is the certificate of hi with the displacement of lo.
    """
    step_size = doublings(initial_step, bracket.hi)
    alpha, beta = (at_range(values, bracket.k) for values in (config.alphas, config.betas))
    chosen = certified(step_size, bracket.hi_grad_sq_sum, whole(bracket.lo_distance_sq), alpha, beta)
    return negated(bracket.hi_diverged) & chosen


def _as_lo(bracket: Bracket, run: Run) -> Bracket:
    return bracket._replace(
        lo=bracket.exponent,
        has_lo=True,
        lo_distance_sq=run.distance_sq,
        lo_grad_sq_sum=whole(run.grad_sq_sum),
        lo_loss_mean=run.loss_mean,
        lo_loss_change=run.loss_change,
        lo_loss_count=run.loss_count,
    )


def _as_hi(bracket: Bracket, run: Run) -> Bracket:
    return bracket._replace(
        hi=bracket.exponent,
        has_hi=True,
        hi_diverged=negated(is_clean(run)),
        hi_distance_sq=whole(run.distance_sq),
        hi_grad_sq_sum=whole(run.grad_sq_sum),
    )
