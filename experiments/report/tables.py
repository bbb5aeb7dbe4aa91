"""The report's tables, as lists of rows of text: HTML and Markdown show the same."""

from __future__ import annotations

import math

from experiments.common.frames import groups, where
from experiments.common.suboptimality import geometric_mean
from experiments.engine.run_suite import failures
from experiments.engine.suite import GRIDS, load_suite
from experiments.report.costs import one_use, runs_of_one_use
from experiments.report.results import Results
from experiments.report.statistics import Comparison, compare
from experiments.report.table import Table, number


def questions(results: Results) -> Table:
    """The comparisons that were planned, and what came of them."""
    rows, labels = [], results.labels
    for item in results.suite.comparisons:
        found = compare(results.figures, item.method, item.against, results.judged)
        pair = f"{labels[item.method]} / {labels[item.against]}"
        if found is None:
            rows.append([item.question, pair, "not run", "", ""])
            continue
        low, high = found.interval.low, found.interval.high
        verdict = "yes" if high < 1 else "no" if low > 1 else "not shown"
        rows.append([item.question, pair, _interval(found), verdict, str(found.pairs)])
    note = (
        f"Written in the suite file before there was data. By {results.suite.judged}. Every other comparison in this "
        "report was not planned."
    )
    header = ["question", "ratio of", "geometric mean [95 %]", "answer", "pairs"]
    return Table("Planned comparisons", note, header, rows)


def headline(results: Results) -> Table:
    """Every column against the reference: held-out error, training loss, seconds; worst task, tasks won, cost."""
    reference, labels = results.suite.reference, results.labels
    planned = {c.method for c in results.suite.comparisons if c.against == reference}
    rows = []
    for column in results.columns:
        found = compare(results.figures, column, reference, results.judged)
        if found is None:
            continue
        own = where(results.figures, column=column)
        ratios = [compare(results.figures, column, reference, by) for by in ("error", "figure")]
        rows.append(
            [
                labels[column],
                *("" if ratio is None else _interval(ratio) for ratio in ratios),
                f"{number(found.worst)} ({found.worst_task})",
                f"{sum(ratio <= 1.0 for ratio in found.by_task.values())}/{len(found.by_task)}",
                number(one_use(own, "seconds")),
                f"{geometric_mean(runs_of_one_use(results, column)):.3g}",
                f"{(own.status != 'done').sum()}/{len(own)}",
                "yes" if column in planned else "reference" if column in GRIDS else "no",
            ]
        )
    name = labels[reference]
    note = (
        f"Ratios: held-out error (1 - accuracy, or loss) and figure of training over those of {name} on the same task "
        "and seed; below 1 is better. Of a grid each is that of the rate at which it is least, so that held-out errors "
        "of grids are chosen by the rows they are measured on. Geometric mean over seeds and tasks; 95 % interval by "
        f"a paired bootstrap over tasks and seeds. Worst task and tasks won are by {results.suite.judged}. Seconds of "
        "one use of the method on every task once, and runs: of a grid the whole bill."
    )
    header = ["method", "held-out error", "training loss", "worst task", "tasks won", "seconds", "runs"]
    header += ["failed", "planned"]
    return Table(f"Against {name}", note, header, rows)


def by_task(results: Results) -> Table:
    """Ratio to the reference of every column on every task."""
    reference = results.suite.reference
    found = {
        column: compare(results.figures, column, reference, results.judged)
        for column in results.columns
        if column != reference
    }
    kept = {column: c.by_task for column, c in found.items() if c is not None}
    tasks = [task for task in results.suite.tasks if any(task in ratios for ratios in kept.values())]
    rows = [[task, *(number(ratios.get(task, math.nan)) for ratios in kept.values())] for task in tasks]
    note = "Geometric mean over seeds. An empty cell: the task has not what the method needs (lanes, a jax version)."
    title = f"{results.suite.judged.capitalize()} over that of {results.labels[reference]}, by task"
    return Table(title, note, ["task", *(results.labels[column] for column in kept)], rows)


def test_metrics(results: Results) -> Table:
    """Median test metric over seeds of every column on every task that has one."""
    rows = []
    for (task, metric), table in groups(results.figures, "task", "test_metric"):
        if metric:
            medians = {column: part.test.median() for (column,), part in groups(table, "column")}
            rows.append(
                [task, metric, *(number(medians.get(column, math.nan)) for column in results.columns)]
            )
    header = ["task", "metric", *(results.labels[column] for column in results.columns)]
    note = "Median over seeds; here a grid's rate is the one that trained best."
    return Table("On held-out rows", note, header, rows)


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


def _interval(found: Comparison) -> str:
    return f"{number(found.interval.mean)} [{number(found.interval.low)}, {number(found.interval.high)}]"
