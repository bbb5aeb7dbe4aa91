"""Does a run ever end worse than it began? Gradient scales × batch sizes × budgets; networks with momentum.

Run as ``python -m experiments.robustness``; writes ``experiments/results/robustness.csv``, one row per run.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import torch
from rich.console import Console
from rich.progress import track

from experiments.files import write_text
from experiments.parallel import run_parallel
from experiments.tasks.registry import NAMES, available, make_task, suite_setting
from pfopt.torch import ParameterFreeSGD

SCALES = (1e-6, 1.0, 1e6)  # of the objective
BATCHES = (1, 16, 256)
BUDGETS = (100, 1000)
LARGEST = 1e5  # rows in all: a full batch of a large set takes minutes and shows nothing new
OUTPUT = Path(__file__).resolve().parent / "results" / "robustness.csv"


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
    task, setting = make_task(job.task, job.data_dir), suite_setting(job.task)
    problem = task.problem(job.seed)
    optimizer = ParameterFreeSGD(
        problem.parameters(), job.budget, momentum=setting.momentum, buffers=problem.buffers()
    )
    start, _ = problem.score()
    for rows in task.batches(job.seed, job.budget, job.batch_size):
        optimizer.zero_grad()
        (job.scale * problem(rows)).backward()
        optimizer.step()
    end, _ = problem.score()
    finite = all(bool(torch.isfinite(p).all()) for p in problem.parameters())
    row = {**job._asdict(), "start": start, "end": end, "finite": finite}
    row.pop("data_dir")
    return {**row, "worse": not finite or not math.isfinite(end) or end > start}


def jobs(names: list[str], seeds: list[int], data_dir: str | None) -> Iterator[Job]:
    """Every combination whose budget a small machine affords."""
    for task, scale, batch, budget, seed in product(names, SCALES, BATCHES, BUDGETS, seeds):
        if batch * budget <= LARGEST:
            yield Job(task, scale, batch, budget, seed, data_dir)


def main() -> None:
    """Run them all and say how many ended worse than they began."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", nargs="+", metavar="TASK")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--data-dir")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    args = parser.parse_args()
    console = Console()
    names = args.tasks or available(NAMES, args.data_dir)
    planned = list(jobs(names, args.seeds, args.data_dir))
    finished = run_parallel(run, planned, args.processes)
    table = pd.DataFrame(track(finished, total=len(planned), console=console))
    table = table.sort_values(["task", "scale", "batch_size", "budget", "seed"])
    write_text(args.output, table.to_csv(index=False))
    worse = table[table.worse]
    console.print(f"{len(worse)} of {len(table)} runs ended worse than they began")
    if len(worse):
        console.print(worse.to_string(index=False), markup=False)


if __name__ == "__main__":
    main()
