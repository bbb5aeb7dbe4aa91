"""Each mechanism is switched off alone, and some of them together.

Prints one row per switch and group: the figure over that of the default on the same task and seed, as geometric mean,
best and worst task, and how many tasks change by more than 10 % beyond what the controls change them by.
``standard_error`` is that of the mean over tasks, of its logarithm where the figure is a ratio. A control is the
default with its constants changed in the sixth digit: what it changes is rounding, so that smaller effects of a switch
cannot be told from nothing. In the means a ratio counts as ``CLIP`` at most, and as its inverse at least.

The groups, of which a switch has those where it can make a difference:

    lanes      convex tasks by ``pfopt.minimize``; the figure is suboptimality
    flat       problems of study ``unseen`` by ``pfopt.minimize``, their parameters as one vector
    unseen     the same by ``ParameterFreeSGD``
    adamw      the same by ``ParameterFree`` around AdamW
    networks   four networks of the suite ``deep`` by ``ParameterFreeSGD``

Of a problem the figures are the loss on training rows and on held-out ones, where these are positive, and the share
of the decrease within reach that was missed, as a difference to the default's (2 points count as notable).

Every run is kept as it ends in ``ablation_runs.csv``, and is not made again. On a core of its own a lane takes 0.6 ms
per gradient, a switch in all regimes about half a minute; a problem takes 2 to 4 ms per gradient in group flat, and
twice that in group unseen: hours in all.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from experiments.common.options import FIRST_SEED, Output, Processes, Seeds, each_of
from experiments.studies.ablation.runs import finished, jobs
from experiments.studies.ablation.switches import CONTROL, GROUPS, switches
from experiments.studies.ablation.table import figures, summary
from experiments.studies.study import RESULTS, Study, write_table

OUTPUT, RUNS = RESULTS / "ablation.csv", RESULTS / "ablation_runs.csv"
ALL_GROUPS: list[str] = list(GROUPS)


def answer(
    groups: Annotated[list[str], typer.Argument(callback=each_of(GROUPS, "group"))] = ALL_GROUPS,
    tasks: Annotated[
        list[str] | None, typer.Option(metavar="TASK", help="these tasks and problems alone")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(metavar="TEXT", help="switches whose label begins so, and controls")
    ] = None,
    seeds: Seeds = FIRST_SEED,
    steps: Annotated[int, typer.Option(min=1, help="gradients of an unseen problem at most")] = 600,
    processes: Processes = 2,
    table: Annotated[
        bool, typer.Option("--table", help="run nothing, tell what the runs so far say")
    ] = False,
    runs: Annotated[Path, typer.Option(help="where every run is kept")] = RUNS,
    output: Output = OUTPUT,
) -> None:
    """Run what is missing and print the table."""
    starts = (CONTROL, *only) if only else ("",)
    variants = [label for label in switches() if label == "" or label.startswith(starts)]
    console = Console(width=220)
    planned = [] if table else list(jobs(groups, tasks, seeds, steps, variants))
    found = summary(figures(finished(planned, processes, runs, console))).sort_values(["group", "variant"])
    write_table(found, output)
    for place, part in found.groupby("group", sort=False):
        console.print(f"\n{place}, control {part.control.iloc[0]:.4g}")
        console.print(part.drop(columns=["group", "figure", "control"]).to_string(index=False), markup=False)


STUDY = Study(
    "ablation", "Does every mechanism of the practical plan earn its place?", answer, (OUTPUT, RUNS)
)
