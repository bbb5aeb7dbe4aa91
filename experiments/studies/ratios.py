"""Every convex task: suboptimality of one run, divided by that of the best of grid A and of every method asked for.

Runs are kept in ``.cache/ratios`` of the repository under the ids of the suites, which hold the source code: a method
under development is measured again, the grid is not.
"""

from __future__ import annotations

import json
import math
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import pandas as pd
import typer
from rich.console import Console
from rich.table import Table

from experiments.common.frames import records
from experiments.common.options import DataDir, Processes, Seeds, each_of
from experiments.common.suboptimality import gap, geometric_mean
from experiments.engine.execute import execute, run_id
from experiments.engine.spec import RunSpec
from experiments.engine.store import Store
from experiments.methods.registry import METHODS
from experiments.methods.schedules import GAMMAS
from experiments.methods.sgd_grid import grid_a, grid_b
from experiments.studies.study import ROOT, Study, measure, write_table
from experiments.tasks.convex import CONVEX
from experiments.tasks.download import with_data
from experiments.tasks.registry import NAMES, make_setting

STORE = ROOT / ".cache" / "ratios"
COMPARED, THREE_SEEDS = ["pfopt", "dog"], [0, 1, 2]


class Job(NamedTuple):
    """One task and seed; ``options`` are those of our plan."""

    task: str
    seed: int
    budget: int
    methods: tuple[str, ...]
    strongest: bool = False
    options: dict[str, Any] = {}  # noqa: RUF012 (never changed)
    data_dir: str | None = None


def run(job: Job) -> list[dict[str, Any]]:
    """One row per method, and one for grid B where it is wanted; a run that fails stays in the table."""
    setting = make_setting(job.task, job.budget)
    spec = partial(RunSpec, "ratios", job.task, seed=job.seed, budget=setting.budget, num_records=0)
    schedules = (setting.schedule, "constant") if job.strongest else (setting.schedule,)
    grid_options = {
        "schedules": schedules,
        "gammas": GAMMAS if job.strongest else (),
        "momenta": (setting.momentum,),
    }
    grid = recorded(spec(method="sgd-grid", kwargs=grid_options), job.data_dir)
    if grid["status"] == "error":
        raise RuntimeError(f"no grid on {job.task}: {grid['error_text']}")
    lanes = Store(STORE).lanes(grid["run_id"])
    found = [("grid B", {**grid, "value": grid_b(lanes).value, "seconds": math.nan})] if job.strongest else []
    for name in job.methods:
        kwargs = job.options if name.startswith("pfopt") else {}
        found.append((name, recorded(spec(method=name, kwargs=kwargs), job.data_dir)))
    reference = gap(grid_a(lanes, setting.schedule).value, grid["minimum"])
    return [_row(job, name, row, reference) for name, row in found]


def _row(job: Job, method: str, row: dict[str, Any], reference: float) -> dict[str, Any]:
    suboptimality = gap(row["value"], row["minimum"])
    return {"task": job.task, "seed": job.seed, "method": method, "value": row["value"], "gap": suboptimality,
            "ratio": suboptimality / reference, "seconds": row["seconds"], "error": row["error_text"]}  # fmt: skip


def recorded(spec: RunSpec, data_dir: str | None) -> dict[str, Any]:
    """The row of a run, from the store or made now; one that raised is not kept."""
    store, identifier = Store(STORE), run_id(spec)
    if not store.has(identifier):
        record = execute(spec, data_dir)
        if record.row["status"] == "error":
            return record.row
        store.write(record)
    return records(store.rows([identifier]))[0]


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


def _json_object(text: str) -> str:
    """Refuse what is not the JSON of an object."""
    try:
        valid = isinstance(json.loads(text), dict)
    except json.JSONDecodeError:
        valid = False
    if not valid:
        raise typer.BadParameter(f"must be a JSON object, got {text}")
    return text


def answer(
    tasks: Annotated[list[str] | None, typer.Option(metavar="TASK", callback=each_of(NAMES, "task"))] = None,
    methods: Annotated[
        list[str], typer.Option(metavar="METHOD", callback=each_of(METHODS, "method"))
    ] = COMPARED,
    seeds: Seeds = THREE_SEEDS,
    budget: Annotated[
        int, typer.Option(min=400, help="gradients of one run; a network gets a quarter")
    ] = 8000,
    strongest: Annotated[
        bool, typer.Option("--grid-b", help="also the strongest grid, chosen in hindsight")
    ] = False,
    options: Annotated[
        str, typer.Option(metavar="JSON", callback=_json_object, help="of pfopt's plan")
    ] = "{}",
    data_dir: DataDir = None,
    processes: Processes = 2,
    output: Annotated[Path | None, typer.Option(metavar="FILE", help="where to write the table")] = None,
) -> None:
    """Print the ratio of every method on every task."""
    console = Console()
    names = with_data(tasks, tuple(CONVEX), data_dir, console)
    given = budget, tuple(dict.fromkeys(methods)), strongest, json.loads(options), data_dir
    rows = measure(run, [Job(task, seed, *given) for task in names for seed in seeds], processes, console)
    print_ratios(rows, console)
    if output:
        write_table(rows, output)


STUDY = Study("ratios", "How far is one run from the best of a grid, on each convex task?", answer)
