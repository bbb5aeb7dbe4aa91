"""Claim 7, ours: the certificate of the dual sequence bounds the last iterate of linearly decaying steps.

The derivation is in ``linear_decay_certificate.md`` beside this file.
"""

import numpy as np

import pfopt
from experiments.common.suboptimality import gap, geometric_mean
from paper_repro.bounds import ROUNDING, final_probes, root_sum, theorem_7
from paper_repro.claim import BLACK, BLUE, ORANGE, Claim, Finding, Solver, canvas
from paper_repro.problems import Oracle, Problem, generated

BUDGETS = (64, 512)


def bound(result: pfopt.Result, problem: Problem) -> float:
    """Theorem 7's after a bisection, Proposition 5's where even the initial step was too large."""
    if result.outcome == pfopt.Outcome.CERTIFIED:
        return theorem_7(result, problem.d0)
    lo = final_probes(result)[1]
    return (np.sqrt(3) * problem.d0 * root_sum(lo) + lo.step_size * root_sum(lo) ** 2) / lo.steps


def measure(solve: Solver, quick: bool) -> Finding:
    """Random problems of eight kinds, exact gradients, both outputs at the same budgets."""
    shares, moved, answers, gains = [], [], [], []
    for seed in range(16 if quick else 200):
        problem, first = generated(seed), 10.0 ** -(1 + seed % 7)
        for B in BUDGETS:
            linear, average = (
                solve(Oracle(problem), problem.x0, B, plan=pfopt.Certified(output), initial_step=first)
                for output in ("last", "average")
            )
            if linear.outcome not in (pfopt.Outcome.CERTIFIED, pfopt.Outcome.LOWER_EXIT):
                continue
            found = gap(problem.value(linear.x), problem.minimum)
            shares.append(problem.gap(linear.x) / bound(linear, problem))
            moved += [p.distance / problem.d0 for p in linear.probes if p.accepted]
            if linear.outcome == pfopt.Outcome.CERTIFIED:
                answers.append(float(np.linalg.norm(linear.x - problem.minimiser)) / problem.d0)
                gains.append(gap(problem.value(average.x), problem.minimum) / found)
    better = float(np.mean(np.array(gains) > 1))

    figure, panels = canvas(9, 3.6, 2)
    panels[0].hist(shares, np.geomspace(1e-6, 2, 40).tolist(), color=BLUE)
    panels[0].axvline(1, color=BLACK, linestyle="--", label="the bound")
    panels[0].set(xscale="log", xlabel="(f(last iterate) - f*) / bound", ylabel="searches")
    panels[1].hist(np.clip(gains, 1e-2, 1e4), np.geomspace(1e-2, 1e4, 40).tolist(), color=ORANGE)
    panels[1].axvline(1, color=BLACK, linestyle=":", label="as good")
    panels[1].set(xscale="log", xlabel="gap of the average / gap of the last iterate", ylabel="searches")
    for axes in panels:
        axes.legend(frameon=False)
    return Finding(
        "gap <= bound for the last iterate, no exception; r̄ <= 3 d0, |y - x*| <= 4 d0; no worse than the "
        "average at equal B in geometric mean",
        f"gap/bound <= {max(shares):.3f} in {len(shares)} searches, r̄ <= {max(moved):.2f} d0, |y - x*| <= "
        f"{max(answers):.2f} d0; better than the average in {better:.0%} of {len(gains)}, its gap smaller by a "
        f"factor {geometric_mean(gains):.2f} in geometric mean, {np.median(gains):.2f} in the median",
        max(*shares, max(moved) / 3, max(answers) / 4) <= 1 + ROUNDING and geometric_mean(gains) >= 1,
        figure,
    )


CLAIM = Claim(
    7,
    "linear_decay_certificate",
    "Ours: the certificate of the dual sequence bounds the last iterate under linear decay.",
    "linear_decay_certificate.md",
    measure,
)

if __name__ == "__main__":
    CLAIM.main()
