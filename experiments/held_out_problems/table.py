"""The table of all runs: every method's losses, and what share of the decrease within reach ours missed."""

from __future__ import annotations

import math

import pandas as pd

from experiments.common.frames import groups, where
from experiments.held_out_problems.run import OURS, RATES

MISSED = 0.02  # a share that is counted at the end
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
    missed, loudest = (table[f"{method} missed"] > MISSED).sum(), table[f"{method} loudest"]
    loud = " and ".join(f"above {times:g} times on {(loudest > times).sum()}" for times in LOUD)
    return (
        f"{method}, of {len(table)} problems: at or below {', '.join(reached)}; "
        f"more than {MISSED:.0%} missed on {missed}; the largest loss of a batch over those of the first ones "
        f"{loudest.median():.2g} in the median, {loud}"
    )
