"""The report's tables, as lists of rows of text: HTML and Markdown show the same."""

from __future__ import annotations

import math
import statistics
from typing import NamedTuple

from experiments.common.frames import groups, records, where
from experiments.common.suboptimality import geometric_mean
from experiments.engine.run_suite import failures
from experiments.engine.suite import GRID_A, GRIDS, load_suite
from experiments.report.results import LABELS, Results
from experiments.report.statistics import Comparison, compare


class Table(NamedTuple):
    """A table with a title, a note below it, its header and its rows."""

    title: str
    note: str
    header: list[str]
    rows: list[list[str]]


def questions(results: Results) -> Table:
    """The comparisons that were planned, and what came of them."""
    rows = []
    for item in results.suite.comparisons:
        found = compare(results.figures, item.method, item.against)
        pair = f"{_short(item.method)} / {_short(item.against)}"
        if found is None:
            rows.append([item.question, pair, "not run", "", ""])
            continue
        low, high = found.interval.low, found.interval.high
        verdict = "yes" if high < 1 else "no" if low > 1 else "not shown"
        rows.append([item.question, pair, _interval(found), verdict, str(found.pairs)])
    note = "Written in the suite file before there was data. Every other comparison in this report was not planned."
    header = ["question", "ratio of", "geometric mean [95 %]", "answer", "pairs"]
    return Table("Planned comparisons", note, header, rows)


def headline(results: Results) -> Table:
    """Every column against grid A: geometric mean with interval, worst task, share of tasks won, cost."""
    planned = {c.method for c in results.suite.comparisons if c.against == GRID_A}
    rows = []
    for column in results.columns:
        found = compare(results.figures, column, GRID_A)
        if found is None or column == GRID_A:
            continue
        own = where(results.figures, column=column)
        bills = [table.num_grad_evals.max() / results.budgets[task] for (task,), table in groups(own, "task")]
        rows.append(
            [
                LABELS[column],
                _interval(found),
                f"{number(found.worst)} ({found.worst_task})",
                f"{sum(ratio <= 1.0 for ratio in found.by_task.values())}/{len(found.by_task)}",
                f"{geometric_mean(bills):.3g}",
                f"{(own.status != 'done').sum()}/{len(own)}",
                "yes" if column in planned else "reference" if column in GRIDS else "no",
            ]
        )
    note = (
        "Ratio: figure of merit over that of grid A on the same task and seed (below 1: better than the best of the "
        "grid). Geometric mean over seeds and tasks; 95 % interval by a paired bootstrap over tasks and seeds. Cost: "
        "gradients of one use of the method, probes and every value of a grid included, in runs of the task's budget."
    )
    header = ["method", "ratio to grid A [95 %]", "worst task", "tasks won", "cost", "failed", "planned"]
    return Table("One run against the grid", note, header, rows)


def by_task(results: Results) -> Table:
    """Ratio to grid A of every column on every task."""
    found = {
        column: compare(results.figures, column, GRID_A) for column in results.columns if column != GRID_A
    }
    kept = {column: c.by_task for column, c in found.items() if c is not None}
    tasks = [task for task in results.suite.tasks if any(task in ratios for ratios in kept.values())]
    rows = [[task, *(number(ratios.get(task, math.nan)) for ratios in kept.values())] for task in tasks]
    note = "Geometric mean over seeds. An empty cell: the task has not what the method needs (lanes, a jax version)."
    return Table("Ratio to grid A by task", note, ["task", *map(_short, kept)], rows)


def test_metrics(results: Results) -> Table:
    """Median test metric over seeds of every column on every task that has one."""
    rows = []
    for (task, metric), table in groups(results.figures, "task", "test_metric"):
        if metric:
            medians = {column: part.test.median() for (column,), part in groups(table, "column")}
            rows.append(
                [task, metric, *(number(medians.get(column, math.nan)) for column in results.columns)]
            )
    header = ["task", "metric", *map(_short, results.columns)]
    return Table(
        "On held-out rows", "Median over seeds; the grids' best values are chosen by training.", header, rows
    )


def costs(results: Results) -> Table:
    """What every column costs: gradients of one use on each task, and seconds."""
    rows = []
    for column in results.columns:
        own = where(results.figures, column=column)
        per_use = sum(table.num_grad_evals.max() for _, table in groups(own, "task"))
        per_gradient = own.seconds.sum() / max(own.num_grad_evals.sum(), 1)
        rows.append(
            [LABELS[column], f"{per_use:,.0f}", f"{own.seconds.sum():.1f}", f"{per_gradient * 1e6:.0f}"]
        )
    note = (
        "Gradients: one use of the method on each task. Seconds of training over all seeds, as measured while other "
        "runs went on in parallel; only `run --jobs 1` on an idle machine gives wall times that may be compared. "
        "A batched grid's microseconds are per lane."
    )
    return Table("Cost", note, ["method", "gradients", "seconds", "µs per gradient"], rows)


def targets(results: Results) -> Table:
    """How soon each method's curve reaches the target, and how often."""
    reached = results.steps_to_target()
    rows = []
    for (column,), table in groups(reached, "column"):
        shares = [row["steps"] / results.budgets[row["task"]] for row in records(table)]
        hits = sum(share < math.inf for share in shares)
        median = statistics.median(shares)
        rows.append(
            [LABELS[column], "never" if math.isinf(median) else number(median), f"{hits}/{len(shares)}"]
        )
    note = (
        f"Target: {results.suite.target_factor:g} times grid A's final figure on the same task and seed. Median share "
        "of one run's budget, probes included; a miss counts as infinite. The grid itself needs its whole bill."
    )
    return Table("Time to target", note, ["method", "share of the budget (median)", "reached"], rows)


def failed_runs(results: Results) -> Table:
    """Every run that raised, diverged or ran out of time; diverged learning rates of grids are only counted."""
    names = ("task", "method", "seed", "status", "error_text")
    rows = [[str(row[name]) for name in names] for row in failures(results.rows)]
    lanes = results.lanes
    diverged = int(lanes.value.isin([math.inf]).sum()) if len(lanes) else 0
    note = f"Grid lanes whose output diverged, as too large learning rates must: {diverged} of {len(lanes)}."
    return Table("Failed runs", note, ["task", "method", "seed", "status", "reason"], rows)


def departures(results: Results) -> list[str]:
    """In what this report differs from the suite as it was planned."""
    suite, full = results.suite, load_suite(results.suite.name)
    notes = []
    if set(suite.seeds) != set(full.seeds):
        notes.append(
            f"Seeds {', '.join(map(str, suite.seeds))} instead of {', '.join(map(str, full.seeds))}."
        )
    if set(suite.tasks) != set(full.tasks):
        notes.append(f"Only the tasks {', '.join(suite.tasks)}.")
    if set(suite.method_names) != set(full.method_names):
        notes.append(f"Only the methods {', '.join(suite.method_names)}.")
    if len(results.rows) < results.planned:
        notes.append(f"Unfinished: {len(results.rows)} of {results.planned} runs are there.")
    if results.widened_tasks:
        notes.append(
            f"The grid was widened, its best value lay at an edge: {', '.join(results.widened_tasks)}."
        )
    return notes


def number(value: float) -> str:
    """Three significant digits."""
    if math.isnan(value):
        return ""
    return "∞" if math.isinf(value) else f"{value:.3g}"


def _interval(found: Comparison) -> str:
    return f"{number(found.interval.mean)} [{number(found.interval.low)}, {number(found.interval.high)}]"


def _short(column: str) -> str:
    """A column's label without its explanation."""
    return LABELS[column].split(":")[0]
