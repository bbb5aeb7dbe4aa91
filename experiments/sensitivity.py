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
from pfopt.search import plan, schedule, tracking

BATCHES = (16, ALL)
OUTPUT = Path(__file__).resolve().parent / "results" / "sensitivity.csv"


def _longer(factor: float, total_steps: Any, xp: Any = None, *, own: Any = plan.probe_length) -> Any:
    """The probes' length times ``factor``."""
    return max(int(factor * (own(total_steps) if xp is None else own(total_steps, xp))), 4)


def _value(name: str, values: tuple[float, ...] = ()) -> dict[str, Any]:
    """The constant at ``values``, or halved and doubled."""
    owner = next(module for module in (tracking, plan, schedule) if hasattr(module, name))
    values = values or (getattr(owner, name) / 2, getattr(owner, name) * 2)
    return {f"{name} = {value:g}": patch.object(owner, name, value) for value in values}


def _entry(name: str, key: Any, values: tuple[Any, Any]) -> dict[str, Any]:
    table = getattr(plan, name) if hasattr(plan, name) else getattr(schedule, name)
    return {f"{name} = {value}": patch.dict(table, {key: value}) for value in values}


def variants() -> dict[str, Any]:
    """What is changed: a label, and the patch that does it."""
    return {
        **_value("TRACKING"),
        **_value("COORDINATE_TRACKING"),
        **_value("TYPICAL"),
        **_value("REMEMBERED"),
        **_value("COORDINATE_REMEMBERED"),
        **_value("LATEST"),
        **_value("NEARLY_EXACT"),
        **_value("ROUNDING"),
        **_value("BURST"),
        **_value("RECENT"),
        **_value("INTERPOLATION", (0.5, 0.8)),  # half and twice the share beyond the iterate, 1 / (1 - share)
        **_value("LAST_INTERPOLATION", (0.8, 0.95)),
        **_value("LAST_PART"),
        **_entry("GAMMA", True, (0.25, 1.0)),
        **_entry("CAP", False, (1, 3)),
        **_entry("HEAD_START", False, (0.5, 2.0)),
        **_entry("ALPHA", "train", (1.25, 2.0)),  # what counts is alpha - 1
        **_entry("FIRST_STEP", "train", (2.0**-7, 2.0**-9)),
        **{
            f"probe length x {factor:g}": patch.object(plan, "probe_length", partial(_longer, factor))
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
