"""Does it hold at a size that nothing was tuned on? One network of suite ``large``, against a few learning rates.

For a machine with a GPU; writes ``experiments/results/at_scale.csv``, one row
per run, the device's name included. The suite itself has whole grids and every peer, and takes far longer.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from rich.console import Console

from experiments.common.atomic_files import write_text
from experiments.common.parallel import run_parallel
from experiments.engine.execute import device_name
from experiments.methods.registry import METHODS
from experiments.tasks.registry import DEEP, make_task, suite_setting

RATES = {"adamw": [2.0**k for k in range(-12, -7)], "sgd": [2.0**k for k in range(-3, 2)]}
OURS = ("pfopt", "pfopt-adamw")
OUTPUT = Path(__file__).resolve().parents[1] / "results" / "at_scale.csv"


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


def main() -> None:
    """Print every run, the best first."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", default="shakespeare-decoder", choices=list(DEEP))
    parser.add_argument("--budget", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data-dir")
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    args = parser.parse_args()
    planned = [(name, None) for name in OURS]
    planned += [(name, rate) for name, rates in RATES.items() for rate in rates]
    jobs = [Job(args.task, name, rate, args.seed, args.budget) for name, rate in planned]
    rows = list(run_parallel(partial(run, data_dir=args.data_dir), jobs, args.processes))
    table = pd.DataFrame(rows).sort_values("value", ignore_index=True)
    write_text(args.output, table.to_csv(index=False))
    Console().print(table.to_string(index=False))


if __name__ == "__main__":
    main()
