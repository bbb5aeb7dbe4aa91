"""The report's tables, as lists of rows of text: HTML and Markdown show the same."""

from __future__ import annotations

import math
import statistics
from typing import NamedTuple

import pandas as pd

from experiments.common.frames import groups, records, where
from experiments.common.suboptimality import geometric_mean
from experiments.engine.run_suite import failures
from experiments.engine.suite import GRIDS, load_suite
from experiments.report.results import Results
from experiments.report.statistics import Comparison, compare


class Table(NamedTuple):
    """A table with a title, a note below it, its header and its rows."""

    title: str
    note: str
    header: list[str]
    rows: list[list[str]]


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
                number(_one_use(own, "seconds")),
                f"{geometric_mean(_runs(results, column)):.3g}",
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


def costs(results: Results) -> Table:
    """What every column costs on all tasks once: gradients and seconds of one use, and of one run."""
    rows = []
    for column in results.columns:
        own = where(results.figures, column=column)
        gradients, seconds = (_one_use(own, bill) for bill in ("num_grad_evals", "seconds"))
        each = seconds / geometric_mean(_runs(results, column))
        per_gradient = 1e6 * seconds / max(gradients, 1)
        rows.append(
            [
                results.labels[column],
                f"{gradients:,.0f}",
                f"{seconds:.1f}",
                f"{each:.1f}",
                f"{per_gradient:.0f}",
            ]
        )
    note = (
        "Of all tasks together, median over seeds; the seconds are those of training. Where the records have it they "
        "are the processor's, which a busy machine makes longer too: only `run --jobs 1` on an idle one gives times "
        "that may be compared. A batched grid's microseconds are per lane."
    )
    header = ["method", "gradients of one use", "seconds of one use", "seconds of one run", "µs per gradient"]
    return Table("Cost", note, header, rows)


def targets(results: Results) -> Table:
    """How soon each method's curve reaches the target, and how often."""
    reached = results.steps_to_target()
    rows = []
    for (column,), table in groups(reached, "column"):
        shares = [row["steps"] / results.budgets[row["task"]] for row in records(table)]
        hits = sum(share < math.inf for share in shares)
        rows.append(
            [
                results.labels[column],
                _or_never(statistics.median(shares)),
                _or_never(statistics.median(_by_task(table, "seconds"))),
                f"{hits}/{len(shares)}",
            ]
        )
    suite, name = results.suite, results.labels[results.suite.reference]
    bill = statistics.median(_by_task(where(results.figures, column=suite.reference), "seconds"))
    note = (
        f"Target: {suite.target_factor:g} times the final {suite.judged} of {name} on the same task and seed, which "
        f"itself needs its whole bill: {number(bill)} s in the median. Share of one run's budget, probes "
        "included; a miss counts as infinite."
    )
    header = ["method", "share of the budget (median)", "seconds (median)", "reached"]
    return Table("Time to target", note, header, rows)


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


def _or_never(value: float) -> str:
    return "never" if math.isinf(value) else number(value)


def _interval(found: Comparison) -> str:
    return f"{number(found.interval.mean)} [{number(found.interval.low)}, {number(found.interval.high)}]"


def _one_use(own: pd.DataFrame, bill: str) -> float:
    """Gradients or seconds of one use on all tasks."""
    return sum(_by_task(own, bill))


def _by_task(own: pd.DataFrame, bill: str) -> list[float]:
    """Gradients or seconds of one use, by task; median over seeds."""
    return [statistics.median(table[bill]) for _, table in groups(own, "task")]


def _runs(results: Results, column: str) -> list[float]:
    """Runs that one use of a column is, by task."""
    own = where(results.figures, column=column)
    return [table.num_grad_evals.max() / results.budgets[task] for (task,), table in groups(own, "task")]
