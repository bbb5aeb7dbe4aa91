"""What the search is compared with: SGD of one fixed step size, and DoG from the authors' package."""

from collections.abc import Callable, Iterator
from itertools import islice

import numpy as np
import torch
from dog import DoG

from paper_repro.problems import Array, Problem
from pfopt.core.averaging import mean_weight

Gradient = Callable[[Array], Array]


def sgd(oracle: Gradient, x0: Array, step_size: float) -> Iterator[Array]:
    """The uniform average of x_0 … x_t, one for each t."""

    def points() -> Iterator[Array]:
        x = x0.copy()
        while True:
            yield x
            x = x - step_size * oracle(x)

    return _averages(points(), x0, 0.0)


def dog(oracle: Gradient, x0: Array, first_move: float) -> Iterator[Array]:
    """DoG's averaged iterate (gamma = 8, its authors' choice) after 1, 2, … steps, the first of this length."""
    x = torch.from_numpy(x0.copy())
    optimizer = DoG([x], reps_rel=first_move / (1.0 + float(x.norm())))

    def points() -> Iterator[Array]:
        while True:
            x.grad = torch.from_numpy(oracle(x.numpy()))
            optimizer.step()
            yield x.numpy()

    return _averages(points(), x0, 8.0)


def _averages(points: Iterator[Array], x0: Array, gamma: float) -> Iterator[Array]:
    average = x0.copy()
    for count, x in enumerate(points, start=1):
        average += mean_weight(gamma, count) * (x - average)
        yield average


def gaps(problem: Problem, averages: Iterator[Array], steps: int, every: int = 1) -> Array:
    """F - f* after every ``every``-th of so many steps; infinite where a run has diverged."""
    with np.errstate(all="ignore"):
        found = [problem.gap(average) for average in islice(averages, every - 1, steps, every)]
    return np.nan_to_num(np.array(found), nan=np.inf)


def steps_to(problem: Problem, averages: Iterator[Array], target: float, limit: int) -> int | None:
    """After how many steps the gap is at most ``target`` for the first time."""
    counted = enumerate(islice(averages, limit), start=1)
    return next((count for count, average in counted if problem.gap(average) <= target), None)
