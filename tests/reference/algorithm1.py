"""Algorithm 1 of Carmon and Hinder, "Making SGD Parameter-Free" (COLT 2022), literal and slow on purpose.

Notation is the paper's: eta_eps is the smallest step size, phi(eta) = rbar_T / sqrt(alpha G_T + beta), lo and
hi are the ends of the bisection. Every run is stored whole. Departures, in cases that the paper leaves open:

- Step sizes are eta_eps * 2**j with an integer j, so the bisection ends when j_hi - j_lo == 1.
- A run in which something is not finite stays at its last finite point, makes its remaining calls there and
  has phi = 0: it is never accepted, and never returned.
- 0/0 in phi (no gradient in the whole run, beta = 0) counts as a tie: eta <= phi.
- k stops at 8, since 2**(2**16) is no float64; a zero gradient at the very first call returns x_0.

With output="last" steps decay linearly (paper_repro/linear_decay_certificate.md): the plain gradient sum z is
measured, and the last iterate y_T returned.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tests.reference.outcome import Outcome, Probe

LARGEST_K = 8


class Run(NamedTuple):
    """One SGD run of T steps of size eta from x_0."""

    points: np.ndarray  # where gradients were taken: x_0 .. x_{T-1}, or y_1 .. y_T
    walk: np.ndarray  # what rbar measures: x_0 .. x_T, or z_1 .. z_{T+1}
    gradients: np.ndarray  # g_0 .. g_{T-1}, or g_1 .. g_T
    G: float
    rbar: float
    finite: bool
    returned: np.ndarray


class ZeroGradient(Exception):
    """The first gradient of all was zero."""


def call(oracle: Callable[[np.ndarray], Any], x: np.ndarray) -> tuple[np.ndarray, bool]:
    """One oracle call: the gradient, and whether all that came is finite."""
    answer = oracle(x.copy())
    value, gradient = answer if isinstance(answer, tuple) else (0.0, answer)
    return np.array(gradient), bool(np.isfinite(value) and np.isfinite(gradient).all())


def norm(x: np.ndarray) -> float:
    return math.sqrt(float(np.sum(np.square(x.astype(np.float64)))))


def run_sgd(
    oracle: Callable[[np.ndarray], Any], x0: np.ndarray, eta: float, T: int, output: str = "average"
) -> Run:
    """T steps of SGD from x_0; iterates in the dtype of x_0, sums and z in float64."""
    x, z, frozen = x0.copy(), x0.astype(np.float64), False
    points, walk, gradients = [], [x0.copy()], []
    for t in range(1, T + 1):
        points.append(x.copy())
        gradient, ok = call(oracle, x)
        if not ok or frozen:
            frozen = True
            continue
        gradients.append(gradient)
        with np.errstate(all="ignore"):
            if output == "average":
                following = z = x - eta * gradient
            else:
                following, z = x - eta * ((T - t) / T) * gradient, z - eta * gradient.astype(np.float64)
        if not (np.isfinite(following).all() and np.isfinite(z).all()):
            frozen = True
            continue
        walk.append(z.copy())
        x = following
    with np.errstate(all="ignore"):
        G = sum(norm(g) ** 2 for g in gradients)
        rbar = max(norm(z.astype(np.float64) - x0) for z in walk)
        average = np.mean(np.stack(points), axis=0, dtype=np.float64).astype(x0.dtype)
    finite = not frozen and math.isfinite(G) and math.isfinite(rbar)
    returned = average if output == "average" else x
    return Run(np.stack(points), np.stack(walk), np.array(gradients), G, rbar, finite, returned)


def phi(run: Run, alpha: float, beta: float) -> float:
    """phi(eta) = rbar / sqrt(alpha G + beta), 0 for a run that is not finite."""
    if not run.finite:
        return 0.0
    denominator = math.sqrt(alpha * run.G + beta)
    return run.rbar / denominator if denominator > 0 else math.inf


def theorem_14(k: int, B: int, L: float, delta: float) -> tuple[float, float]:
    """alpha^(k) and beta^(k) of Eq. 13."""
    C = 2 * k + math.log2(60 * math.log2(6 * B) ** 2 / delta)
    return 32**2 * C, (32 * C * L) ** 2


def root_finding_bisection(
    sgd: Callable[[int], Run], eta: Callable[[int], float], lo: int, hi: int, alpha: float, beta: float
) -> tuple[float, Run | None, list[tuple[int, Run, bool]]]:
    """RootFindingBisection on exponents: the chosen one (inf: none), its run, every run with its verdict."""
    runs: list[tuple[int, Run, bool]] = []

    def at_most_phi(j: int) -> bool:
        run = sgd(j)
        runs.append((j, run, eta(j) <= phi(run, alpha, beta)))
        return runs[-1][2]

    def last(j: int) -> Run:
        return next(run for exponent, run, _ in reversed(runs) if exponent == j)

    if at_most_phi(hi):
        return math.inf, None, runs
    if not at_most_phi(lo):
        return lo, last(lo), runs
    while hi - lo > 1:
        mid = (lo + hi) // 2
        if at_most_phi(mid):
            lo = mid
        else:
            hi = mid
    below, above = last(lo), last(hi)
    if above.finite and above.rbar <= below.rbar * phi(above, alpha, beta) / eta(hi):
        return hi, above, runs
    return lo, below, runs


def algorithm1(
    oracle: Callable[[np.ndarray], Any],
    x0: np.ndarray,
    B: int,
    eta_eps: float,
    *,
    alpha: float = 3.0,
    beta: float = 0.0,
    L: float | None = None,
    delta: float | None = None,
    output: str = "average",
) -> Outcome:
    """Tune and run SGD with at most B calls of the oracle."""
    calls, probes = 0, []

    def counted(x: np.ndarray) -> Any:
        nonlocal calls
        calls += 1
        answer = oracle(x)
        if calls == 1 and not np.any(answer[1] if isinstance(answer, tuple) else answer):
            raise ZeroGradient
        return answer

    def eta(j: int) -> float:
        return eta_eps * 2.0**j

    try:
        k = 2
        while k <= LARGEST_K and k <= B / 4:
            T = B // (2 * k)
            if L is not None and delta is not None:
                alpha, beta = theorem_14(k, B, L, delta)
            chosen, run, runs = root_finding_bisection(
                lambda j, T=T: run_sgd(counted, x0, eta(j), T, output), eta, 0, 2**k, alpha, beta
            )
            probes += [Probe(k, j, eta(j), T, r.G, r.rbar, accepted) for j, r, accepted in runs]
            if run is not None:
                if not run.finite:  # no run that overflowed is an answer
                    break
                return Outcome(run.returned, int(chosen), probes, calls)
            k = 2 * k
    except ZeroGradient:
        pass
    return Outcome(x0, None, probes, calls)


def doubling_restarts(
    oracle: Callable[[np.ndarray], Any],
    x0: np.ndarray,
    eta_eps: Callable[[int], float],
    stages: range,
    *,
    delta: float | None = None,
    **options: Any,
) -> list[Outcome]:
    """Theorem 16: stage m has budget 2**m, starts at the last output and uses eta_eps(m), delta/(m(m+1))."""
    outcomes: list[Outcome] = []
    for m in stages:
        start = outcomes[-1].point if outcomes else x0
        share = None if delta is None else delta / (m * (m + 1))
        outcomes.append(algorithm1(oracle, start, 2**m, eta_eps(m), delta=share, **options))
    return outcomes
