"""The figures of a record, and the best lanes of grids of learning rates with the bills of whole grids."""

from __future__ import annotations

import math
from itertools import chain
from typing import Any

import pandas as pd

from experiments.common.frames import concat, groups, records, where
from experiments.common.suboptimality import gap
from experiments.engine.store import Store
from experiments.engine.suite import ADAMW, EQUAL_COST, GRID_A, GRID_B, MUON, Suite
from experiments.methods.sgd_grid import grid_b
from experiments.tasks.registry import suite_setting

SGD = ("sgd", "sgd-grid", "sgd-cosine")
OTHER_GRIDS = {ADAMW: ("adamw", "adamw-warm-up"), MUON: ("muon",)}
FIGURES = [
    "task", "seed", "column", "figure", "error", "test", "test_metric", "num_grad_evals", "seconds", "status"
]  # fmt: skip
SMALLEST_ERROR = 5e-4  # half a row of a thousand: none that is wrong is better than one by a finite factor


def held_out_error(test: float, metric: str) -> float:
    """Share of held-out rows that are wrong, or their loss; infinite where a run failed, NaN where there are none."""
    if not metric:
        return math.nan
    if not math.isfinite(test):
        return math.inf
    return max(1.0 - test if metric == "accuracy" else test, SMALLEST_ERROR)


def spent(row: dict[str, Any]) -> float:
    """Seconds of training in which the process had a processor; of old records, of the wall."""
    seconds = row.get("cpu_seconds", math.nan)
    return float(row["seconds"] if math.isnan(seconds) else seconds)


def grid_lanes(rows: pd.DataFrame, store: Store) -> pd.DataFrame:
    """Every lane of every grid, with its run's task, seed, method and figure of merit; ``cheap``: at equal cost."""
    tables = []
    for row in records(where(rows, method=[*SGD, *chain.from_iterable(OTHER_GRIDS.values())])):
        lanes = store.lanes(row["run_id"])
        if len(lanes):
            count = len(lanes.drop_duplicates(["schedule", "momentum", "learning_rate"]))
            lanes["figure"] = [gap(float(value), row["minimum"]) for value in lanes.value]
            lanes["error"] = [held_out_error(float(test), row["test_metric"]) for test in lanes.test]
            shared = {name: row[name] for name in ("task", "seed", "method", "test_metric")}
            shared["seconds_each"] = spent(row) / count  # a batched grid has one figure for all
            tables.append(lanes.assign(**shared, cheap='"equal_cost": true' in row["kwargs"]))
    return concat(tables)


def grid_figures(suite: Suite, lanes: pd.DataFrame) -> pd.DataFrame:
    """The best lane of every grid per task and seed, with the bill of the whole grid."""
    if lanes.empty:
        return pd.DataFrame()
    found = []
    for (task, seed), table in groups(where(lanes, method=SGD, cheap=False), "task", "seed"):
        schedule, momentum = practitioner(suite, task)
        part = where(table, schedule=schedule, momentum=momentum, output="last")
        if len(part):
            found.append(_figure(GRID_A, task, seed, part))
        if len(part) < len(table):
            found.append(_figure(GRID_B, task, seed, table))
    others = {column: where(lanes, method=methods) for column, methods in OTHER_GRIDS.items()}
    for column, part in ({EQUAL_COST: where(lanes, cheap=True)} | others).items():
        found += [_figure(column, task, seed, table) for (task, seed), table in groups(part, "task", "seed")]
    figures = pd.DataFrame(found)
    for bill in ("num_grad_evals", "seconds"):  # a staged grid is complete on the first seed only
        figures[bill] = figures.groupby(["task", "column"])[bill].transform("max")
    return figures


def _figure(column: str, task: str, seed: int, lanes: pd.DataFrame) -> dict[str, Any]:
    """The best of the lanes, and what all of them cost."""
    best = grid_b(lanes)
    runs = lanes.drop_duplicates(["schedule", "momentum", "learning_rate"])
    gradients, seconds = int(runs.num_grad_evals.sum()), float(runs.seconds_each.sum())
    status = "done" if math.isfinite(best.figure) else "diverged"
    figures = (best.figure, float(lanes.error.min()), best.test, best.test_metric)
    return dict(zip(FIGURES, (task, seed, column, *figures, gradients, seconds, status), strict=True))


def practitioner(suite: Suite, task: str) -> tuple[str, float]:
    """Schedule and momentum of grid A on a task."""
    for grid in suite.lane_grids:
        if grid.method in SGD and task in (grid.tasks or suite.tasks):
            setting = suite_setting(task)
            return (grid.schedules or (setting.schedule,))[0], (grid.momenta or (setting.momentum,))[0]
    options = {**(suite.grid or {}), **suite.grid_overrides.get(task, {})}
    return options.get("schedules", ["linear"])[0], options.get("momenta", [0.0])[0]
