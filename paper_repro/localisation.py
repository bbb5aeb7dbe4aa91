"""Claim 4: what is accepted or returned stays near the anchor, whatever the probes that are too long do."""

import numpy as np

import pfopt
from paper_repro.bounds import ROUNDING, theorem_7
from paper_repro.claim import BLACK, BLUE, ORANGE, Claim, Finding, Solver, canvas
from paper_repro.problems import Oracle, Problem, generated, quadratic

SHOWN = 1e12  # top of the picture; what went further is drawn there


def problems(quick: bool) -> list[tuple[Problem, float]]:
    """Generated problems with several first steps, and quadratics whose first steps leave room to diverge."""
    found = [(generated(seed), 10.0 ** -(1 + seed % 7)) for seed in range(8 if quick else 200)]
    for seed in range(2 if quick else 40):
        rng = np.random.default_rng(seed)
        bowl = quadratic(np.geomspace(1.0, 0.01, 6), rng.standard_normal(6), rng.standard_normal(6))
        found.append((bowl, 2.0**-30))
    return found


def measure(solve: Solver, quick: bool) -> Finding:
    """Every probe of every search; exact gradients, alpha = 3."""
    reach, answers, gaps, probes, lost = [], [], [], [], 0
    for problem, first in problems(quick):
        for B in (64, 1024):
            result = solve(Oracle(problem), problem.x0, B, plan=pfopt.Certified(), initial_step=first)
            unit = problem.d0 / float(np.linalg.norm(problem.gradient(problem.x0, None)))
            lost += not np.isfinite(result.x).all()
            probes += [(p.step_size / unit, p.distance / problem.d0, p.accepted) for p in result.probes]
            reach += [p.distance / problem.d0 for p in result.probes if p.accepted]
            if result.outcome == pfopt.Outcome.CERTIFIED:
                answers.append(float(np.linalg.norm(result.x - problem.minimiser)) / problem.d0)
                gaps.append(problem.gap(result.x) / theorem_7(result, problem.d0))
    farthest = max(d for _, d, _ in probes if np.isfinite(d))

    figure, (axes,) = canvas(6, 4)
    for accepted, marker, color in ((False, "x", ORANGE), (True, ".", BLUE)):
        points = [
            (s, min(d, SHOWN) if np.isfinite(d) else SHOWN) for s, d, a in probes if a == accepted and d > 0
        ]
        label = "accepted" if accepted else "rejected (top: farther, or overflow)"
        axes.loglog(*np.transpose(points), marker, color=color, markersize=4, label=f"probes, {label}")
    axes.axhline(3, color=BLACK, linestyle="--", label="3 d0, the bound for accepted probes")
    axes.set(xlabel="step size · ‖g0‖ / d0", ylabel="r̄ / d0: how far the probe went", xlim=(1e-12, 1e8))
    axes.legend(frameon=False, loc="lower right")
    return Finding(
        "r̄ <= 3 d0 for accepted probes, |x - x*| <= 4 d0 for answers, Theorem 7 although probes diverge",
        f"r̄ <= {max(reach):.2f} d0 in {len(reach)} accepted probes, |x - x*| <= {max(answers):.2f} d0 in "
        f"{len(answers)} answers, gap/bound <= {max(gaps):.2f}; rejected probes went up to {farthest:.0e} d0, "
        f"{lost} answers not finite",
        max(reach) <= 3 + ROUNDING
        and max(answers) <= 4 + ROUNDING
        and max(gaps) <= 1 + ROUNDING
        and lost == 0
        and farthest > SHOWN,
        figure,
    )


CLAIM = Claim(
    4,
    "localisation",
    "Accepted runs stay within 3 d0, answers within 4 d0; probes that diverge do no harm.",
    "Lemma 3, Theorem 7",
    measure,
)

if __name__ == "__main__":
    CLAIM.main()
