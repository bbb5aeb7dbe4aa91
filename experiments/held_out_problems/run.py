"""One run of one method on one problem."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import NamedTuple

from torch.nn.utils import clip_grad_norm_
from torch.optim import SGD, AdamW
from torch.optim.lr_scheduler import CosineAnnealingLR

from experiments.held_out_problems.problem import Problem
from experiments.held_out_problems.registry import PROBLEMS, make_problem
from pfopt.torch import ParameterFree, ParameterFreeSGD

OURS = ("pfopt", "pfopt-adamw")
RATES = {
    "sgd": (1e-4, 3.16e-4, 1e-3, 3.16e-3, 1e-2, 3.16e-2, 0.1, 0.316, 1.0, 3.16, 10.0),
    "adamw": (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2),
}
MOMENTUM = 0.9  # of SGD
FIRST = 5  # batches, to the largest loss of which the largest of all is compared


class Job(NamedTuple):
    """One run; ``learning_rate`` is None for a method that finds its own."""

    problem: str
    method: str
    learning_rate: float | None
    seed: int
    steps: int


def jobs(names: Sequence[str], seeds: Sequence[int], *, ours_only: bool = False) -> Iterator[Job]:
    """Every method and rate on every problem, seed by seed."""
    planned: list[tuple[str, float | None]] = [(method, None) for method in OURS]
    if not ours_only:
        planned += [(method, rate) for method, rates in RATES.items() for rate in rates]
    for seed, name, (method, rate) in product(seeds, names, planned):
        yield Job(name, method, rate, seed, PROBLEMS[name][0])


def run(job: Job) -> dict[str, object]:
    """Training and held-out loss, before and after, and how much louder a batch's loss was than the first ones.

    With them, what ours tells at the end; None of a grid's run.
    """
    problem = make_problem(job.problem, job.seed)
    initial, _ = problem.losses()
    if job.learning_rate is None:
        losses, message = _train_without_rate(problem, job)
    else:
        losses, message = _train_with_rate(problem, job, job.learning_rate), None
    problem.recalibrate()
    training, held_out = problem.losses()
    found = {"initial": initial, "training": training, "held_out": held_out}
    return {**job._asdict(), **found, "loudest": loudest(losses), "message": message}


def loudest(losses: Sequence[float]) -> float:
    """The largest loss of all batches over the largest of the first ones."""
    if not all(map(math.isfinite, losses)):
        return math.inf
    return max(losses) / max(map(abs, losses[:FIRST]))


def make_ours(problem: Problem, method: str, steps: int) -> ParameterFreeSGD | ParameterFree:
    """The optimizer of one of ours."""
    parameters, buffers = problem.parameters(), problem.model.buffers()
    if method == "pfopt":
        return ParameterFreeSGD(parameters, steps, buffers=buffers)
    return ParameterFree(AdamW(parameters), steps, buffers=buffers)


def _train_without_rate(problem: Problem, job: Job) -> tuple[list[float], str]:
    optimizer = make_ours(problem, job.method, job.steps)
    losses = train(problem, job.steps, optimizer.step)
    optimizer.eval()
    return losses, optimizer.status().message


def _train_with_rate(problem: Problem, job: Job, rate: float) -> list[float]:
    if job.method == "sgd":
        optimizer = SGD(problem.parameters(), rate, momentum=MOMENTUM)
    else:
        optimizer = AdamW(problem.parameters(), rate)
    schedule = CosineAnnealingLR(optimizer, job.steps)

    def step() -> None:
        optimizer.step()
        schedule.step()

    return train(problem, job.steps, step)


def train(problem: Problem, steps: int, update: Callable[[], object]) -> list[float]:
    """Take gradients and update; the loss of every batch."""
    losses = []
    for step in range(steps):
        problem.model.zero_grad()
        loss = problem.batch_loss(step)
        loss.backward()
        losses.append(loss.item())
        if problem.largest_norm is not None:
            clip_grad_norm_(problem.parameters(), problem.largest_norm)
        update()
    return losses
