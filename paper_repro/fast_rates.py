"""Claim 5: 1/B on smooth and, with restarts, on strongly convex problems; neither constant is told."""

import numpy as np

import pfopt
from experiments.common.suboptimality import geometric_mean
from paper_repro.bounds import slope
from paper_repro.claim import BLUE, GREEN, Claim, Finding, Solver, canvas
from paper_repro.problems import Oracle, slow_quadratic, strongly_convex_lad

TOLERANCE = 0.1  # of the strongly convex slope


def smooth(solve: Solver, quick: bool) -> tuple[list[int], list[float], list[float]]:
    """Budgets, gaps and step sizes on the quadratic with S = 1, from 1/(2S)."""
    problem, budgets = slow_quadratic(), [2**m for m in range(7, 12 if quick else 16)]
    results = [
        solve(Oracle(problem), problem.x0, B, plan=pfopt.Certified(), initial_step=0.5) for B in budgets
    ]
    return budgets, [problem.gap(r.x) for r in results], [r.step_size for r in results]


def strongly_convex(solve: Solver, quick: bool) -> tuple[list[int], list[list[float]]]:
    """Budgets of 8 + 16 + … gradients, and the gap of each problem after each of them."""
    problems = [strongly_convex_lad(seed) for seed in range(1 if quick else 5)]
    budgets = [2 ** (m + 1) - 8 for m in (range(8, 14) if quick else range(9, 18))]
    plan = pfopt.Certified(restarts="doubling")
    gaps = [
        [p.gap(solve(Oracle(p), p.x0, B, plan=plan, initial_step=1e-2).x) for B in budgets] for p in problems
    ]
    return budgets, gaps


def measure(solve: Solver, quick: bool) -> Finding:
    """Exact gradients. The quadratic is one on which the rate is met and not beaten by much."""
    budgets, gaps, steps = smooth(solve, quick)
    longer, each = strongly_convex(solve, quick)
    slopes = slope(budgets, gaps), float(np.mean([slope(longer, one) for one in each]))

    figure, panels = canvas(9, 3.6, 2)
    means = [geometric_mean(column) for column in np.transpose(each)]
    panels[0].loglog(budgets, gaps, "o-", color=BLUE, label=f"pfopt.minimize, slope {slopes[0]:.2f}")
    panels[1].loglog(
        longer, means, "s-", color=GREEN, label=f'restarts="doubling", mean slope {slopes[1]:.2f}'
    )
    titles = ("smooth: eigenvalues i^-2", "strongly convex: mean |Ax - b| + 0.025 |x|²")
    for axes, title, line in zip(panels, titles, ((budgets, gaps), (longer, means)), strict=True):
        axes.loglog(line[0], line[1][0] * line[0][0] / np.array(line[0]), ":", color="0.5", label="slope -1")
        axes.set(xlabel="gradients", ylabel="f - f*", title=title)
        axes.legend(frameon=False)
    return Finding(
        f"smooth: slope <= -1, step sizes in [1/(2S), 2/S]; strongly convex: slope -1 ± {TOLERANCE}",
        f"smooth: slope {slopes[0]:.3f}, step sizes {min(steps):g}…{max(steps):g} /S over B = {budgets[0]}…"
        f"{budgets[-1]}; strongly convex: slope {slopes[1]:.3f} over B = {longer[0]}…{longer[-1]}",
        slopes[0] <= -1 and 0.5 <= min(steps) <= max(steps) <= 2 and abs(slopes[1] + 1) <= TOLERANCE,
        figure,
    )


CLAIM = Claim(
    5,
    "fast_rates",
    "Smooth, exact gradients: 1/B. Strongly convex with restarts: 1/B without mu.",
    "Theorems 15 and 16",
    measure,
)

if __name__ == "__main__":
    CLAIM.main()
