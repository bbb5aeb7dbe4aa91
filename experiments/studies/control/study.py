"""Simulated streams, recorded curves of the suites and new runs, watched by ``pfopt.control.Monitor``.

Writes ``control_*.csv``, and with them the tables of docs/watch.md. Parts: false_alarms, power and plateaus are
simulations, curves those of the suites; probes and runs need the data of the suites.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Annotated

import pandas as pd
import torch
import typer

from experiments.common.options import DataDir, Seeds, each_of
from experiments.studies.control import curves, page, probes, runs, simulate
from experiments.studies.study import RESULTS, Study, write_table

NAMES = ["false_alarms", "power", "plateaus", "curves", "probes", "runs"]
THREE_SEEDS = [0, 1, 2]


def _tables(
    series: int, seeds: list[int], data_dir: str | None
) -> dict[str, Callable[[], dict[str, pd.DataFrame]]]:
    """What every part writes."""

    def of_curves() -> dict[str, pd.DataFrame]:
        stopped, foretold = curves.study()
        return {"curves": stopped, "gains": foretold}

    return {
        "false_alarms": lambda: {"false_alarms": pd.DataFrame(simulate.false_alarms(series))},
        "power": lambda: {"power": pd.DataFrame(simulate.power(series // 4))},
        "plateaus": lambda: {"plateaus": pd.DataFrame(simulate.plateaus(series // 8))},
        "curves": of_curves,
        "probes": lambda: {"probes": pd.DataFrame(probes.study(data_dir))},
        "runs": lambda: {"runs": pd.DataFrame(chain.from_iterable(runs.study(seeds, data_dir)))},
    }


def answer(
    parts: Annotated[list[str], typer.Option(metavar="PART", callback=each_of(NAMES, "part"))] = NAMES,
    series: Annotated[int, typer.Option(min=8, help="simulated streams of a kind")] = 200,
    seeds: Seeds = THREE_SEEDS,
    data_dir: DataDir = None,
    output: Annotated[Path, typer.Option(metavar="FOLDER", help="where to write the tables")] = RESULTS,
) -> None:
    """Run the parts."""
    torch.set_num_threads(1)
    made = _tables(series, seeds, data_dir)
    for part in parts:
        for name, table in made[part]().items():
            write_table(table, output / f"control_{name}.csv", digits=5)
    if output == RESULTS:
        page.write()


FILES = tuple(RESULTS / f"control_{name}.csv" for name in [*NAMES, "gains"])
STUDY = Study("control", "How often is what the monitor says wrong, and what does it save?", answer, FILES)
