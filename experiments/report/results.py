"""What a suite measured, as one long table: a figure of merit per task, seed and column."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pandas as pd

from experiments.common.frames import concat, groups, records, where
from experiments.common.suboptimality import gap
from experiments.engine.execute import run_id
from experiments.engine.run_suite import planned
from experiments.engine.store import Store
from experiments.engine.suite import ADAMW, EQUAL_COST, GRID_A, GRID_B, GRIDS, HELD_OUT, MUON, Suite
from experiments.methods.registry import METHODS
from experiments.methods.sgd_grid import LEARNING_RATES
from experiments.report.grids import FIGURES, SGD, grid_figures, grid_lanes, held_out_error, spent
from experiments.report.statistics import steps_to_target

NAMES = {name: method.label for name, method in METHODS.items()} | {
    GRID_A: "tuned SGD",
    GRID_B: "SGD, best of everything, in hindsight",
    EQUAL_COST: "tuned SGD at one run's total cost",
    ADAMW: "tuned AdamW",
    MUON: "tuned Muon with AdamW",
}


@dataclass(frozen=True)
class Results:
    """What the report is made from.

    Attributes:
        suite: What was planned.
        rows: One row per run, as in ``runs.csv``.
        figures: One row per task, seed and column, with ``FIGURES``: the figure is of training, the error of held-out
            rows (NaN where nothing is held out). Of a grid both are the best there is; num_grad_evals and seconds are
            its whole bill, and ``test`` is of the lane that trained best.
        lanes: One row per task, seed, learning rate and output of the SGD grids.
        curves: Evaluations of single runs: task, seed, column, num_grad_evals, seconds, figure, error, phase.
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

    @property
    def labels(self) -> dict[str, str]:
        """Name of every column; a grid's says how many runs one use of it is."""
        found = dict(NAMES)
        for column in set(GRIDS) & set(self.figures.column) - {EQUAL_COST}:
            bills = where(self.figures, column=column).groupby("task").num_grad_evals.max()
            runs = round((bills / pd.Series(self.budgets)).median())
            found[column] += f" ({runs} {'runs' if column == GRID_B else 'rates'})"
        return found

    @property
    def judged(self) -> str:
        """Which of the figures the suite is judged by: "error" or "figure"."""
        return "error" if self.suite.judged == HELD_OUT else "figure"

    def steps_to_target(self) -> pd.DataFrame:
        """Steps and seconds of every curve to ``target_factor`` times the reference's final figure."""
        final = where(self.figures, column=self.suite.reference).set_index(["task", "seed"])
        targets = pd.Series(final[self.judged] * self.suite.target_factor)
        curves = self.curves.assign(figure=self.curves[self.judged]) if len(self.curves) else self.curves
        return steps_to_target(curves, targets)

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
    rows["error"] = [held_out_error(row["test"], row["test_metric"]) for row in records(rows)]
    single = where(rows, method=suite.methods)
    seconds = [spent(row) for row in records(single)]
    single = single.assign(column=single.method, share=seconds / single.seconds, seconds=seconds)
    lanes = grid_lanes(rows, store)
    figures = concat([pd.DataFrame(single[FIGURES]), grid_figures(suite, lanes)])
    sgd = where(lanes, method=SGD, cheap=False) if len(lanes) else lanes
    return Results(suite, rows, figures, sgd, _curves(single, store), _sensitivity(suite, rows), len(specs))


def _sensitivity(suite: Suite, rows: pd.DataFrame) -> pd.DataFrame:
    """Final figure by task and initial step."""
    wanted = [row for row in records(rows) if suite.sensitivity and row["method"] == suite.sensitivity.method]
    steps = [(row["task"], json.loads(row["kwargs"])["initial_step"], row["figure"]) for row in wanted]
    return pd.DataFrame(steps, columns=["task", "initial_step", "figure"])


def _curves(single: pd.DataFrame, store: Store) -> pd.DataFrame:
    """The curves of every single run, one row per evaluation."""
    tables = []
    for row in records(single):
        both = store.curve(row["run_id"])
        curve = where(both, metric="objective")
        test = where(both, metric=f"test {row['test_metric']}").set_index("step").value.reindex(curve.step)
        figures = {
            "figure": [gap(float(value), row["minimum"]) for value in curve.value],
            "error": [held_out_error(float(value), row["test_metric"]) for value in test],
            "seconds": curve.train_seconds * row["share"],
        }
        shared = {name: row[name] for name in ("task", "seed", "column", "budget")}
        tables.append(curve.assign(**shared, **figures))
    return concat([table for table in tables if len(table)])
