"""The noise of gradients as the probes of a search show it, against that measured at the starting point."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import torch

from experiments.tasks.registry import make_task
from experiments.tasks.task import Task
from pfopt.control import noise_of_probes
from pfopt.torch import ParameterFreeSGD

TASKS = ("digits-network", "magic04-mlp", "etth1-forecasting")
GRADIENTS = 200  # at the starting point
BUDGET = 1500


def study(data_dir: str | None = None) -> Iterator[dict[str, Any]]:
    """One row per task and batch size; both numbers are those of ``noise_of_probes``."""
    for name, batch_size in product(TASKS, (4, 16, 64)):
        task = make_task(name, data_dir)
        row = {"task": name, "batch_size": batch_size, "measured": measured(task, batch_size)}
        yield {**row, "of_probes": of_probes(task, batch_size)}


def measured(task: Task, batch_size: int) -> float:
    """Trace of the covariance of a batch's gradient over the squared norm of its mean, without its bias."""
    problem, found = task.problem(0), []
    for batch in task.batches(7, GRADIENTS, batch_size):
        problem.zero_grad()
        problem(batch).backward()
        found.append(torch.cat([own.grad.flatten() for own in problem.parameters() if own.grad is not None]))
    gradients = torch.stack(found)
    variance, mean = float(gradients.var(0).sum()), gradients.mean(0)
    return variance / (float(mean @ mean) - variance / GRADIENTS)


def of_probes(task: Task, batch_size: int) -> float:
    """What the search of a run shows."""
    problem = task.problem(0)
    optimizer = ParameterFreeSGD(problem.parameters(), BUDGET, buffers=problem.buffers())
    for batch in task.batches(0, BUDGET, batch_size):
        problem.zero_grad()
        problem(batch).backward()
        optimizer.step()
        if optimizer.status().phase != "search":
            break
    return noise_of_probes(optimizer.history())
