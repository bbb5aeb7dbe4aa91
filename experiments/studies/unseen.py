"""Small problems of ``held_out_problems``, against whole grids of SGD and of AdamW.

There are three sets: the 54 problems; ten further ones, which nothing was run on before every rule stood; and the
cases, runs that were lost once and that a rule was made for. Both grids anneal by a cosine, SGD's with momentum 0.9; a
loss that is not finite counts as infinite. One row per run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pandas as pd
import typer
from rich.console import Console

from experiments.common.options import Processes, Seeds, one_of, refuse_unknown
from experiments.engine.execute import device_name
from experiments.held_out_problems.registry import FIRST, FURTHER, SECOND, SETS
from experiments.held_out_problems.run import Job, jobs, run
from experiments.held_out_problems.table import conclusions, messages, summary
from experiments.studies.study import RESULTS, Study, measure, write_table

OUTPUTS = {
    "problems": RESULTS / "unseen.csv",
    "further": RESULTS / "unseen_further.csv",
    "cases": RESULTS / "unseen_cases.csv",
}
PARTS = {"First set": FIRST, "Second set": SECOND, "Further set": FURTHER, "Cases": SETS["cases"]}
TWO_SEEDS = [0, 1]


def report(frame: pd.DataFrame, console: Console) -> None:
    """Print a line per problem, and for each part a line for each of ours and what it told where it missed most."""
    table = summary(frame)
    console.print(table.to_string(float_format="{:.4g}".format), markup=False, soft_wrap=True)
    for title, names in PARTS.items():
        part = pd.DataFrame(table[table.index.isin(list(names))])
        if len(part):
            lines = [f"{title}:", *conclusions(part), *messages(frame, part)]
            console.print("\n".join(lines), markup=False, soft_wrap=True)


def others(path: Path, planned: list[Job]) -> pd.DataFrame:
    """The runs that a file holds, but for the planned ones."""
    known, anew = pd.read_csv(path), {(job.problem, job.method, job.seed) for job in planned}
    keys = zip(known.problem, known.method, known.seed, strict=True)
    return pd.DataFrame(known.iloc[[place for place, key in enumerate(keys) if key not in anew]])


def answer(
    chosen: Annotated[
        str, typer.Option("--set", help="problems, further or cases", callback=one_of(SETS, "set"))
    ] = "problems",
    seeds: Seeds = TWO_SEEDS,
    only: Annotated[list[str] | None, typer.Option(metavar="PROBLEM", help="these of the set alone")] = None,
    processes: Processes = 2,
    output: Annotated[Path | None, typer.Option(help="where to write the table")] = None,
    ours_only: Annotated[
        bool, typer.Option("--ours-only", help="keep all other runs that the output holds")
    ] = False,
) -> None:
    """Run a set and print its table."""
    names, path, console = only or list(SETS[chosen]), output or OUTPUTS[chosen], Console()
    refuse_unknown(names, SETS[chosen], f"problem of set {chosen}")
    if ours_only and not path.exists():
        raise typer.BadParameter(f"--ours-only goes with an output that holds the grids' runs, got {path}")
    planned = list(jobs(names, seeds, ours_only=ours_only))
    table = measure(run, planned, processes, console).assign(device=device_name("small"))
    if ours_only:
        table = pd.concat([others(path, planned), table])
    table = table.sort_values(["problem", "method", "learning_rate", "seed"])
    write_table(table, path)
    report(table, console)


STUDY = Study("unseen", "Does it hold on problems that it was not made on?", answer, tuple(OUTPUTS.values()))
