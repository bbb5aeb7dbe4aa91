"""The table of all runs: every method's losses, and what share of the decrease within reach ours missed."""

from __future__ import annotations

import math

import pandas as pd

from experiments.common.frames import groups, records, where
from experiments.held_out_problems.run import OURS, RATES

MISSED = (0.02, 0.1)  # shares that are counted at the end
LOUD = (2, 1000)  # times the first losses, likewise


def summary(frame: pd.DataFrame) -> pd.DataFrame:
    """One row per problem: means over seeds, and for a grid those of its best rate by the training loss.

    The share missed is (ours - best) / (initial - best), with best the smaller training loss of the two grids.
    """
    rows = {name: _row(part) for (name,), part in groups(frame, "problem")}
    return pd.DataFrame.from_dict(rows, orient="index")


def _row(part: pd.DataFrame) -> dict[str, float]:
    initial = part.initial.mean()
    row = {"initial": initial}
    for method in OURS:
        runs = where(part, method=method)
        row |= {method: runs.training.mean(), f"{method} held out": runs.held_out.mean()}
        row[f"{method} loudest"] = runs.loudest.max()
        row[f"{method} worse"] = (~(runs.training < runs.initial)).sum()
    for method in RATES:
        runs = groups(where(part, method=method), "learning_rate")
        means = [(of_rate.training.mean(), of_rate.held_out.mean(), rate) for (rate,), of_rate in runs]
        row[method], row[f"{method} held out"], row[f"{method} rate"] = min(means, default=(math.nan,) * 3)
    least = min(row[method] for method in RATES)
    reach = initial - least if math.isfinite(least) else math.nan
    return {**row, **{f"{method} missed": (row[method] - least) / reach for method in OURS}}


def conclusions(table: pd.DataFrame) -> list[str]:
    """One line for each of ours; a run that ends no better than it began reaches nothing."""
    return [_conclusion(table, method) for method in OURS]


def _conclusion(table: pd.DataFrame, method: str) -> str:
    better = table[method] < table.initial
    reached = [f"the best {grid} on {(better & (table[method] <= table[grid])).sum()}" for grid in RATES]
    shares, loudest = table[f"{method} missed"], table[f"{method} loudest"]
    missed = " and ".join(f"more than {share:.0%} missed on {(shares > share).sum()}" for share in MISSED)
    loud = " and ".join(f"above {times:g} times on {(loudest > times).sum()}" for times in LOUD)
    return (
        f"{method}, of {len(table)} problems: at or below {', '.join(reached)}; "
        f"{missed}; runs that end no better than they began: {table[f'{method} worse'].sum():g}; "
        f"the largest loss of a batch over those of the first ones "
        f"{loudest.median():.2g} in the median, {loud}"
    )


def messages(frame: pd.DataFrame, table: pd.DataFrame) -> list[str]:
    """What ours told on problems of which the largest counted share was missed, one line per run."""
    lines = []
    for method in OURS:
        lost = table[table[f"{method} missed"] > max(MISSED)].index
        runs = where(frame, method=method, problem=list(lost))
        lines += ["{problem}, {method}, seed {seed}: {message}".format_map(run) for run in records(runs)]
    return lines
