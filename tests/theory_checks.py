"""What numbers can check of the theory, as a table: `python -m tests.theory_checks`.

Each check measures what a lemma or theorem of Carmon and Hinder bounds or predicts, and whether it holds.
Checks of the search take the solver as an argument: `pfopt.minimize`, or the literal oracle with --reference.
Checks 2, 3 and the signal law of 13 concern SGD runs alone, and always use the literal run.
"""

import argparse
import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from paper_repro.bounds import ROUNDING, loglog, slope
from paper_repro.problems import (
    Oracle,
    generated,
    largest_entry,
    least_absolute_deviations,
    quadratic,
    slow_quadratic,
    strongly_convex_lad,
)
from tests.reference.algorithm1 import algorithm1, phi
from tests.reference.families import OUTPUTS, Solver, half_accepted, single_runs, solved
from tests.reference.subject import by_pfopt


class Check(NamedTuple):
    claim: str
    measured: str
    holds: bool


def check_01_budget(solve: Solver, full: bool) -> Check:
    worst, violations, runs = 0, 0, 0
    for seed in range(80 if full else 8):
        problem, eta_eps = generated(seed), 10.0 ** -(seed % 9)
        for B in (8, 9, 15, 16, 31, 32, 33, 63, 64, 96, 100, 256, 1000):
            outcome = solve(Oracle(problem), problem.x0, B, eta_eps)
            k, bracketed = outcome.probes[-1].k, outcome.exit == "bracket"
            violations += outcome.calls > B or outcome.calls != sum(p.T for p in outcome.probes)
            violations += bracketed and (outcome.calls == B) != (B % (2 * k) == 0)
            violations += bracketed and len(outcome.final) != k + 2
            violations += any(B // (2 * p.k) != p.T for p in outcome.probes)
            violations += any(p.eta != eta_eps * 2.0**p.exponent for p in outcome.probes)
            worst, runs = max(worst, outcome.calls - B), runs + 1
    claim = "q <= B; q = B iff 2k | B after a bisection; k bisection steps; eta = eta_eps 2^j"
    return Check(claim, f"{violations} violations in {runs} searches, q - B <= {worst}", violations == 0)


def check_02_lemma_2(solve: Solver, full: bool) -> Check:
    worst, runs = 0.0, 0
    for problem, run, eta, T in single_runs(64 if full else 8):
        bound = run.rbar * problem.d0 / (eta * T) + eta * run.G / (2 * T)
        worst, runs = max(worst, problem.gap(run.returned) / bound), runs + 1
    claim = "gap <= rbar d0/(eta T) + eta G/(2T), any eta, both outputs"
    return Check(claim, f"worst ratio {worst:.4f} in {runs} runs", worst <= 1 + ROUNDING)


def check_03_lemma_3(solve: Solver, full: bool) -> Check:
    worst_d, worst_r, runs = 0.0, 0.0, 0
    for problem, run, eta, _ in single_runs(64 if full else 8):
        dbar = max(float(np.linalg.norm(x - problem.minimiser)) for x in run.walk)
        for a in (1.1, 2.0, 3.0, 10.0):
            if eta <= phi(run, a, 0.0):
                worst_d = max(worst_d, dbar / ((a + 1) / (a - 1) * problem.d0))
                worst_r = max(worst_r, run.rbar / (2 * a / (a - 1) * problem.d0))
                runs += 1
    claim = "eta <= phi: dbar <= (a+1)/(a-1) d0, rbar <= 2a/(a-1) d0, a = 1.1, 2, 3, 10"
    measured = f"worst ratios {worst_d:.4f}, {worst_r:.4f} in {runs} accepted runs"
    return Check(claim, measured, max(worst_d, worst_r) <= 1 + ROUNDING)


def check_04_lemma_4(solve: Solver, full: bool) -> Check:
    worst, brackets = [0.0] * 4, 0
    for seed in range(160 if full else 32):
        problem, B = generated(seed), 512
        noisy = Oracle(problem, noise=0.3, batch=2, calls=B, seed=seed) if seed % 2 else Oracle(problem)
        outcome = solve(noisy, problem.x0, B, 10.0 ** -(seed % 6), output=OUTPUTS[seed // 2 % 2])
        if outcome.exit != "bracket":
            continue
        lo, hi = outcome.bracket
        chosen = hi if outcome.exponent == hi.exponent else lo
        root_chosen, root_hi = math.sqrt(3 * chosen.G), math.sqrt(3 * hi.G)
        ratios = [
            chosen.rbar / (2 * root_hi * chosen.eta),
            chosen.eta * root_chosen / lo.rbar,
            chosen.rbar / lo.rbar,
            root_chosen / (2 * root_hi),
        ]
        worst, brackets = [max(pair) for pair in zip(worst, ratios, strict=True)], brackets + 1
    claim = "final bracket, noiseless and noisy: the four inequalities of Lemma 4"
    measured = f"worst ratios {', '.join(f'{r:.3f}' for r in worst)} in {brackets} brackets"
    return Check(claim, measured, brackets > 0 and max(worst) <= 1 + ROUNDING)


def check_05_theorem_7(solve: Solver, full: bool) -> Check:
    worst, far, lowest, exits = 0.0, 0.0, 0.0, {"bracket": 0, "lo": 0, "anchor": 0}
    for output in OUTPUTS:
        for problem, outcome, eta_eps in solved(solve, 80 if full else 8, output=output):
            exits[outcome.exit] += 1
            gap, d0 = problem.gap(outcome.point), problem.d0
            if outcome.exit == "bracket":
                hi = outcome.bracket[1]
                worst = max(worst, gap * hi.T / (math.sqrt(27 * hi.G) * d0))
                far = max(far, float(np.linalg.norm(outcome.point - problem.minimiser)) / (4 * d0))
            elif outcome.exit == "lo":
                lo = outcome.final[1]
                lowest = max(lowest, gap * lo.T / (d0 * math.sqrt(3 * lo.G) + eta_eps * lo.G))
    claim = "gap <= sqrt27 d0 sqrt(G(hi))/T, |xbar-x*| <= 4 d0; lo-exit: Prop 5; both outputs"
    measured = f"worst ratios {worst:.3f}, {far:.3f}; {lowest:.3f}; exits {exits}"
    return Check(claim, measured, exits["bracket"] > 0 and max(worst, far, lowest) <= 1 + ROUNDING)


def check_06_lemma_6(solve: Solver, full: bool) -> Check:
    worst_eta, worst_k, searches = 0.0, 0.0, 0
    for problem, outcome, eta_eps in solved(solve, 80 if full else 16):
        eta_max = math.sqrt(3) * problem.d0 / float(np.linalg.norm(problem.gradient(problem.x0, None)))
        accepted = [p.eta for p in outcome.probes if p.accepted]
        worst_eta = max([worst_eta, *(eta / eta_max for eta in accepted)])
        worst_k = max(worst_k, outcome.probes[-1].k / (2 * loglog(max(eta_max / eta_eps, 1.0))))
        searches += 1
    claim = "no accepted eta > sqrt3 d0/|g0|; k <= 2 loglog+(eta_max/eta_eps)"
    measured = f"worst ratios {worst_eta:.3f}, {worst_k:.3f} in {searches} searches"
    return Check(claim, measured, max(worst_eta, worst_k) <= 1 + ROUNDING)


def check_07_nonsmooth_rate(solve: Solver, full: bool) -> Check:
    budgets, gaps = [2**m for m in range(8, 16 if full else 13)], []
    problems = [least_absolute_deviations(seed, n=50, d=50, noise=0.0) for seed in range(3)]
    for B in budgets:
        logs = [math.log(p.gap(solve(Oracle(p), p.x0, B, 1e-3).point)) for p in problems]
        gaps.append(math.exp(sum(logs) / len(logs)))
    measured = slope(budgets, gaps)
    claim = "mean |Ax-b|: gap ~ B^-1/2, a staircase: slope -0.5 +- 0.1"
    return Check(claim, f"slope {measured:.3f} over {budgets[0]}..{budgets[-1]}", abs(measured + 0.5) <= 0.1)


def check_08_smooth_rate(solve: Solver, full: bool) -> Check:
    problem, budgets = slow_quadratic(), [2**m for m in range(7, 15 if full else 12)]
    outcomes = [solve(Oracle(problem), problem.x0, B, 0.5) for B in budgets]  # eta_eps = 1/(2S)
    etas = [0.5 * 2.0 ** (outcome.exponent or 0) for outcome in outcomes]
    measured = slope(budgets, [problem.gap(outcome.point) for outcome in outcomes])
    holds = measured <= -1 and all(0.5 <= eta <= 1 for eta in etas)
    return Check(
        "smooth: gap = O(1/B), slope <= -1, steps 0.5..1 / S", f"slope {measured:.3f}, etas {etas}", holds
    )


def check_09_cost_of_range(solve: Solver, full: bool) -> Check:
    problem, B = slow_quadratic(), 8192
    expected = (
        {-1: 2, -2: 2, -4: 4, -8: 4, -12: 4, -16: 8, -100: 8, -250: 8} if full else {-2: 2, -4: 4, -250: 8}
    )
    etas, gaps, wrong = set(), {}, 0
    for exponent, k in expected.items():
        outcome = solve(Oracle(problem), problem.x0, B, 2.0**exponent)
        final = outcome.probes[-1]
        wrong += final.k != k or B // (2 * k) != final.T or outcome.calls != B
        etas.add(math.ldexp(1.0, exponent + (outcome.exponent or 0)))
        gaps[k] = problem.gap(outcome.point)
    claim = "eta_eps 2^-1..2^-250, B = 8192: k = 2, 4, 8, T = B/(2k), q = B, eta = 1 each time"
    measured = (
        f"etas {sorted(etas)}, {wrong} wrong k, T or q; gaps {', '.join(f'{g:.1e}' for g in gaps.values())}"
    )
    return Check(claim, measured, etas == {1.0} and wrong == 0)


def check_10_equivariance(solve: Solver, full: bool) -> Check:
    different, searches = 0, 0
    for seed in range(40 if full else 8):
        problem, output = generated(seed), OUTPUTS[seed % 2]
        plain = solve(Oracle(problem), problem.x0, 256, 2.0**-10, output=output)
        for a, b in ((2.0**20, 1.0), (1.0, 2.0**-15), (2.0**-31, 2.0**12)):
            scaled = functools.partial(_scaled, Oracle(problem), a, b)
            other = solve(scaled, b * problem.x0, 256, 2.0**-10 * b * b / a, output=output)
            same = other.decisions == plain.decisions and np.array_equal(other.point, b * plain.point)
            different, searches = different + (not same), searches + 1
    claim = "a f(x/b) from eta_eps b^2/a, powers of two: the same search, point scaled by b, bit for bit"
    return Check(claim, f"{different} of {searches} searches differ", different == 0)


def _scaled(inner: Oracle, a: float, b: float, x: np.ndarray) -> np.ndarray:
    """The gradient of a f(x/b)."""
    return a / b * inner(x / b)


def check_11_divergence(solve: Solver, full: bool) -> Check:
    worst, largest, wrong = 0.0, 0.0, 0
    for seed in range(20 if full else 5):
        rng = np.random.default_rng(seed)
        problem = quadratic(np.geomspace(1.0, 0.01, 6), rng.standard_normal(6), rng.standard_normal(6))
        outcome = solve(Oracle(problem), problem.x0, 1024, 2.0**-30)
        hi = outcome.bracket[1]
        worst = max(worst, problem.gap(outcome.point) * hi.T / (math.sqrt(27 * hi.G) * problem.d0))
        largest = max([largest, *(p.rbar / problem.d0 for p in outcome.probes if math.isfinite(p.rbar))])
        diverged = [p for p in outcome.probes if p.eta > 2.0]  # 2/S
        wrong += any(p.accepted for p in diverged) or not np.isfinite(outcome.point).all()
    claim = "probes beyond 2/S diverge or overflow, none is accepted, Theorem 7 holds all the same"
    measured = f"rbar up to {largest:.0e} d0, {wrong} accepted, worst ratio {worst:.3f}"
    return Check(claim, measured, wrong == 0 and largest > 1e10 and worst <= 1 + ROUNDING)


def check_12_no_op_law(solve: Solver, full: bool) -> Check:
    exits = [
        solve(Oracle(generated(seed)), generated(seed).x0, B, 10.0 ** -(seed % 8), alpha=alpha).exit
        for seed in range(40 if full else 16)
        for B, alpha in ((8, 2.5), (15, 3.5), (64, 16.5), (256, 64.5))  # T = B // 4 < alpha
    ]
    problem = least_absolute_deviations(0, n=2000, d=20)
    B, L = 65536 if full else 4096, 10.0
    outcome = solve(Oracle(problem, batch=1, calls=B), problem.x0, B, 1e-9, L=L, delta=0.1)
    change = abs(problem.value(outcome.point) / problem.value(problem.x0) - 1)
    holds = set(exits) == {"lo"} and outcome.exit == "lo" and outcome.exponent == 0 and change < 1e-3
    measured = (
        f"{exits.count('lo')} of {len(exits)} lo-exits; Eq. 13: {outcome.exit}, f moves by {change:.0e}"
    )
    return Check(
        f"T < alpha: eta_eps is returned, on any problem; so with Eq. 13 at B = {B}", measured, holds
    )


def check_13_noise(solve: Solver, full: bool) -> Check:
    B = 8192 if full else 512
    problem = largest_entry(40000 if full else 200)
    exits = {solve(Oracle(problem), problem.x0, B, eta_eps).exit for eta_eps in (1e-6, 1e-3, 1.0)}
    ratios = {}
    for sigma in (3.0, 10.0):
        for a in (1.5, 3.0, 10.0) if full else (1.5, 3.0):
            law = (a - 1) * (1 + sigma**2)
            ratios[sigma, a] = half_accepted(sigma, a, 50, int(3 * law) + 10, 400 if full else 200) / law
    measured = f"max-type exits {exits}; T(50%)/law " + ", ".join(f"{r:.2f}" for r in ratios.values())
    holds = exits == {"lo"} and all(0.8 <= r <= 1.25 for r in ratios.values())
    return Check(
        "orthogonal gradients: lo-exit; half accepted at T = (a-1) E|g|^2/|grad|^2, within 25 %",
        measured,
        holds,
    )


def check_16_restarts(solve: Solver, full: bool) -> Check:
    stages, slopes, exits = range(3, 18 if full else 14), [], []
    for seed in range(3 if full else 2):
        problem, gaps = strongly_convex_lad(seed), []
        x = problem.x0
        for m in stages:
            outcome = solve(Oracle(problem), x, 2**m, 1e-2 / 2**m)
            x, gaps, exits = outcome.point, [*gaps, problem.gap(outcome.point)], [*exits, outcome.exit]
        slopes.append(slope([2**m for m in stages if m >= 9], gaps[6:]))
    measured = sum(slopes) / len(slopes)
    claim = "strongly convex restarts: gap ~ 1/B from m = 9 on: slope -1 +- 0.1"
    text = f"slope {measured:.3f} over m = 9..{stages[-1]}; {exits.count('lo')} of {len(exits)} stages no-ops"
    return Check(claim, text, abs(measured + 1) <= 0.1)


CHECKS: dict[int, Callable[[Solver, bool], Check]] = {
    int(name.split("_")[1]): check for name, check in sorted(globals().items()) if name.startswith("check_")
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--reference", action="store_true", help="check the literal oracle, not pfopt.minimize"
    )
    parser.add_argument("--reduced", action="store_true", help="the sizes that the tests use")
    parser.add_argument("numbers", nargs="*", type=int, help="checks to run; all by default")
    options = parser.parse_args()
    solver = algorithm1 if options.reference else by_pfopt
    failed = []
    for number in options.numbers or CHECKS:
        check = CHECKS[number](solver, not options.reduced)
        verdict = "holds" if check.holds else "DOES NOT HOLD"
        print(f"{number:2d}  {check.claim}\n    {check.measured}\n    {verdict}", flush=True)
        failed += [] if check.holds else [number]
    raise SystemExit(f"checks {failed} do not hold" if failed else 0)


if __name__ == "__main__":
    main()
