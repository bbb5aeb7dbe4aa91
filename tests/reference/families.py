"""Families of runs and searches that the theory checks measure."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from paper_repro.problems import Oracle, Problem, generated
from tests.reference.algorithm1 import Run, run_sgd
from tests.reference.outcome import Outcome

Solver = Callable[..., Outcome]  # (oracle, x0, B, eta_eps, **options), as algorithm1
OUTPUTS = ("average", "last")


def solved(solve: Solver, count: int, **options: Any) -> Iterator[tuple[Problem, Outcome, float]]:
    """Problems, with what the solver made of them over several budgets and first steps."""
    for seed in range(count):
        problem, eta_eps = generated(seed), 10.0 ** -(1 + seed % 7)
        for B in (10, 64, 200, 512):
            yield problem, solve(Oracle(problem), problem.x0, B, eta_eps, **options), eta_eps


def single_runs(count: int) -> Iterator[tuple[Problem, Run, float, int]]:
    """Runs of single step sizes, from far too small to diverging."""
    for seed in range(count):
        problem = generated(seed)
        for output in OUTPUTS:
            for T in (5, 40, 150):
                for exponent in range(-16, 13, 2):
                    eta = 2.0**exponent
                    run = run_sgd(Oracle(problem), problem.x0, eta, T, output)
                    if run.finite and run.G > 0:
                        yield problem, run, eta, T


def half_accepted(sigma: float, a: float, d: int, longest: int, trials: int) -> int:
    """The first T at which half of all runs on a unit linear function with noise sigma are accepted."""
    rng, accepted = np.random.default_rng(0), np.zeros(longest)
    for _ in range(trials):
        g = sigma / math.sqrt(d) * rng.standard_normal((longest, d))
        g[:, 0] += 1.0
        farthest = np.maximum.accumulate(np.sum(np.cumsum(g, axis=0) ** 2, axis=1))
        accepted += farthest >= a * np.cumsum(np.sum(g**2, axis=1))
    return int(np.argmax(accepted >= trials / 2)) + 1
