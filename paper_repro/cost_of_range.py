"""Claim 2: not knowing the step size costs a doubly logarithmic factor; a grid's cost grows with the range."""

import math

import numpy as np

import pfopt
from paper_repro.baselines import dog, sgd, steps_to
from paper_repro.claim import BLACK, BLUE, ORANGE, SKY, Claim, Finding, Solver, canvas
from paper_repro.problems import Oracle, Problem, slow_quadratic
from pfopt.options import Plan

TARGET = 1e-3  # gap to be reached; 0.6 at the anchor
FINENESS = 2**0.25  # ratio of the budgets that are tried: the resolution of a cost
DOUBLINGS = (
    0,
    1,
    2,
    3,
    4,
    6,
    9,
    13,
    16,
    20,
    32,
    64,
    128,
    248,
)  # of initial_step, up to the certified step size


def cost(solve: Solver, problem: Problem, initial_step: float, plan: Plan) -> int:
    """The smallest budget, of those tried, that reaches the target."""
    budgets = [round(32 * FINENESS**i) for i in range(52)]
    for budget in budgets:
        result = solve(Oracle(problem), problem.x0, budget, plan=plan, initial_step=initial_step)
        if problem.gap(result.x) <= TARGET:
            return budget
    return budgets[-1]


def grid_cost(problem: Problem, doublings: int) -> int:
    """Runs at 2^-doublings, …, 1/2, 1, each as long as the run at 1 needs: the grid that knows where to end."""
    run = sgd(Oracle(problem), problem.x0, 1.0)
    return (doublings + 1) * (steps_to(problem, run, TARGET, 2000) or 2000)


def dog_cost(problem: Problem, ratio: float) -> float:
    """Steps of one run whose first move is d0 / 2^ratio."""
    run = dog(Oracle(problem), problem.x0, problem.d0 * 2.0**-ratio)
    return steps_to(problem, run, TARGET, 2000 + 200 * int(ratio)) or math.inf


def measure(solve: Solver, quick: bool) -> Finding:
    """The quadratic with eigenvalues i^-2, on which the rate 1/B is met and not beaten.

    Initial steps are powers of two, so that the same step sizes are tested whatever the range: what the factor
    of two between them costs is another matter.
    """
    problem = slow_quadratic()
    doublings = (0, 64) if quick else DOUBLINGS
    unit = problem.d0 / float(np.linalg.norm(problem.gradient(problem.x0, None)))
    ratios = [math.log2(unit) + j for j in doublings]
    plans = pfopt.Certified(), pfopt.Practical()
    ours, practical = ([cost(solve, problem, 2.0**-j, plan) for j in doublings] for plan in plans)
    grid = [grid_cost(problem, j) for j in doublings]
    dogs = [dog_cost(problem, ratio) for ratio in ratios]
    growth = [costs[-1] / costs[0] for costs in (ours, grid, dogs)]

    figure, (axes,) = canvas(6.5, 4.5)
    axes.loglog(ratios, ours, "o-", color=BLUE, label='pfopt, plan "certified" (Theorems 7, 15)')
    axes.loglog(ratios, practical, "^-.", color=SKY, label='pfopt, plan "practical" (no theorem)')
    axes.loglog(ratios, dogs, "s--", color=ORANGE, label="DoG, first move d0 / ratio")
    axes.loglog(ratios, grid, "x:", color=BLACK, label="grid of SGD runs, factor 2, from initial_step up")
    axes.set_xticks([2**i for i in range(8)], [f"$2^{{{2**i}}}$" for i in range(8)])
    axes.set(xlabel="d0 / (initial_step ‖g0‖): how far the first guess is too small", ylabel="gradients")
    axes.set_title(f"Gradients until f - f* <= {TARGET:g}")
    axes.legend(frameon=False)
    return Finding(
        f"from 2^{ratios[0]:.1f} to 2^{ratios[-1]:.0f} the cost grows by at most 4 (2k: 4, 8, 16), "
        f"within {FINENESS - 1:.0%}; the grid's by more than 40",
        f"ours {ours[0]} → {ours[-1]} gradients, factor {growth[0]:.2f}; grid {grid[0]} → {grid[-1]}, "
        f"factor {growth[1]:.0f}; DoG {dogs[0]} → {dogs[-1]}, factor {growth[2]:.0f}; "
        f'plan "practical" {practical[0]} → {practical[-1]}',
        growth[0] <= 4 * FINENESS and growth[1] > 40,
        figure,
    )


CLAIM = Claim(
    2,
    "cost_of_range",
    "The price of an unknown step size is doubly logarithmic in d0 / initial_step.",
    "Theorems 7 and 15",
    measure,
)

if __name__ == "__main__":
    CLAIM.main()
