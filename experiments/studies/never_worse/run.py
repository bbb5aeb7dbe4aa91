"""One problem for one method, and what is wrong with the end."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from experiments.studies.never_worse.families import Point
from experiments.studies.never_worse.problems import Oracle, problem
from pfopt import minimize

ROUNDING = 1e-9  # relative to the first value: what float64 makes of sums


class Job(NamedTuple):
    """One run."""

    number: int
    method: str


def ours(oracle: Oracle, start: Point, budget: int) -> Point:
    """The numpy front end, at its defaults."""
    return minimize(oracle, start, budget).x


def sgd(rate: float) -> Callable[[Oracle, Point, int], Point]:
    """Stochastic gradient descent at a fixed rate."""

    def run(oracle: Oracle, start: Point, budget: int) -> Point:
        x = start.copy()
        for _ in range(budget):
            x = x - rate * oracle(x)[1]
        return x

    return run


def adamw(oracle: Oracle, start: Point, budget: int) -> Point:
    """AdamW as torch has it, at torch's defaults."""
    x, first, second = start.copy(), np.zeros_like(start), np.zeros_like(start)
    for step in range(1, budget + 1):
        grad = oracle(x)[1]
        first, second = 0.9 * first + 0.1 * grad, 0.999 * second + 0.001 * grad**2
        x = x * (1 - 1e-5)
        x = x - 1e-3 * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
    return x


METHODS: dict[str, Callable[[Oracle, Point, int], Point]] = {
    "pfopt.minimize": ours,
    "SGD(0.1)": sgd(0.1),
    "SGD(1e-3)": sgd(1e-3),
    "AdamW(1e-3)": adamw,
}


def run(job: Job) -> dict[str, Any]:
    """The row of a run; ``fault`` is empty where nothing is wrong."""
    of = problem(job.number)
    oracle, fault, end = Oracle(of, job.number), "", math.nan
    row = {**job._asdict(), "family": of.family, "dimension": len(of.start), "noise": of.noise}
    row |= {
        "strength": of.strength,
        "scale": of.scale,
        "budget": of.budget,
        "start": of.function(of.start)[0],
    }
    with np.errstate(all="ignore"):
        try:
            point = METHODS[job.method](oracle, of.start, of.budget)
        except Exception as error:  # whatever it is, it is the finding
            return {**row, "end": end, "calls": oracle.calls, "fault": f"raised {error!r:.80}"}
        if not np.isfinite(point).all():
            fault = "not finite"
        else:
            end = of.function(point)[0]
            allowed = row["start"] + oracle.allowance(point) + ROUNDING * abs(row["start"])
            fault = "" if end <= allowed else "worse"
    if oracle.calls > of.budget:
        fault = "over budget"
    return {**row, "end": end, "calls": oracle.calls, "fault": fault}
