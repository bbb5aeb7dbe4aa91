"""Claim 1: on non-smooth problems the gap falls like B^-1/2, at a bounded factor from SGD's optimal step."""

import math

import numpy as np

import pfopt
from experiments.common.suboptimality import geometric_mean
from paper_repro.baselines import gaps, sgd
from paper_repro.bounds import slope
from paper_repro.claim import BLACK, BLUE, Claim, Finding, Solver, canvas
from paper_repro.problems import Oracle, least_absolute_deviations

FIRST_STEP = 1e-3  # any step size below the certified ones gives the same picture
STEPS = 2.0 ** np.arange(-9, 3)  # of the grid from which SGD's optimal step is taken in hindsight
TOLERANCE = 0.1  # of the slope: the step size moves in factors of two, so the gaps form a staircase


def measure(solve: Solver, quick: bool) -> Finding:
    """Least absolute deviations on interpolable data, f* = 0: 50 equations in 50 unknowns."""
    budgets = 2 ** np.arange(8, 13 if quick else 16)
    ours, best, shares = [], [], []
    for seed in range(1 if quick else 3):
        problem = least_absolute_deviations(seed, n=50, d=50, noise=0.0)
        runs = [sgd(Oracle(problem), problem.x0, step) for step in STEPS]
        grid = [gaps(problem, run, int(budgets[-1]), int(budgets[0])) for run in runs]
        best.append(np.min(grid, axis=0)[budgets // budgets[0] - 1])
        results = [
            solve(Oracle(problem), problem.x0, int(B), plan=pfopt.Certified(), initial_step=FIRST_STEP)
            for B in budgets
        ]
        ours.append([problem.gap(result.x) for result in results])
        allowed = [math.sqrt(27 * 2 * result.probes[-1].k) for result in results]
        shares.append(np.array(ours[-1]) / best[-1] / allowed)
    means = [[geometric_mean(column) for column in np.transpose(rows)] for rows in (ours, best)]
    measured, worst = slope(budgets, means[0]), float(np.max(shares))

    figure, (axes,) = canvas(5.5, 4)
    axes.loglog(budgets, means[0], "o-", color=BLUE, label=f"pfopt.minimize, slope {measured:.2f}")
    axes.loglog(budgets, means[1], "s--", color=BLACK, label="SGD, best step in hindsight, same budget")
    axes.loglog(budgets, means[0][0] * (budgets / budgets[0]) ** -0.5, ":", color="0.5", label="slope -1/2")
    axes.set(xlabel="gradients", ylabel="f - f*, geometric mean of 3 problems", title="mean |Ax - b|")
    axes.legend(frameon=False)
    return Finding(
        f"slope -0.5 ± {TOLERANCE} in B; gap at most sqrt(27·2k) times that of SGD's best step",
        f"slope {measured:.3f}, B = {budgets[0]}…{budgets[-1]}; worst factor {worst:.2f} of the allowed one, "
        f"i.e. {np.max(np.array(ours) / best):.1f} times SGD's gap",
        abs(measured + 0.5) <= TOLERANCE and worst <= 1,
        figure,
    )


CLAIM = Claim(
    1,
    "nonsmooth_rate",
    "Non-smooth: the gap falls like B^-1/2, no constant known, within the theorem's factor of SGD's best step.",
    "Theorem 7",
    measure,
)

if __name__ == "__main__":
    CLAIM.main()
