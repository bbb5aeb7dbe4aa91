"""Suboptimality of one run without a learning rate, divided by that of the best of a grid.

Grid results are kept on disk (``.cache/`` in the repository) under a key that holds the source code of tasks
and grid, so that a method under development can be measured again without them.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, cast

import pandas as pd
import torch
from joblib import Memory
from rich.console import Console
from rich.progress import track
from rich.table import Table

from experiments.common.frames import records
from experiments.common.parallel import run_parallel
from experiments.common.suboptimality import gap, geometric_mean
from experiments.methods.registry import METHODS
from experiments.methods.schedules import GAMMAS
from experiments.methods.sgd_grid import grid_a, grid_b, sgd_grid
from experiments.tasks.registry import make_setting, make_task
from experiments.tasks.task import Setting, with_lanes

DEFAULT_METHODS = ("pfopt", "dog")
_HERE = Path(__file__).resolve().parents[1]
_memory = Memory(_HERE.parent / ".cache" / "experiments", verbose=0)


@dataclass(frozen=True)
class RatioJob:
    """One task and seed; ``options`` are those of our plan."""

    task: str
    seed: int
    budget: int
    methods: tuple[str, ...]
    strongest: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    data_dir: str | None = None


def measure_ratios(jobs: list[RatioJob], processes: int, console: Console) -> pd.DataFrame:
    """Run every job; one row per task, seed and method: value, gap, ratio (to grid A), seconds, error."""
    results = run_parallel(_run_job, jobs, processes)
    rows = [row for result in track(results, "ratios", len(jobs), console=console) for row in result]
    return pd.DataFrame(rows)


def summarise(rows: pd.DataFrame) -> pd.DataFrame:
    """Geometric mean over seeds per task (rows) and method (columns); then mean and worst over tasks."""
    tasks, methods = dict.fromkeys(rows.task), dict.fromkeys(rows.method)
    ratios = rows.groupby(["task", "method"]).ratio.agg(geometric_mean)
    summary = pd.DataFrame({m: [ratios[t, m] for t in tasks] for m in methods}, index=list(tasks))
    mean, worst = summary.apply(geometric_mean), summary.max()
    summary.loc["geometric mean"], summary.loc["worst task"] = mean, worst
    return summary


def print_ratios(rows: pd.DataFrame, console: Console) -> None:
    """Print the summary, and below it every run that failed."""
    summary = summarise(rows)
    table = Table(title="suboptimality / suboptimality of grid A (best of the SGD grid, B steps per value)")
    table.add_column("task")
    for method in summary.columns:
        table.add_column(method, justify="right")
    for task, ratios in summary.iterrows():
        if task == "geometric mean":
            table.add_section()
        table.add_row(str(task), *(f"{ratio:.3f}" for ratio in ratios))
    console.print(table)
    for row in filter(lambda row: row["error"], records(rows)):
        console.print("failed: {task}, seed {seed}, {method}: {error}".format(**row), markup=False)


def _run_job(job: RatioJob) -> list[dict[str, Any]]:
    """Measure grid A, grid B where wanted, and every method on one task and seed."""
    task, setting = make_task(job.task, job.data_dir), make_setting(job.task, job.budget)
    grid = _cached_grid(job.task, job.seed, setting, job.strongest, _fingerprint(), job.data_dir)
    reference = gap(grid_a(grid, setting.schedule).value, task.minimum)

    def row(method: str, value: float, seconds: float = math.nan, error: str = "") -> dict[str, Any]:
        suboptimality = gap(value, task.minimum)
        ratio = suboptimality / reference
        return {"task": job.task, "seed": job.seed, "method": method, "value": value, "gap": suboptimality,
                "ratio": ratio, "seconds": seconds, "error": error}  # fmt: skip

    rows = [row("grid B", grid_b(grid).value)] if job.strongest else []
    for name in job.methods:
        options = job.options if name.startswith("pfopt") else {}
        try:
            run = METHODS[name](task, job.seed, setting, **options)
        except Exception as error:  # a failed run stays in the table
            rows.append(row(name, math.inf, error=f"{type(error).__name__}: {error}"))
        else:
            rows.append(row(name, run.value, run.seconds))
    return rows


def compute_grid(
    name: str, seed: int, setting: Setting, strongest: bool, fingerprint: str, data_dir: str | None
) -> pd.DataFrame:
    """Grid A, and for ``strongest`` what grid B adds to it."""
    del fingerprint  # part of the key
    return sgd_grid(
        with_lanes(make_task(name, data_dir)),
        seed,
        setting.budget,
        setting.batch_size,
        schedules=(setting.schedule, "constant") if strongest else (setting.schedule,),
        gammas=GAMMAS if strongest else (),
        momenta=(setting.momentum,),
    )


_cached_grid: Callable[..., pd.DataFrame] = cast(Any, _memory.cache(compute_grid, ignore=["data_dir"]))


@cache
def _fingerprint() -> str:
    """Hash of the code that the grid's values depend on, and of torch's version."""
    sources: Iterable[Path] = [*sorted((_HERE / "tasks").glob("*.py")), _HERE / "methods" / "sgd_grid.py"]
    digest = hashlib.sha256(torch.__version__.encode())
    for source in sources:
        digest.update(source.read_bytes())
    return digest.hexdigest()
