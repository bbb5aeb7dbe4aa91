"""What a suite measured, as one long table: a figure of merit per task, seed and column."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

import pandas as pd

from experiments.common.frames import concat, groups, records, where
from experiments.common.suboptimality import gap
from experiments.engine.execute import run_id
from experiments.engine.run_suite import planned
from experiments.engine.store import Store
from experiments.engine.suite import ADAMW, EQUAL_COST, GRID_A, GRID_B, GRIDS, Suite
from experiments.methods.registry import METHODS
from experiments.methods.sgd_grid import LEARNING_RATES, grid_b
from experiments.report.statistics import steps_to_target
from experiments.tasks.registry import suite_setting

SGD = ("sgd", "sgd-grid")
FIGURES = ["task", "seed", "column", "figure", "test", "test_metric", "num_grad_evals", "seconds", "status"]
LABELS = {name: method.label for name, method in METHODS.items()} | {
    GRID_A: "SGD grid A: linear decay, last iterate, best rate",
    GRID_B: "SGD grid B: best of everything, in hindsight",
    EQUAL_COST: "SGD grid A at one run's total cost",
    ADAMW: "AdamW, best rate of its grid",
}


@dataclass(frozen=True)
class Results:
    """What the report is made from.

    Attributes:
        suite: What was planned.
        rows: One row per run, as in ``runs.csv``.
        figures: One row per task, seed and column, with ``FIGURES``; num_grad_evals is the whole bill of a grid.
        lanes: One row per task, seed, learning rate and output of the SGD grids.
        curves: Evaluations of the objective of single runs: task, seed, column, num_grad_evals, figure, phase.
        sensitivity: figure by task and initial_step.
        planned: Number of runs that were planned so far.
    """

    suite: Suite
    rows: pd.DataFrame
    figures: pd.DataFrame
    lanes: pd.DataFrame
    curves: pd.DataFrame
    sensitivity: pd.DataFrame
    planned: int

    @property
    def columns(self) -> list[str]:
        """Grids, then methods, in the suite's order."""
        known = dict.fromkeys(self.figures.column)
        order = (*GRIDS, *self.suite.methods)
        return [column for column in order if column in known]

    @property
    def budgets(self) -> dict[str, int]:
        """Gradients of one run, by task."""
        return {task: int(rows.budget.max()) for (task,), rows in groups(self.rows, "task")}

    def steps_to_target(self) -> pd.DataFrame:
        """Steps of every curve to ``target_factor`` times grid A's final figure; see ``statistics``."""
        final = where(self.figures, column=GRID_A).set_index(["task", "seed"]).figure
        return steps_to_target(self.curves, final * self.suite.target_factor)

    @property
    def widened_tasks(self) -> list[str]:
        """Tasks whose SGD grid was widened beyond the planned learning rates."""
        found = []
        for (task,), lanes in groups(self.lanes, "task"):
            options = {**(self.suite.grid or {}), **self.suite.grid_overrides.get(task, {})}
            lowest, highest = (
                options.get("lowest", LEARNING_RATES[0]),
                options.get("highest", LEARNING_RATES[-1]),
            )
            found += (
                [task] if lanes.learning_rate.min() < lowest or lanes.learning_rate.max() > highest else []
            )
        return found


def collect(suite: Suite, store: Store) -> Results:
    """Read the finished runs of a suite."""
    specs = planned(suite, store)
    rows = store.rows(map(run_id, specs))
    rows["figure"] = [gap(row["value"], row["minimum"]) for row in records(rows)]
    single = where(rows, method=suite.methods)
    single = single.assign(column=single.method)
    lanes = grid_lanes(rows, store)
    figures = concat([pd.DataFrame(single[FIGURES]), grid_figures(suite, lanes)])
    sgd = where(lanes, method=SGD, cheap=False) if len(lanes) else lanes
    return Results(suite, rows, figures, sgd, _curves(single, store), _sensitivity(suite, rows), len(specs))


def _sensitivity(suite: Suite, rows: pd.DataFrame) -> pd.DataFrame:
    """Final figure by task and initial step."""
    wanted = [row for row in records(rows) if suite.sensitivity and row["method"] == suite.sensitivity.method]
    steps = [(row["task"], json.loads(row["kwargs"])["initial_step"], row["figure"]) for row in wanted]
    return pd.DataFrame(steps, columns=["task", "initial_step", "figure"])


def grid_lanes(rows: pd.DataFrame, store: Store) -> pd.DataFrame:
    """Every lane of every grid, with its run's task, seed, method and figure of merit; ``cheap``: at equal cost."""
    tables = []
    for row in records(where(rows, method=[*SGD, "adamw"])):
        lanes = store.lanes(row["run_id"])
        if len(lanes):
            count = len(lanes.drop_duplicates(["schedule", "momentum", "learning_rate"]))
            lanes["figure"] = [gap(float(value), row["minimum"]) for value in lanes.value]
            shared = {name: row[name] for name in ("task", "seed", "method", "test_metric")}
            shared["seconds_each"] = row["seconds"] / count  # a batched grid has one figure for all
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
        found.append(_figure(GRID_B, task, seed, table))
    for column, part in ((EQUAL_COST, where(lanes, cheap=True)), (ADAMW, where(lanes, method="adamw"))):
        found += [_figure(column, task, seed, table) for (task, seed), table in groups(part, "task", "seed")]
    figures = pd.DataFrame(found)
    bills = figures.groupby(
        ["task", "column"]
    ).num_grad_evals  # a staged grid is complete on the first seed only
    return figures.assign(num_grad_evals=bills.transform("max"))


def _figure(column: str, task: str, seed: int, lanes: pd.DataFrame) -> dict[str, Any]:
    """The best of the lanes, and what all of them cost."""
    best = grid_b(lanes)
    runs = lanes.drop_duplicates(["schedule", "momentum", "learning_rate"])
    gradients, seconds = int(runs.num_grad_evals.sum()), float(runs.seconds_each.sum())
    status = "done" if math.isfinite(best.figure) else "diverged"
    values = (task, seed, column, best.figure, best.test, best.test_metric, gradients, seconds, status)
    return dict(zip(FIGURES, values, strict=True))


def practitioner(suite: Suite, task: str) -> tuple[str, float]:
    """Schedule and momentum of grid A on a task."""
    for grid in suite.lane_grids:
        if grid.method == "sgd" and task in (grid.tasks or suite.tasks):
            setting = suite_setting(task)
            return (grid.schedules or (setting.schedule,))[0], (grid.momenta or (setting.momentum,))[0]
    options = {**(suite.grid or {}), **suite.grid_overrides.get(task, {})}
    return options.get("schedules", ["linear"])[0], options.get("momenta", [0.0])[0]


def _curves(single: pd.DataFrame, store: Store) -> pd.DataFrame:
    """The objective's curve of every single run."""
    tables = []
    for row in records(single):
        curve = where(store.curve(row["run_id"]), metric="objective")
        figure = [gap(float(value), row["minimum"]) for value in curve.value]
        shared = {name: row[name] for name in ("task", "seed", "column", "budget")}
        tables.append(curve.assign(**shared, figure=figure))
    return concat([table for table in tables if len(table)])
