"""Gradient scales × batch sizes × budgets on every task of the suites, one row per run.

Study ``never_worse`` has nasty functions instead of data, and more of them. Small convex tasks run with exact gradients
as well, and for a million steps, in optax's compiled loop.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import product
from typing import Annotated, NamedTuple

import torch
import typer
from rich.console import Console
from torch import Tensor

from experiments.common.options import FIRST_SEED, DataDir, Output, Processes, Seeds, each_of
from experiments.methods.optax_run import run_optax_parameter_free
from experiments.studies.study import RESULTS, Study, measure, write_table
from experiments.tasks.exact import ALL, drawn
from experiments.tasks.objective import ConvexTask
from experiments.tasks.registry import NAMES, available, make_task
from experiments.tasks.sparse import SparseRows
from experiments.tasks.task import Setting, Task
from pfopt.torch import ParameterFreeSGD

SCALES = (1e-6, 1.0, 1e6)  # of the objective
BATCHES = (1, 16, 256, ALL)
BUDGETS = (100, 1000)
LONG = 10**6  # gradients, in batches of 16 and at scale 1 only
LARGEST = 1e5  # rows in all: more of a large set takes minutes and shows nothing new
SMALL = 2e4  # numbers of the data of a convex task that runs for long
OUTPUT = RESULTS / "robustness.csv"


class Job(NamedTuple):
    """One run."""

    task: str
    scale: float
    batch_size: int
    budget: int
    seed: int
    data_dir: str | None


def run(job: Job) -> dict[str, object]:
    """Train once; the values are those of the objective before it is scaled."""
    task = make_task(job.task, job.data_dir)
    start, _ = task.problem(job.seed).score()
    end = _end_of_long(task, job) if job.budget == LONG else _end(task, job)
    row = {**job._asdict(), "start": start, "end": end}
    row.pop("data_dir")
    return {**row, "worse": not math.isfinite(end) or end > start}


def _end(task: Task, job: Job) -> float:
    """The objective at the returned point; NaN where a parameter is not finite."""
    problem = task.problem(job.seed)
    optimizer = ParameterFreeSGD(problem.parameters(), job.budget, buffers=problem.buffers())
    for rows in drawn(task, job.batch_size).batches(job.seed, job.budget, job.batch_size):
        optimizer.zero_grad()
        (job.scale * problem(rows)).backward()
        optimizer.step()
    finite = all(bool(torch.isfinite(p).all()) for p in problem.parameters())
    return problem.score()[0] if finite else math.nan


def _end_of_long(task: Task, job: Job) -> float:
    setting = Setting(job.budget, job.batch_size)
    return run_optax_parameter_free(task, job.seed, setting, num_records=1).value


def _data(task: Task) -> Tensor:
    """The features, shape (rows, columns), of a dense convex task; none of others."""
    if isinstance(task, ConvexTask) and not isinstance(task.features, SparseRows):
        return task.features
    return torch.empty(0, 0)


def jobs(names: list[str], seeds: list[int], data_dir: str | None) -> Iterator[Job]:
    """Every combination that a small machine affords."""
    for name in names:
        data = _data(make_task(name, data_dir))
        for scale, batch, budget, seed in product(SCALES, BATCHES, BUDGETS, seeds):
            rows = batch or len(data)
            if 0 < rows * budget <= LARGEST:
                yield Job(name, scale, batch, budget, seed, data_dir)
        if 0 < data.numel() <= SMALL:
            yield from (Job(name, 1.0, 16, LONG, seed, data_dir) for seed in seeds)


def answer(
    tasks: Annotated[list[str] | None, typer.Option(metavar="TASK", callback=each_of(NAMES, "task"))] = None,
    seeds: Seeds = FIRST_SEED,
    data_dir: DataDir = None,
    processes: Processes = 2,
    output: Output = OUTPUT,
) -> None:
    """Run them all and say how many ended worse than they began."""
    console = Console()
    planned = list(jobs(tasks or available(NAMES, data_dir), seeds, data_dir))
    table = measure(run, planned, processes, console)
    table = table.sort_values(["task", "scale", "batch_size", "budget", "seed"])
    write_table(table, output)
    worse = table[table.worse]
    console.print(f"{len(worse)} of {len(table)} runs ended worse than they began")
    if len(worse):
        console.print(worse.to_string(index=False), markup=False)


STUDY = Study("robustness", "Does a run on real data ever end worse than it began?", answer, (OUTPUT,))
