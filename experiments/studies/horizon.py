"""What does not knowing the horizon cost? ``total_steps=None`` against the number of steps, on the convex tasks.

Writes ``experiments/results/horizon.csv``, one row per run: suboptimality of
the point that would be deployed after ``budget`` gradients, over that of the run that knew them.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from rich.console import Console
from rich.progress import track

from experiments.common.atomic_files import write_text
from experiments.common.parallel import run_parallel
from experiments.common.suboptimality import gap, geometric_mean
from experiments.methods.parameter_free import ParameterFreeTrainer, run_parameter_free
from experiments.methods.run import run_torch
from experiments.methods.trainer import Trainer
from experiments.tasks.exact import DENSE
from experiments.tasks.registry import available, make_task
from experiments.tasks.task import Problem, Setting
from pfopt.torch import ParameterFreeSGD

BUDGETS = (1000, 2000, 4000)  # around 1024, for which the search of an unknown horizon is made
OUTPUT = Path(__file__).resolve().parents[1] / "results" / "horizon.csv"


class Job(NamedTuple):
    """Two runs."""

    task: str
    budget: int
    seed: int


def run(job: Job, data_dir: str | None = None) -> dict[str, object]:
    """The ratio of suboptimalities."""
    task, setting = make_task(job.task, data_dir), Setting(job.budget)
    known = run_parameter_free(task, job.seed, setting).value
    unknown = run_torch(task, job.seed, setting, make=_without_horizon).value
    return {**job._asdict(), "ratio": gap(unknown, task.minimum) / gap(known, task.minimum)}


def _without_horizon(problem: Problem, setting: Setting) -> Trainer:
    return ParameterFreeTrainer(problem, setting, ParameterFreeSGD(problem.parameters(), None))


def main() -> None:
    """Print the geometric mean and the worst task of every budget."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--data-dir")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    args = parser.parse_args()
    names = available(DENSE, args.data_dir)
    planned = [Job(task, budget, seed) for task in names for budget in BUDGETS for seed in args.seeds]
    console = Console()
    finished = run_parallel(partial(run, data_dir=args.data_dir), planned, args.processes)
    table = pd.DataFrame(track(finished, total=len(planned), console=console))
    table = table.sort_values(["budget", "task", "seed"])
    write_text(args.output, table.to_csv(index=False))
    for budget, part in table.groupby("budget"):
        tasks = part.groupby("task").ratio.apply(geometric_mean)
        mean, worst = geometric_mean(tasks), tasks.max()
        console.print(f"{budget} gradients: geometric mean {mean:.3f}, worst {worst:.3f} ({tasks.idxmax()})")


if __name__ == "__main__":
    main()
