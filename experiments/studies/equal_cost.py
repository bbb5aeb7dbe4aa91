"""The second comparison of the protocol, on the convex tasks: the grids are those of ``experiments/results/convex``."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import pandas as pd
from rich.console import Console

from experiments.common.options import FIRST_SEED, DataDir, Output, Processes, Seeds
from experiments.common.suboptimality import gap, geometric_mean
from experiments.methods.parameter_free import run_parameter_free
from experiments.studies.study import RESULTS, Study, measure, write_table
from experiments.tasks.convex import SPARSE
from experiments.tasks.registry import make_task
from experiments.tasks.task import Setting

OUTPUT = RESULTS / "equal_cost.csv"
GRID = 18  # learning rates of grid A, before it is widened


class Job(NamedTuple):
    """One run, and what it is held against."""

    task: str
    seed: int
    budget: int  # of one rate of the grid
    grid: float  # objective of the best rate
    minimum: float


def run(job: Job, data_dir: str | None = None) -> dict[str, object]:
    """The ratio of suboptimalities."""
    task, setting = make_task(job.task, data_dir), Setting(GRID * job.budget)
    found = run_parameter_free(task, job.seed, setting, num_records=0)
    ratio = gap(found.value, job.minimum) / gap(job.grid, job.minimum)
    return {"task": job.task, "seed": job.seed, "budget": GRID * job.budget, "ratio": ratio}


def answer(
    seeds: Seeds = FIRST_SEED, data_dir: DataDir = None, processes: Processes = 2, output: Output = OUTPUT
) -> None:
    """Print the geometric mean and the worst task."""
    runs = pd.read_csv(RESULTS / "convex" / "runs.csv")
    columns = runs[["task", "seed", "budget", "value", "minimum"]].itertuples(index=False, name=None)
    whole_grid = (runs.method == "sgd-grid") & ~runs.kwargs.str.contains("equal_cost")
    planned = [Job(*row) for row, chosen in zip(columns, whole_grid, strict=True) if chosen]
    jobs = [job for job in planned if job.seed in seeds and job.task not in SPARSE]
    console = Console()
    table = measure(partial(run, data_dir=data_dir), jobs, processes, console).sort_values(["task", "seed"])
    write_table(table, output)
    tasks = table.groupby("task").ratio.apply(geometric_mean)
    console.print(tasks.round(4).to_string(), markup=False)
    console.print(f"geometric mean {geometric_mean(tasks):.3f}, worst {tasks.max():.3f} ({tasks.idxmax()})")


STUDY = Study(
    "equal_cost",
    "Is one run as long as all of grid A together better than the best of that grid?",
    answer,
    (OUTPUT,),
)
