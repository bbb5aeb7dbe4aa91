"""The second comparison of the protocol: one run as long as all of grid A together, against grid A's best.

Reads the grids of ``experiments/results/convex`` and writes
``experiments/results/equal_cost.csv``.
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
from experiments.methods.parameter_free import run_parameter_free
from experiments.tasks.convex import SPARSE
from experiments.tasks.registry import make_task
from experiments.tasks.task import Setting

RESULTS = Path(__file__).resolve().parents[1] / "results"
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


def main() -> None:
    """Print the geometric mean and the worst task."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--data-dir")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--output", type=Path, default=RESULTS / "equal_cost.csv")
    args = parser.parse_args()
    runs = pd.read_csv(RESULTS / "convex" / "runs.csv")
    columns = runs[["task", "seed", "budget", "value", "minimum"]].itertuples(index=False, name=None)
    whole_grid = (runs.method == "sgd-grid") & ~runs.kwargs.str.contains("equal_cost")
    planned = [Job(*row) for row, chosen in zip(columns, whole_grid, strict=True) if chosen]
    jobs = [job for job in planned if job.seed in args.seeds and job.task not in SPARSE]
    console = Console()
    finished = run_parallel(partial(run, data_dir=args.data_dir), jobs, args.processes)
    table = pd.DataFrame(track(finished, total=len(jobs), console=console)).sort_values(["task", "seed"])
    write_text(args.output, table.to_csv(index=False))
    tasks = table.groupby("task").ratio.apply(geometric_mean)
    console.print(tasks.round(4).to_string(), markup=False)
    console.print(f"geometric mean {geometric_mean(tasks):.3f}, worst {tasks.max():.3f} ({tasks.idxmax()})")


if __name__ == "__main__":
    main()
