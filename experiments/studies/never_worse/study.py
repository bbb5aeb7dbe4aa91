"""Ten thousand generated problems, most of them nasty, for ours and for fixed learning rates.

One row per family and method and one per fault of ours. A run is at fault where it raises, ends at a point that is not
finite, takes more gradients than its budget, or ends higher than it began by more than noise explains:
f(end) > f(start) + 3 s ‖end − start‖/√T, s² being the mean ‖noise‖² of its T gradients, so that the bound holds for any
direction that the noise has chosen. Where a function jumps and gradients do not show it, the jump is added. Study
``robustness`` has real data, batches and a million steps. Takes ten minutes on one core.
"""

from __future__ import annotations

from collections import Counter
from typing import Annotated

import pandas as pd
import typer
from rich.console import Console

from experiments.common.options import Output, Processes
from experiments.studies.never_worse.run import METHODS, Job, run
from experiments.studies.study import RESULTS, Study, measure, write_table

OUTPUT = RESULTS / "never_worse.csv"
OURS = "pfopt.minimize"
EVERY = 10  # problems, of which the peers get one


def answer(
    problems: Annotated[int, typer.Option(min=1, help="for ours; the others get every tenth")] = 10_000,
    processes: Processes = 1,
    output: Output = OUTPUT,
) -> None:
    """Run them all and print how many are at fault, by family and method."""
    console = Console(width=160)
    planned = [Job(number, OURS) for number in range(problems)]
    peers = [name for name in METHODS if name != OURS]
    planned += [Job(number, name) for name in peers for number in range(0, problems, EVERY)]
    table = measure(run, planned, processes, console).sort_values(["method", "number"], ignore_index=True)
    counted = counts(table)
    faults = pd.DataFrame(table[(table.method == OURS) & (table.fault != "")])
    write_table(pd.concat([counted, faults]) if len(faults) else counted, output, digits=6)
    wide = counted.assign(cell=counted.faults.astype(str) + " of " + counted.runs.astype(str))
    console.print(wide.pivot_table("cell", "family", "method", "first", sort=False).to_string(), markup=False)
    for method in METHODS:
        of = [fault.split(" ")[0] for fault in table.fault[table.method == method]]
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


STUDY = Study(
    "never_worse",
    "Does a run ever end worse than it began, whatever the function and the noise?",
    answer,
    (OUTPUT,),
)
