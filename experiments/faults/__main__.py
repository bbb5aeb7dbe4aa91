"""How much is lost where things go wrong? Thousands of faults, injected into small runs of ours and of the peers.

Run as ``python -m experiments.faults`` (half an hour on one core); writes ``experiments/results/faults.csv``, one row
per run, and prints how many faults were injected and how many runs were lost, by kind and method. Lost is a run with a
parameter that is not finite, or that ends worse than it began by more than three standard errors of the mean of its
first losses; a resumed run that is not bit for bit the undisturbed one; ranks that have parted; a frozen or removed
weight that moved, or pruned ones that are back; a checkpoint that cannot be used and is not refused by a sentence; a
scale of a ``GradScaler`` that is gone; a status of success over any of these; and an exception. All methods meet the
same faults at the same steps.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch
from rich.console import Console
from rich.progress import track

from experiments.faults.methods import METHODS
from experiments.faults.run import KINDS, OPTAX, jobs, run
from experiments.files import write_text
from experiments.parallel import compile_quickly, run_parallel

OUTPUT = Path(__file__).resolve().parents[1] / "results" / "faults.csv"
COLUMNS = ["kind", "method", "number", "seed", "problem", "faults", "detail", "start", "end", "lost"]

SHOWN = ["method", "kind", "number", "problem", "detail", "lost"]


def counts(table: pd.DataFrame) -> pd.DataFrame:
    """Lost runs of all runs, and faults in brackets, by kind and method."""
    cells: dict[str, dict[str, str]] = {}
    for (kind, method), rows in table.groupby(["kind", "method"], sort=False):  # type: ignore[misc]
        cells.setdefault(str(method), {})[str(kind)] = (
            f"{(rows.lost != '').sum()} of {len(rows)} ({rows.faults.sum()})"
        )
    return pd.DataFrame(cells).fillna("")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the campaign."""
    parser = argparse.ArgumentParser(description=__doc__)
    methods = [*METHODS, OPTAX]
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS), metavar="KIND")
    parser.add_argument("--methods", nargs="+", choices=methods, default=methods, metavar="METHOD")
    parser.add_argument("--runs", type=int, default=30, help="of each kind and method (default: 30)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    compile_quickly()
    console = Console(width=160)
    planned = list(jobs(args.kinds, args.methods, args.runs, args.seed))
    rows = list(track(run_parallel(run, planned, args.processes), total=len(planned), console=console))
    table = pd.DataFrame(rows, columns=COLUMNS)
    for column, order in (("kind", args.kinds), ("method", args.methods)):
        table[column] = pd.Categorical(table[column], order)
    table = table.sort_values(["kind", "method", "number"]).astype({"kind": str, "method": str})
    write_text(args.output, table.to_csv(index=False, float_format="%.6g"))
    console.print(f"{table.faults.sum()} faults, {len(table)} runs, {(table.lost != '').sum()} lost")
    console.print("lost of runs (faults)\n" + counts(table).to_string(), markup=False)
    ours = [method for method in args.methods if method == OPTAX or METHODS[method].ours]
    for row in table.to_dict("records"):
        if row["method"] in ours and row["lost"]:
            console.print(", ".join(str(row[column]) for column in SHOWN), markup=False)


if __name__ == "__main__":
    main()
