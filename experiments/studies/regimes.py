"""Other batches and budgets than those of the suites, on the convex tasks.

One row per run: suboptimality over that of the best of grid A with the same batches. In the means a ratio counts as
``CLIP`` at most, and as its inverse at least: where one of the two solves a problem exactly, the ratio has no meaning.
The suites have batches of 16 and one budget; constants tuned there alone fail elsewhere (experiments/NOTES.md, item
21).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Annotated, NamedTuple, cast

import typer
from rich.console import Console

from experiments.common.options import FIRST_SEED, DataDir, Output, Processes, Seeds, each_of
from experiments.common.suboptimality import CLIP, gap, geometric_mean
from experiments.methods.registry import METHODS
from experiments.methods.sgd_grid import grid_a, sgd_grid
from experiments.studies.study import RESULTS, Study, measure, write_table
from experiments.tasks.exact import ALL, DENSE, affordable, drawn
from experiments.tasks.registry import available, make_task
from experiments.tasks.solved import SolvedTask
from experiments.tasks.task import Setting

REGIMES = ((1, 4000), (16, 1000), (16, 4000), (16, 16000), (128, 2000), (ALL, 1000))  # batch size, gradients
OUTPUT = RESULTS / "regimes.csv"
COMPARED = ["pfopt", "dog"]


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


def answer(
    methods: Annotated[
        list[str], typer.Option(metavar="METHOD", callback=each_of(METHODS, "method"))
    ] = COMPARED,
    seeds: Seeds = FIRST_SEED,
    data_dir: DataDir = None,
    processes: Processes = 2,
    output: Output = OUTPUT,
) -> None:
    """Print the geometric mean and the worst task of every regime."""
    planned = list(jobs(available(DENSE, data_dir), seeds, tuple(methods), data_dir))
    console = Console()
    table = measure(run, planned, processes, console)
    table = table.sort_values(["batch_size", "budget", "method", "task", "seed"])
    write_table(table, output)
    for regime, part in table.groupby(["batch_size", "budget", "method"]):
        batch_size, budget, method = cast(tuple[int, int, str], regime)
        tasks = part.groupby("task").ratio.apply(geometric_mean)
        batches = "exact gradients" if batch_size == ALL else f"batches of {batch_size}"
        mean, worst = geometric_mean(tasks.clip(1 / CLIP, CLIP)), tasks.max()
        console.print(
            f"{batches}, {budget} gradients, {method}: geometric mean {mean:.3g}, worst {worst:.3g} ({tasks.idxmax()})"
        )


STUDY = Study(
    "regimes",
    "Is one run as good where there is less noise or more, and where it is shorter or longer?",
    answer,
    (OUTPUT,),
)
