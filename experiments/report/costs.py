"""What a method costs in gradients and seconds, and how soon it is where the reference ends."""

from __future__ import annotations

import math
import statistics

import pandas as pd

from experiments.common.frames import groups, records, where
from experiments.common.suboptimality import geometric_mean
from experiments.report.results import Results
from experiments.report.table import Table, number


def costs(results: Results) -> Table:
    """What every column costs on all tasks once: gradients and seconds of one use, and of one run."""
    rows = []
    for column in results.columns:
        own = where(results.figures, column=column)
        gradients, seconds = (one_use(own, bill) for bill in ("num_grad_evals", "seconds"))
        each = seconds / geometric_mean(runs_of_one_use(results, column))
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


def _or_never(value: float) -> str:
    return "never" if math.isinf(value) else number(value)


def one_use(own: pd.DataFrame, bill: str) -> float:
    """Gradients or seconds of one use on all tasks."""
    return sum(_by_task(own, bill))


def _by_task(own: pd.DataFrame, bill: str) -> list[float]:
    """Gradients or seconds of one use, by task; median over seeds."""
    return [statistics.median(table[bill]) for _, table in groups(own, "task")]


def runs_of_one_use(results: Results, column: str) -> list[float]:
    """Runs that one use of a column is, by task."""
    own = where(results.figures, column=column)
    return [table.num_grad_evals.max() / results.budgets[task] for (task,), table in groups(own, "task")]
