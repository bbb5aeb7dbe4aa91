"""Part rates: runs of plain optimizers, 300 steps at a cosine schedule from a peak to zero, on 20 networks.

"momentum" is SGD with 0.9 of it, "muon" is Muon for matrices and AdamW, at a twentieth of its rate, for the rest.
``PROBLEMS`` are the test; the peaks of ``pfopt.card``, in units of the certified rate, were chosen on ``CHOOSING``.

Part batches: runs of 300 steps on networks of the suites that start from the card of an earlier one, of the same batch
size or another; it needs the data of the suites.

Only runs that are not in the output yet are made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import pandas as pd
import torch
import typer
from rich.console import Console

from experiments.common.frames import concat
from experiments.common.options import Processes, each_of
from experiments.engine.execute import device_name
from experiments.studies.card import batches, rates
from experiments.studies.card.table import report
from experiments.studies.study import RESULTS, Study, measure, write_table


class Part(NamedTuple):
    """What is run, and where it is written."""

    file: str
    jobs: Callable[[], Iterator[Any]]
    is_there: Callable[[Any, pd.DataFrame], bool]
    run: Callable[[Any], Any]
    report: Callable[[pd.DataFrame, Callable[[str], None]], None]
    order: list[str]
    at_once: int  # jobs, after which all are written


PARTS = {
    "rates": Part(
        "card.csv",
        rates.jobs,
        rates.is_there,
        rates.run,
        report,
        ["problem", "optimizer", "rule", "rate", "seed"],
        40,
    ),
    "batches": Part(
        "card_batches.csv",
        batches.jobs,
        batches.is_there,
        batches.run,
        batches.report,
        ["problem", "optimizer", "size", "card"],
        1,
    ),
}
NAMES = list(PARTS)


def answer(
    parts: Annotated[list[str], typer.Option(metavar="PART", callback=each_of(NAMES, "part"))] = NAMES,
    processes: Processes = 2,
    table_only: Annotated[bool, typer.Option("--table", help="of the runs that are there")] = False,
    output: Annotated[Path, typer.Option(metavar="FOLDER", help="where to write the tables")] = RESULTS,
) -> None:
    """Run what is missing and print the tables."""
    console = Console()
    torch.set_num_threads(1)
    for part in (PARTS[name] for name in parts):
        file = output / part.file
        known = pd.read_csv(file) if file.exists() else pd.DataFrame(columns=part.order)
        planned = [] if table_only else [job for job in part.jobs() if not part.is_there(job, known)]
        for first in range(0, len(planned), part.at_once):
            anew = measure(part.run, planned[first : first + part.at_once], processes, console)
            known = concat([known, anew.assign(device=device_name("small"))])
            write_table(known.sort_values(part.order), file)
        part.report(pd.read_csv(file), lambda text: console.print(text, markup=False, soft_wrap=True))


FILES = tuple(RESULTS / part.file for part in PARTS.values())
STUDY = Study("card", "Does a plain optimizer train well at the rate that a search hands out?", answer, FILES)
