"""What the search is compared with: SGD of one fixed step size, and DoG from the authors' package."""

from collections.abc import Iterator

import numpy as np
import torch
from dog import DoG

from paper_repro.problems import Array, Problem
from pfopt.search.schedule import average_weight


def sgd_gaps(problem: Problem, step_size: float, steps: int, every: int = 1) -> Array:
    """Gaps of the uniform average of x_0 … x_{t-1}, for every ``every``-th t up to ``steps``."""

    def points() -> Iterator[Array]:
        x = problem.x0.copy()
        while True:
            yield x
            x = x - step_size * problem.gradient(x, None)

    return _gaps_of_averages(problem, points(), 0.0, steps, every)


def dog_gaps(problem: Problem, first_move: float, steps: int, every: int = 1) -> Array:
    """Gaps of DoG's averaged iterate (gamma = 8, its authors' choice), where the first step has this length."""
    x = torch.from_numpy(problem.x0.copy())
    optimizer = DoG([x], reps_rel=first_move / (1.0 + float(x.norm())))

    def points() -> Iterator[Array]:
        while True:
            x.grad = torch.from_numpy(problem.gradient(x.numpy(), None))
            optimizer.step()
            yield x.numpy()

    return _gaps_of_averages(problem, points(), 8.0, steps, every)


def _gaps_of_averages(
    problem: Problem, points: Iterator[Array], gamma: float, steps: int, every: int
) -> Array:
    average, gaps = problem.x0.copy(), []
    with np.errstate(all="ignore"):
        for count, x in zip(range(1, steps + 1), points, strict=False):
            average += average_weight(gamma, count) * (x - average)
            if count % every == 0:
                gaps.append(problem.gap(average))
    return np.nan_to_num(np.array(gaps), nan=np.inf)


def first_at_most(gaps: Array, target: float, every: int = 1) -> int | None:
    """The number of gradients after which the gap is at most ``target`` for the first time."""
    hits = np.flatnonzero(gaps <= target)
    return None if len(hits) == 0 else every * int(hits[0] + 1)
