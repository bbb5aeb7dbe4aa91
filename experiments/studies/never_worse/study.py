"""Does a run ever end worse than it began? Ten thousand generated problems, for ours and for fixed learning rates.

Takes ten minutes on one core; writes ``experiments/results/never_worse.csv``,
one row per family and method and one per fault of ours, and prints the table. A run is at fault where it raises, ends
at a point that is not finite, takes more gradients than its budget, or ends higher than it began by more than noise
explains: f(end) > f(start) + 3 s ‖end − start‖/√T, s² being the mean ‖noise‖² of its T gradients, so that the bound
holds for any direction that the noise has chosen. Where a function jumps and gradients do not show it, the jump is
added. Study ``robustness`` stays: it has real data, batches and a million steps, and this has nasty functions.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.progress import track

from experiments.common.atomic_files import write_text
from experiments.common.parallel import run_parallel
from experiments.studies.never_worse.run import METHODS, Job, run

OUTPUT = Path(__file__).resolve().parents[2] / "results" / "never_worse.csv"
OURS = "pfopt.minimize"
EVERY = 10  # problems, of which the peers get one


def main(arguments: Sequence[str] | None = None) -> None:
    """Run them all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--problems", type=int, default=10_000)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    args = parser.parse_args(arguments)
    console = Console(width=160)
    planned = [Job(number, OURS) for number in range(args.problems)]
    peers = [name for name in METHODS if name != OURS]
    planned += [Job(number, name) for name in peers for number in range(0, args.problems, EVERY)]
    rows = list(track(run_parallel(run, planned, args.processes), total=len(planned), console=console))
    table = pd.DataFrame(rows).sort_values(["method", "number"], ignore_index=True)
    counted = counts(table)
    faults = pd.DataFrame([row for row in table.to_dict("records") if row["method"] == OURS and row["fault"]])
    write_text(args.output, pd.concat([counted, faults]).to_csv(index=False, float_format="%.6g"))
    wide = counted.assign(cell=counted.faults.astype(str) + " of " + counted.runs.astype(str))
    console.print(wide.pivot_table("cell", "family", "method", "first", sort=False).to_string(), markup=False)
    for method in METHODS:
        of = [row["fault"].split(" ")[0] for row in rows if row["method"] == method]
        kinds = dict(Counter(filter(None, of)))
        console.print(
            f"{method}: {sum(kinds.values())} of {len(of)} runs at fault {kinds or ''}", markup=False
        )
    if len(faults):
        console.print(faults.to_string(index=False), markup=False)


def counts(table: pd.DataFrame) -> pd.DataFrame:
    """Runs and faults by method and family, in the order of the families."""
    rows = [
        {"method": method, "family": family, "runs": len(of), "faults": int((of.fault != "").sum())}
        for (method, family), of in table.groupby(["method", "family"], sort=False)  # type: ignore[misc]
    ]
    return pd.DataFrame(rows)


if __name__ == "__main__":
    main()
