"""Does any constant matter? Each one halved and doubled, in batches of 16 and with exact gradients.

Run as ``python -m experiments.sensitivity``; writes ``experiments/results/sensitivity.csv``, one row per constant and
batch size: suboptimality over that of the defaults on the same convex task and seed, geometric mean, best and worst
task. In the means a ratio counts as ``CLIP`` at most, and as its inverse at least.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import pandas as pd
import torch
from rich.console import Console
from rich.progress import track

from experiments.dense import ALL, DENSE, affordable, drawn
from experiments.files import write_text
from experiments.gaps import CLIP, gap, geometric_mean
from experiments.methods.parameter_free import run_parameter_free
from experiments.parallel import run_parallel
from experiments.tasks.registry import available, make_task
from experiments.tasks.task import Setting
from pfopt import options
from pfopt.core import averaging, budget
from pfopt.core.config import PRACTICAL

BATCHES = (16, ALL)
OUTPUT = Path(__file__).resolve().parent / "results" / "sensitivity.csv"


def _longer(factor: float, total_steps: Any, *, own: Any = budget.probe_length) -> Any:
    """The probes' length times ``factor``."""
    return max(int(factor * own(total_steps)), 4)


def _constant(name: str, *values: float) -> dict[str, Any]:
    """A constant of the practical plan at ``values``, or halved and doubled."""
    default = getattr(PRACTICAL, name)
    return {
        f"{name} = {value:g}": patch.object(options, "PRACTICAL", PRACTICAL._replace(**{name: value}))
        for value in values or (default / 2, default * 2)
    }


def _number(owner: Any, name: str) -> dict[str, Any]:
    """A number of one module, halved and doubled."""
    default = getattr(owner, name)
    return {f"{name} = {value:g}": patch.object(owner, name, value) for value in (default / 2, default * 2)}


def variants() -> dict[str, Any]:
    """What is changed: a label, and the patch that does it."""
    return {
        **_constant("tracking"),
        **_constant("coordinate_tracking"),
        **_constant("lag"),
        **_constant("memory"),
        **_constant("latest_gamma"),
        **_number(averaging, "NEARLY_EXACT"),
        **_number(averaging, "ROUNDING"),
        **_constant("burst"),
        **_constant("mean_gamma"),
        **_constant("beta", 0.5, 0.8),  # half and twice 1 / (1 - beta)
        **_constant("last_beta", 0.8, 0.95),
        **_constant("rise"),
        **_constant("average_gamma"),
        **_constant("cap", 1, 3),
        **_constant("head_start"),
        **_constant("alpha", 1.25, 2.0),  # what counts is alpha - 1
        **_constant("first_step"),
        **{
            f"probe length x {factor:g}": patch.object(budget, "probe_length", partial(_longer, factor))
            for factor in (0.5, 2.0)
        },
    }


class Job(NamedTuple):
    """One run; ``variant`` is "" for the defaults."""

    variant: str
    task: str
    batch_size: int
    seed: int
    budget: int
    data_dir: str | None


def run(job: Job) -> dict[str, Any]:
    """Suboptimality of one run."""
    task = make_task(job.task, job.data_dir)
    with _patched(job.variant):
        found = run_parameter_free(drawn(task, job.batch_size), job.seed, Setting(job.budget, job.batch_size))
    return {**job._asdict(), "gap": gap(found.value, task.minimum)}


@contextmanager
def _patched(variant: str) -> Iterator[None]:
    if not variant:
        yield
        return
    with variants()[variant]:
        yield


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Per batch size and variant, ratios to the defaults: geometric mean, best and worst task."""
    pairs = table.merge(
        table[table.variant == ""], on=["batch_size", "task", "seed"], suffixes=("", "_default")
    )
    pairs["ratio"] = pairs.gap / pairs.gap_default
    tasks = pairs.groupby(["batch_size", "variant", "task"]).ratio.apply(geometric_mean).reset_index()
    tasks["clipped"] = tasks.ratio.clip(1 / CLIP, CLIP)
    grouped = tasks[tasks.variant != ""].groupby(["batch_size", "variant"])
    mean, ratios = grouped.clipped.apply(geometric_mean), grouped.ratio
    return pd.DataFrame({"geometric_mean": mean, "best": ratios.min(), "worst": ratios.max()}).round(3)


def main() -> None:
    """Run them all and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", nargs="+", metavar="TASK")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--budget", type=int, default=1000)
    parser.add_argument("--data-dir")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    args = parser.parse_args()
    torch.set_num_threads(1)
    console = Console()
    names = args.tasks or available(DENSE, args.data_dir)
    jobs = [
        Job(variant, task, batch_size, seed, args.budget, args.data_dir)
        for task in names
        for batch_size in BATCHES
        if affordable(task, batch_size, args.data_dir)
        for seed in args.seeds
        for variant in ["", *variants()]
    ]
    rows = track(run_parallel(run, jobs, args.processes), total=len(jobs), console=console)
    table = summary(pd.DataFrame(rows))
    write_text(args.output, table.to_csv())
    console.print(table.to_string(), markup=False)


if __name__ == "__main__":
    main()
