"""What a grid's choice is worth on a seed that it was not chosen on, by the published records of a suite.

They are those of ``experiments/results/SUITE``, whatever code made them. The best lane of a grid is the least of many
noisy figures. Here the lane of a seed is the one that is best on the other seeds of the task, by the geometric mean, of
those that ran on all seeds: what somebody gets who knows the task, the schedule, the average and the learning rate, but
not the order of the data.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import numpy as np
import pandas as pd
import typer
from rich.console import Console

from experiments.common.frames import concat, groups, records, where
from experiments.common.options import one_of
from experiments.common.suboptimality import gap
from experiments.engine.store import ARCHIVE, Store
from experiments.engine.suite import GRID_A, GRID_B, Suite, load_suite
from experiments.report.grids import SGD, grid_figures, grid_lanes, practitioner
from experiments.report.statistics import compare
from experiments.studies.study import RESULTS, Study

PUBLISHED = ("quick", "convex", "deep")
OURS = "pfopt"
A_ELSEWHERE, B_ELSEWHERE = f"{GRID_A} elsewhere", f"{GRID_B} elsewhere"  # chosen on the other seeds
LANE = ["schedule", "momentum", "output", "learning_rate"]
PAIRS = [
    (OURS, GRID_A),
    (A_ELSEWHERE, GRID_A),
    (OURS, A_ELSEWHERE),
    (OURS, GRID_B),
    (B_ELSEWHERE, GRID_B),
    (OURS, B_ELSEWHERE),
]


def chosen_elsewhere(lanes: pd.DataFrame) -> dict[int, float]:
    """Figure, by seed, of the lane that is best on the other seeds of one task.

    Args:
        lanes: Of one task: seed, ``LANE`` and figure.

    Raises:
        ValueError: there is one seed only, or no lane ran on all seeds.
    """
    figures = lanes.pivot_table(index="seed", columns=LANE, values="figure", aggfunc="min").dropna(axis=1)
    if len(figures) < 2 or figures.empty:
        raise ValueError("the choice needs lanes that ran on two seeds at least")
    logs = figures.apply(np.log)
    return {seed: figures.loc[seed, logs.drop(index=seed).mean().idxmin()] for seed in figures.index}


def figures_elsewhere(suite: Suite, lanes: pd.DataFrame) -> pd.DataFrame:
    """Task, seed, column and figure of both grids as they were chosen on other seeds."""
    rows = []
    for (task,), table in groups(where(lanes, method=SGD, cheap=False), "task"):
        schedule, momentum = practitioner(suite, task)
        last = where(table, schedule=schedule, momentum=momentum, output="last")
        for column, part in ((A_ELSEWHERE, last), (B_ELSEWHERE, table)):
            rows += [(task, seed, column, figure) for seed, figure in chosen_elsewhere(part).items()]
    return pd.DataFrame(rows, columns=["task", "seed", "column", "figure"])


def published(suite: Suite) -> pd.DataFrame:
    """Task, seed, column and figure: of ours, of both grids, and of both as they were chosen on other seeds."""
    folder = RESULTS / suite.name
    runs = pd.read_csv(folder / "runs.csv")
    with TemporaryDirectory() as temporary:
        store = Store(Path(temporary))
        store.unpack(folder / ARCHIVE)
        lanes = grid_lanes(runs, store)
    ours = where(runs, method=OURS)
    figures = [gap(row["value"], row["minimum"]) for row in records(ours)]
    ours = ours[["task", "seed"]].assign(column=OURS, figure=figures)
    return concat([ours, grid_figures(suite, lanes), figures_elsewhere(suite, lanes)])


def answer(suite: Annotated[str, typer.Argument(callback=one_of(PUBLISHED, "published suite"))]) -> None:
    """Print geometric means of ratios with intervals, then by task."""
    figures = published(load_suite(suite))
    console, by_task = Console(), {}
    for column, against in PAIRS:
        found = compare(figures, column, against)
        assert found is not None
        (mean, low, high), pair = found.interval, f"{column} / {against}"
        line = f"{pair}: {mean:.3g} [{low:.3g}, {high:.3g}], worst {found.worst:.3g} ({found.worst_task})"
        console.print(line, markup=False, soft_wrap=True)
        by_task[pair] = found.by_task
    table = pd.DataFrame(by_task).to_string(float_format="{:.3g}".format)
    console.print(table, markup=False, soft_wrap=True)


STUDY = Study("hindsight", "How much of a grid is hindsight?", answer)
