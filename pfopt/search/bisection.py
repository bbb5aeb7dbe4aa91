"""Doubling ranges and the root-finding bisection: Algorithm 1 of Carmon & Hinder (COLT 2022), on exponents.

    for k = 2, 4, 8:                                  # widen()
        if k > B/4: return x_0
        RAISE   hi = 2^(2^k) eta_eps certified?       yes -> next k
        FLOOR   lo = eta_eps certified?               no  -> return the run at lo
        BISECT  while hi > 2 lo: mid = sqrt(lo hi)    certified -> lo = mid, else hi = mid
        return hi if r̄(hi) <= r̄(lo) phi(hi)/hi else lo

A step size is ``initial_step * 2**exponent`` with an integer exponent, so the geometric mean is the mean of two
integers and ``hi > 2 lo`` is ``hi - lo > 1``: no rounding can add a probe.

Plan "train" starts from a step size that is a guess rather than a lower bound. It therefore tests the guess first
(START) and looks for the other end of the bracket above it (RAISE) or below it (LOWER) in the same doubling
ranges; the bisection is the same.
"""

from typing import Any

import numpy as np

from pfopt.search.certificate import RANGES, at_range, certified
from pfopt.search.state import Bracket, Config, Run, choose

START, RAISE, LOWER, FLOOR, BISECT, END = range(6)


def begin(branch: int, scopes: int, xp: Any = np) -> Bracket:
    """The bracket before the first probe; ``scopes`` is the length of the vectors of a ``Run``, less one."""
    exponent = 2 ** RANGES[0] if branch == RAISE else 0
    nothing = xp.zeros(1 + scopes)
    return Bracket(branch, RANGES[0], exponent, 0, 0, nothing, 0.0, 0.0, 0.0)


def accepts(config: Config, bracket: Bracket, run: Run, initial_step: Any, xp: Any = np) -> Any:
    """Whether the probe that has just ended certifies its step size. A run that met a non-finite number never does."""
    step_size = xp.ldexp(initial_step, bracket.exponent)
    alpha, beta = (at_range(values, bracket.k, xp) for values in (config.alphas, config.betas))
    return (run.bad == 0) & certified(step_size, run.grad_sq[0], run.distance_sq[0], alpha, beta)


def advance(config: Config, bracket: Bracket, accepted: Any, run: Run, xp: Any = np) -> Bracket:
    """The bracket after the probe at ``bracket.exponent``."""
    b = bracket
    raised = choose(xp, accepted, widen(_as_lo(b, run), +1, config, xp), b)
    diverged = run.bad > 0  # such a run is never the answer: an infinite G fails every certificate
    low = b._replace(
        hi=b.exponent,
        hi_distance_sq=run.distance_sq[0],
        hi_grad_sq=xp.where(diverged, xp.inf, run.grad_sq[0]),
    )
    high = _as_lo(b, run)

    if config.plan == "certified":  # the range is tested from its upper end
        floor = low._replace(branch=FLOOR, exponent=0)
        after_raise = choose(xp, accepted, raised, floor)
        after_floor = choose(xp, accepted, _bisect(high, xp), b._replace(branch=END))
        after_bisect = _bisect(choose(xp, accepted, high, low), xp)
        return choose(
            xp, b.branch == RAISE, after_raise, choose(xp, b.branch == FLOOR, after_floor, after_bisect)
        )

    after_start = choose(
        xp,
        accepted,
        high._replace(branch=RAISE, exponent=2 ** RANGES[0]),
        low._replace(branch=LOWER, exponent=-(2 ** RANGES[0])),
    )
    after_raise = choose(xp, accepted, raised, _bisect(low, xp))
    lower = choose(xp, is_silent(b, accepted, run, xp), b._replace(branch=END), widen(low, -1, config, xp))
    after_lower = choose(xp, accepted, _bisect(high, xp), lower)
    after_bisect = _bisect(choose(xp, accepted, high, low), xp)
    later = choose(
        xp, b.branch == RAISE, after_raise, choose(xp, b.branch == LOWER, after_lower, after_bisect)
    )
    return choose(xp, b.branch == START, after_start, later)


def is_silent(bracket: Bracket, accepted: Any, run: Run, xp: Any = np) -> Any:
    """Whether a probe below the guess was rejected for want of signal: a larger step met the same gradients.

    A step that is too large meets larger gradients; where 2^4 times less changes nothing, the path is a random
    walk, which no step size can have certified.
    """
    same = (run.bad == 0) & (2.0 * run.grad_sq[0] >= bracket.hi_grad_sq)
    return (bracket.branch == LOWER) & xp.logical_not(accepted) & same


def lengthened(bracket: Bracket, factor: int, xp: Any = np) -> Bracket:
    """After silence, for probes ``factor`` times as long.

    Silence in the first range says nothing of the guess, which met the same gradients: it is tested again. Below, a
    larger step size is known to be too large, and the search goes on in the middle: the walk of a small one shows
    the same signal whatever its step size, so that nothing is lost by going up.
    """
    again = begin(START, len(bracket.lo_distance_sq) - 1, xp)
    at_its_end = bracket.exponent == -xp.left_shift(1, bracket.k)
    middle = bracket._replace(
        k=xp.where(at_its_end, bracket.k // 2, bracket.k),
        exponent=(bracket.exponent + bracket.hi) // 2,
        hi_grad_sq=factor * bracket.hi_grad_sq,
    )
    return choose(xp, at_its_end & (bracket.k == RANGES[0]), again, middle)


def is_bottomless(bracket: Bracket, accepted: Any, run: Run, xp: Any = np) -> Any:
    """Whether the step size is too large still at the lower end of the widest range: the guess must come down."""
    lowest = (bracket.branch == LOWER) & (bracket.k == RANGES[-1])
    return lowest & xp.logical_not(accepted | is_silent(bracket, accepted, run, xp))


def widen(bracket: Bracket, sign: int, config: Config, xp: Any = np) -> Bracket:
    """The next k, or the end where the budget or the exponents do not reach that far."""
    k = 2 * bracket.k
    over = k > RANGES[-1]
    if config.plan == "certified":
        over = over | (4 * k > config.total_steps)
    exponent = sign * xp.left_shift(1, xp.minimum(k, RANGES[-1]))
    last = bracket._replace(branch=END)
    return choose(xp, over, last, bracket._replace(k=k, exponent=exponent))


def prefers_hi(bracket: Bracket, config: Config, initial_step: Any, xp: Any = np) -> Any:
    """Line 15 of Algorithm 1, r̄(hi) <= r̄(lo) phi(hi)/hi, with r̄(hi) cancelled; a tie goes to hi.

    What remains is the certificate of hi with the displacement of lo.
    """
    step_size = xp.ldexp(initial_step, bracket.hi)
    alpha, beta = (at_range(values, bracket.k, xp) for values in (config.alphas, config.betas))
    return certified(step_size, bracket.hi_grad_sq, bracket.lo_distance_sq[0], alpha, beta)


def _as_lo(bracket: Bracket, run: Run) -> Bracket:
    return bracket._replace(lo=bracket.exponent, lo_distance_sq=run.distance_sq, lo_grad_sq=run.grad_sq[0])


def _bisect(bracket: Bracket, xp: Any) -> Bracket:
    middle = (bracket.lo + bracket.hi) // 2
    found = bracket.hi - bracket.lo <= 1
    return bracket._replace(
        branch=xp.where(found, END, BISECT), exponent=xp.where(found, bracket.exponent, middle)
    )
