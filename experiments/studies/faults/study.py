"""Thousands of faults, injected into small runs of ours and of the peers, the same at the same steps for all.

One row per run; printed are the faults that were injected and the runs that were lost, by kind and method. Lost is a
run with a parameter that is not finite, or that ends worse than it began by more than three standard errors of the mean
of its first losses; a resumed run that is not bit for bit the undisturbed one; ranks that have parted; a frozen or
removed weight that moved, or pruned ones that are back; a checkpoint that cannot be used and is not refused by a
sentence; a scale of a ``GradScaler`` that is gone; a status of success over any of these; and an exception. Takes half
an hour on one core.
"""

from __future__ import annotations

from typing import Annotated

import pandas as pd
import typer
from rich.console import Console

from experiments.common.options import Output, Processes, each_of
from experiments.common.parallel import compile_quickly
from experiments.studies.faults.methods import METHODS
from experiments.studies.faults.run import KINDS, OPTAX, jobs, run
from experiments.studies.study import RESULTS, Study, measure, write_table

OUTPUT = RESULTS / "faults.csv"
COLUMNS = ["kind", "method", "number", "seed", "problem", "faults", "detail", "start", "end", "lost"]
SHOWN = ["method", "kind", "number", "problem", "detail", "lost"]
ALL_KINDS, ALL_METHODS = list(KINDS), [*METHODS, OPTAX]


def counts(table: pd.DataFrame) -> pd.DataFrame:
    """Lost runs of all runs, and faults in brackets, by kind and method."""
    cells: dict[str, dict[str, str]] = {}
    for (kind, method), rows in table.groupby(["kind", "method"], sort=False):  # type: ignore[misc]
        cells.setdefault(str(method), {})[str(kind)] = (
            f"{(rows.lost != '').sum()} of {len(rows)} ({rows.faults.sum()})"
        )
    return pd.DataFrame(cells).fillna("")


def answer(
    kinds: Annotated[list[str], typer.Option(metavar="KIND", callback=each_of(KINDS, "kind"))] = ALL_KINDS,
    methods: Annotated[
        list[str], typer.Option(metavar="METHOD", callback=each_of(ALL_METHODS, "method"))
    ] = ALL_METHODS,
    runs: Annotated[int, typer.Option(min=1, help="of each kind and method")] = 30,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    processes: Processes = 1,
    output: Output = OUTPUT,
) -> None:
    """Run the campaign."""
    compile_quickly()
    console = Console(width=160)
    table = measure(run, list(jobs(kinds, methods, runs, seed)), processes, console).reindex(columns=COLUMNS)
    for column, order in (("kind", kinds), ("method", methods)):
        table[column] = pd.Categorical(table[column], order)
    table = table.sort_values(["kind", "method", "number"]).astype({"kind": str, "method": str})
    write_table(table, output, digits=6)
    console.print(f"{table.faults.sum()} faults, {len(table)} runs, {(table.lost != '').sum()} lost")
    console.print("lost of runs (faults)\n" + counts(table).to_string(), markup=False)
    ours = [method for method in methods if method == OPTAX or METHODS[method].ours]
    for row in table.to_dict("records"):
        if row["method"] in ours and row["lost"]:
            console.print(", ".join(str(row[column]) for column in SHOWN), markup=False)


STUDY = Study("faults", "How much is lost where things go wrong in training?", answer, (OUTPUT,))
