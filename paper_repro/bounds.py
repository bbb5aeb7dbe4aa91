"""The right-hand sides of the theorems, and the few numbers that they are made of."""

import math

import numpy as np
from numpy.typing import ArrayLike

import pfopt

ROUNDING = 1e-9  # relative; what float64 adds to a ratio that is at most 1 in exact arithmetic


def loglog(z: float) -> float:
    """log+ log+: log2(max(2, log2 z)), at least 1."""
    return math.log2(max(2.0, math.log2(z)))


def slope(budgets: ArrayLike, gaps: ArrayLike) -> float:
    """Slope of log gap against log budget, by least squares."""
    return float(np.polyfit(np.log(budgets), np.log(gaps), 1)[0])


def final_probes(result: pfopt.Result) -> list[pfopt.ProbeRecord]:
    """The probes of the last k, in the order in which they ran: the upper end, the lower end, the bisection."""
    return [probe for probe in result.probes if probe.k == result.probes[-1].k]


def final_bracket(result: pfopt.Result) -> tuple[pfopt.ProbeRecord, pfopt.ProbeRecord]:
    """lo* (the largest accepted step size) and hi* (the smallest rejected one) after a bisection."""
    probes = final_probes(result)
    lo = max((p for p in probes if p.accepted), key=lambda p: p.exponent)
    hi = min((p for p in probes if not p.accepted), key=lambda p: p.exponent)
    return lo, hi


def root_sum(probe: pfopt.ProbeRecord) -> float:
    """sqrt(G), G the sum of squared gradient norms of a probe."""
    return probe.lipschitz * math.sqrt(probe.steps)


def theorem_7(result: pfopt.Result, d0: float) -> float:
    """sqrt(27) d0 sqrt(G(hi*))/T: the bound on f(x) - f* after a bisection with exact gradients and alpha = 3."""
    hi = final_bracket(result)[1]
    return math.sqrt(27) * d0 * root_sum(hi) / hi.steps


def proposition_9(result: pfopt.Result, d0: float, alpha: float, beta: float) -> float:
    """The bound of Theorem 14 with the constants of Proposition 9, for either exit of the search."""
    if result.outcome == pfopt.Outcome.CERTIFIED:
        hi = final_bracket(result)[1]
        factor = (9 * alpha - 2) / (2 * (alpha - 2))
        return factor * d0 * math.sqrt(alpha * root_sum(hi) ** 2 + beta) / hi.steps
    lo = final_probes(result)[1]
    weight = alpha * root_sum(lo) ** 2 + beta
    return 1.25 * (d0 * math.sqrt(weight) + lo.step_size * weight) / lo.steps
