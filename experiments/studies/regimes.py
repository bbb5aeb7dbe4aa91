"""Is one run as good where there is less noise or more, and where it is shorter or longer?

Writes ``experiments/results/regimes.csv``, one row per run: suboptimality
over that of the best of grid A with the same batches. In the means a ratio counts as ``CLIP`` at most, and as its
inverse at least: where one of the two solves a problem exactly, the ratio has no meaning. The suites have batches of
16 and one budget; constants tuned there alone fail elsewhere (experiments/NOTES.md, item 21).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import NamedTuple, cast

import pandas as pd
from rich.console import Console
from rich.progress import track

from experiments.common.atomic_files import write_text
from experiments.common.parallel import run_parallel
from experiments.common.suboptimality import CLIP, gap, geometric_mean
from experiments.methods.registry import METHODS
from experiments.methods.sgd_grid import grid_a, sgd_grid
from experiments.tasks.exact import ALL, DENSE, affordable, drawn
from experiments.tasks.registry import available, make_task
from experiments.tasks.solved import SolvedTask
from experiments.tasks.task import Setting

REGIMES = ((1, 4000), (16, 1000), (16, 4000), (16, 16000), (128, 2000), (ALL, 1000))  # batch size, gradients
OUTPUT = Path(__file__).resolve().parents[1] / "results" / "regimes.csv"


class Job(NamedTuple):
    """One task in one regime."""

    task: str
    batch_size: int
    budget: int
    seed: int
    methods: tuple[str, ...]
    data_dir: str | None


def run(job: Job) -> list[dict[str, object]]:
    """One row per method."""
    convex = cast(SolvedTask, make_task(job.task, job.data_dir))
    task = drawn(convex, job.batch_size)
    setting = Setting(job.budget, job.batch_size)
    grid = gap(grid_a(sgd_grid(task, job.seed, job.budget, job.batch_size)).value, convex.minimum)
    where = {name: getattr(job, name) for name in ("task", "batch_size", "budget", "seed")}
    runs = {method: METHODS[method](task, job.seed, setting).value for method in job.methods}
    return [
        {**where, "method": method, "grid": grid, "ratio": gap(value, convex.minimum) / grid}
        for method, value in runs.items()
    ]


def jobs(names: list[str], seeds: list[int], methods: tuple[str, ...], data_dir: str | None) -> Iterator[Job]:
    """Every task in every regime that a small machine affords."""
    for name in names:
        for (batch_size, budget), seed in product(REGIMES, seeds):
            if affordable(name, batch_size, data_dir):
                yield Job(name, batch_size, budget, seed, methods, data_dir)


def main() -> None:
    """Print the geometric mean and the worst task of every regime."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--methods", nargs="+", default=["pfopt", "dog"], choices=sorted(METHODS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--data-dir")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    args = parser.parse_args()
    names = available(DENSE, args.data_dir)
    planned = list(jobs(names, args.seeds, tuple(args.methods), args.data_dir))
    console = Console()
    finished = run_parallel(run, planned, args.processes)
    rows = [row for part in track(finished, total=len(planned), console=console) for row in part]
    table = pd.DataFrame(rows).sort_values(["batch_size", "budget", "method", "task", "seed"])
    write_text(args.output, table.to_csv(index=False))
    for regime, part in table.groupby(["batch_size", "budget", "method"]):
        batch_size, budget, method = cast(tuple[int, int, str], regime)
        tasks = part.groupby("task").ratio.apply(geometric_mean)
        batches = "exact gradients" if batch_size == ALL else f"batches of {batch_size}"
        mean, worst = geometric_mean(tasks.clip(1 / CLIP, CLIP)), tasks.max()
        console.print(
            f"{batches}, {budget} gradients, {method}: geometric mean {mean:.3g}, worst {worst:.3g} ({tasks.idxmax()})"
        )


if __name__ == "__main__":
    main()
