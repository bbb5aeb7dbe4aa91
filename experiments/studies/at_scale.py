"""One network of suite ``large`` against a few learning rates, on a machine with a GPU.

One row per run, the device's name included. The suite itself has whole grids and every peer, and takes far longer.
"""

from __future__ import annotations

from functools import partial
from typing import Annotated, NamedTuple

import typer
from rich.console import Console

from experiments.common.options import DataDir, Output, Processes, one_of
from experiments.engine.execute import device_name
from experiments.methods.registry import METHODS
from experiments.studies.study import RESULTS, Study, measure, write_table
from experiments.tasks.registry import DEEP, make_task, suite_setting

RATES = {"adamw": [2.0**k for k in range(-12, -7)], "sgd": [2.0**k for k in range(-3, 2)]}
OURS = ("pfopt", "pfopt-adamw")
OUTPUT = RESULTS / "at_scale.csv"


class Job(NamedTuple):
    """One run; ``learning_rate`` is None for a method that finds its own."""

    task: str
    method: str
    learning_rate: float | None
    seed: int
    budget: int


def run(job: Job, data_dir: str | None = None) -> dict[str, object]:
    """Training loss and test metric."""
    options = {} if job.learning_rate is None else {"learning_rate": job.learning_rate}
    task = make_task(job.task, data_dir, scale="large")
    found = METHODS[job.method](task, job.seed, suite_setting(job.task, job.budget), **options)
    return {**job._asdict(), "value": found.value, "test": found.test, "device": device_name("large")}


def answer(
    task: Annotated[str, typer.Option(callback=one_of(DEEP, "network"))] = "shakespeare-decoder",
    budget: Annotated[int, typer.Option(min=1, help="gradients of a run")] = 1000,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    data_dir: DataDir = None,
    processes: Processes = 4,
    output: Output = OUTPUT,
) -> None:
    """Print every run, the best first."""
    planned = [(name, None) for name in OURS]
    planned += [(name, rate) for name, rates in RATES.items() for rate in rates]
    jobs = [Job(task, name, rate, seed, budget) for name, rate in planned]
    console = Console()
    table = measure(partial(run, data_dir=data_dir), jobs, processes, console)
    table = table.sort_values("value", ignore_index=True)
    write_table(table, output)
    console.print(table.to_string(index=False))


STUDY = Study("at_scale", "Does it hold at a size that nothing was tuned on?", answer, (OUTPUT,))
