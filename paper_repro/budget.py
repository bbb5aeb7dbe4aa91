"""Claim 3: a search that ends in a bisection spends its budget to the last gradient, and returns B/2k of them."""

from matplotlib.patches import Patch

import pfopt
from paper_repro.bounds import final_probes
from paper_repro.claim import BLUE, ORANGE, YELLOW, Claim, Finding, Solver, canvas
from paper_repro.problems import Oracle, generated, slow_quadratic

SHARES = {2: 4, 4: 8, 8: 16}  # B/T
SHOWN = {2: 2.0**-2, 4: 2.0**-8, 8: 2.0**-60}  # an initial step whose search ends in range k
COLORS = (ORANGE, YELLOW, BLUE)  # failed ranges, ends of the last range, bisection


def accounts(solve: Solver, quick: bool) -> tuple[int, list[str], dict[int, int]]:
    """Searches, what was wrong in them, and how many bisections ended in each range."""
    searches, wrong, ranges = 0, [], dict.fromkeys(SHARES, 0)
    for seed in range(8 if quick else 160):
        problem = generated(seed)
        for B in (8, 9, 31, 32, 33, 63, 64, 96, 100, 256, 1000, 1024):
            oracle = Oracle(problem)
            result = solve(oracle, problem.x0, B, plan=pfopt.Certified(), initial_step=10.0 ** -(seed % 11))
            searches += 1
            spent = sum(probe.steps for probe in result.probes)
            faults = {
                "more than B": oracle.calls > B,
                "miscounted": not oracle.calls == result.gradients == spent,
                "T is not B/2k": any(p.steps != B // (2 * p.k) for p in result.probes),
            }
            if result.outcome == pfopt.Outcome.CERTIFIED:
                k = result.probes[-1].k
                ranges[k] += 1
                faults["not exactly B"] = B % (2 * k) == 0 and spent != B
                faults["not k bisections"] = len(final_probes(result)) != k + 2
            wrong += [f"{what} (problem {seed}, B = {B})" for what, found in faults.items() if found]
    return searches, wrong, ranges


def measure(solve: Solver, quick: bool) -> Finding:
    """Generated problems of eight kinds; the picture shows where the gradients go."""
    searches, wrong, ranges = accounts(solve, quick)
    problem, B = slow_quadratic(), 1024

    figure, (axes,) = canvas(6.5, 2.8)
    for row, (k, step) in enumerate(SHOWN.items()):
        left, probes = (
            0,
            solve(Oracle(problem), problem.x0, B, plan=pfopt.Certified(), initial_step=step).probes,
        )
        for index, probe in enumerate(probes):
            kind = 0 if probe.k < k else 1 if index < len(probes) - k else 2
            axes.barh(row, probe.steps, left=left, color=COLORS[kind], edgecolor="white")
            left += probe.steps
    axes.axvline(B, color="black", linewidth=0.8)
    axes.set_yticks(range(3), [f"k = {k}, T = B/{share}" for k, share in SHARES.items()])
    axes.set_xlabel("gradients spent, one block a probe")
    labels = ("smaller ranges", "both ends of the last range", "bisection")
    handles = [Patch(color=color, label=label) for color, label in zip(COLORS, labels, strict=True)]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
    return Finding(
        "never more than B, exactly B where 2k divides it; T = B/4, B/8, B/16; k bisection steps; no exception",
        f"{len(wrong)} exceptions in {searches} searches, which ended {ranges[2]}, {ranges[4]}, {ranges[8]} "
        f"times in k = 2, 4, 8{': ' + wrong[0] if wrong else ''}",
        not wrong and min(ranges.values()) > 0,
        figure,
    )


CLAIM = Claim(
    3,
    "budget",
    "Exactly B gradients are spent, and T = B/4, B/8, B/16.",
    "Algorithm 1, Appendix A.4",
    measure,
)

if __name__ == "__main__":
    CLAIM.main()
