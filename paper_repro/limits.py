"""Claim 8: gradients alone cannot tell; a rare gradient decides where the minimum is, and nobody has seen it.

Two problems on the line, started at 0. On "far" every gradient is -1 until x = 1: f = |x - 1|. On "near" it is
-1 too, but with probability p it is (2 - p)/p, so that its mean is +1 for x > 0: f = |x|. With p = 1/(10 B),
nine runs of ten see the same gradients on both, so no method can be right on both (Carmon & Hinder, "The Price of
Adaptivity", 2024; Attia & Koren, "How Free is Parameter-Free Stochastic Optimization?", 2024). What tells them
apart is a bound on the gradients, 1 or 20 B, and it has to be told.
"""

from collections.abc import Iterator
from itertools import islice

import numpy as np

import pfopt
from paper_repro.baselines import Gradient, dog, sgd
from paper_repro.claim import BLACK, BLUE, ORANGE, Claim, Finding, Solver, canvas
from paper_repro.problems import Array
from pfopt.options import Plan

BUDGET = 512
RARE = 1 / (10 * BUDGET)
X0 = np.zeros(1)


def far(x: Array) -> Array:
    """The gradient of |x - 1|."""
    return np.where(x < 1, -1.0, 1.0)


def rare_calls(seed: int) -> Array:
    """At which calls the rare gradient comes."""
    return np.random.default_rng(seed).random(BUDGET) < RARE


def near(seed: int) -> Gradient:
    """Unbiased gradients of |x|, bounded by 2/p; those of ``far`` most of the time."""
    rare = iter(rare_calls(seed))

    def gradient(x: Array) -> Array:
        common = far(x)
        return (np.where(x > 0, 1.0, -1.0) - (1 - RARE) * common) / RARE if next(rare) else common

    return gradient


def run(solve: Solver, oracle: Gradient, plan: Plan) -> Array:
    """The point that a plan returns after B gradients."""
    return solve(oracle, X0, BUDGET, plan=plan, initial_step=1e-6).x


METHODS = {
    "certified": lambda solve, oracle: run(solve, oracle, pfopt.Certified()),
    "certified,\nbeta = (20 B)²": lambda solve, oracle: run(
        solve, oracle, pfopt.Certified(beta=(20.0 * BUDGET) ** 2)
    ),
    "practical": lambda solve, oracle: run(solve, oracle, pfopt.Practical()),
    "DoG": lambda solve, oracle: last(dog(oracle, X0, 1e-6)),
    'SGD, step\nfor "far"': lambda solve, oracle: last(sgd(oracle, X0, BUDGET**-0.5)),
}


def last(averages: Iterator[Array]) -> Array:
    """The average after B gradients."""
    return next(islice(averages, BUDGET - 1, None))


def measure(solve: Solver, quick: bool) -> Finding:
    """Every method with the same draws on both problems; runs that met no rare gradient are compared."""
    seeds = range(10 if quick else 400)
    alike = [seed for seed in seeds if not rare_calls(seed).any()]
    on_far = np.array([float(method(solve, far)[0]) for method in METHODS.values()])
    on_near = np.array(
        [[float(method(solve, near(seed))[0]) for method in METHODS.values()] for seed in alike]
    )
    same = bool((on_near == on_far).all())
    gaps = np.array([np.abs(on_far - 1.0), np.abs(on_near).min(axis=0)])
    share, worse = len(alike) / len(seeds), gaps.max(axis=0)

    figure, (axes,) = canvas(6.5, 4)
    for j, (color, label) in enumerate(((BLUE, 'on "far", f = |x - 1|'), (ORANGE, 'on "near", f = |x|'))):
        axes.bar(np.arange(len(METHODS)) + 0.35 * (j - 0.5), gaps[j], 0.33, color=color, label=label)
    axes.axhline(0.5, color=BLACK, linestyle="--", label="half the distance of the two minimisers")
    axes.set_xticks(range(len(METHODS)), list(METHODS), fontsize=8)
    axes.set(ylabel="f - f* of runs that saw the same gradients", ylim=(0, 1.6))
    axes.legend(frameon=False)
    names = [name.replace("\n", " ") for name in METHODS]
    return Finding(
        "runs without a rare gradient, (1-p)^B = 0.90 of them (± 0.1), end at the same point on both problems, so "
        "the worse gap of every method is at least 1/2, half the distance of the minimisers",
        f"{share:.2f} of {len(seeds)} runs, {'all' if same else 'NOT all'} at the same point; worse gaps "
        f"{', '.join(f'{name} {gap:.2f}' for name, gap in zip(names, worse, strict=True))}",
        same and worse.min() >= 0.5 and abs(share - (1 - RARE) ** BUDGET) <= 0.1,
        figure,
    )


CLAIM = Claim(
    8,
    "limits",
    "What cannot be had: two problems that gradients alone do not tell apart.",
    "Price of Adaptivity; Attia & Koren 2024",
    measure,
)

if __name__ == "__main__":
    CLAIM.main()
