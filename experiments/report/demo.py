"""The demo's table: one row per task and method, printed or as Markdown."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table

from experiments.common.suboptimality import gap, geometric_mean
from experiments.methods.run import Run
from experiments.tasks.registry import NETWORK

HEADERS = ("task", "method", "f - f*", "/ grid", "accuracy", "gradients", "seconds")
LABELS = {"pfopt": "ParameterFreeSGD", "grid": "SGD, best of grid", "dog": "DoG"}


@dataclass
class TaskResult:
    """Everything measured on one task; ``grid`` has one row per learning rate."""

    task: str
    minimum: float
    runs: dict[str, Run] = field(default_factory=dict)
    grid: pd.DataFrame = field(default_factory=pd.DataFrame)

    @property
    def finished(self) -> bool:
        """Whether every method has run."""
        return self.runs.keys() >= LABELS.keys()


def demo_rows(results: list[TaskResult]) -> pd.DataFrame:
    """One row per task and method: gap (f - f*) and its ratio to the grid's best, accuracy and cost."""
    rows = []
    for result in results:
        reference = gap(result.runs["grid"].value, result.minimum)
        for method in LABELS:
            run = result.runs[method]
            suboptimality = gap(run.value, result.minimum)
            rows.append(
                {
                    "task": result.task,
                    "method": method,
                    "value": run.value,
                    "minimum": result.minimum,
                    "gap": suboptimality,
                    "ratio": suboptimality / reference,
                    "accuracy": run.test,
                    "num_grad_evals": run.num_grad_evals,
                    "seconds": run.seconds,
                    "message": run.message,
                }
            )
    return pd.DataFrame(rows)


def print_demo(rows: pd.DataFrame, console: Console) -> None:
    """Print the table and what it says; a task's name stands above its methods, to fit 80 columns."""
    table = Table(
        title="One run without a learning rate, against a grid of runs with one",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    for header in HEADERS[1:]:
        table.add_column(header, justify="left" if header == "method" else "right", no_wrap=True)
    for task, group in rows.groupby("task", sort=False):
        table.add_section()
        table.add_row(f"[bold]{task}")
        for cells in _cells(group):
            table.add_row(*cells[1:])
    console.print(table)
    for line in _notes(rows):
        console.print(line, markup=False, highlight=False)


def to_markdown(rows: pd.DataFrame) -> str:
    """The table and what it says, in Markdown."""
    lines = ["| " + " | ".join(HEADERS) + " |", "|---|---|" + "---:|" * (len(HEADERS) - 2)]
    lines += ["| " + " | ".join(cells) + " |" for cells in _cells(rows)]
    return "\n".join(lines) + "\n\n" + "\n".join(f"- {line}" for line in _notes(rows)) + "\n"


def _cells(rows: pd.DataFrame) -> list[tuple[str, ...]]:
    """The texts of every row."""
    texts = []
    for _, row in rows.iterrows():
        label = LABELS[row.method] + (f" ({row.message})" if row.method == "grid" else "")
        accuracy = "" if math.isnan(row.accuracy) else f"{row.accuracy:.3f}"
        figures = (
            f"{row.gap:.2e}",
            f"{row.ratio:.2f}",
            accuracy,
            f"{row.num_grad_evals:,}",
            f"{row.seconds:.1f}",
        )
        texts.append((row.task, label, *figures))
    return texts


def _notes(rows: pd.DataFrame) -> list[str]:
    """What the figures mean, and the geometric means."""
    notes = [
        "f - f*: training objective above its minimum, known from other solvers; for the network its loss.",
        "SGD grid: at least 18 learning rates, each with as many gradients as the other methods use once; "
        "the best is picked in hindsight, and its seconds are those of the whole grid as one batched run.",
    ]
    convex = rows[rows.task != NETWORK]
    if len(convex):
        ratios = {method: convex.ratio[convex.method == method] for method in ("pfopt", "dog")}
        means = [f"{LABELS[m]} {geometric_mean(r):.2f} (worst {r.max():.2f})" for m, r in ratios.items()]
        notes.append(
            f"(f - f*) / (best of the grid - f*), geometric mean over {len(ratios['pfopt'])} convex tasks: "
            + "; ".join(means)
        )
    return notes
