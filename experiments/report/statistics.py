"""Paired comparisons, performance profiles and times to a target; a failed run counts as infinitely bad."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from experiments.common.frames import groups, records, where

RESAMPLES = 4000
CONFIDENCE = 0.95
MAX_TAU = 4.0  # AlgoPerf's: a ratio beyond it is a miss


class Interval(NamedTuple):
    """A geometric mean of ratios with its bootstrap interval."""

    mean: float
    low: float
    high: float


class Comparison(NamedTuple):
    """One column against another, over tasks and seeds that both have.

    Attributes:
        interval: Geometric mean over tasks and seeds, below 1 where the column is better.
        worst: Largest geometric mean over seeds of one task.
        worst_task: That task.
        pairs: Number of pairs of runs.
        by_task: Geometric mean over seeds, by task.
    """

    interval: Interval
    worst: float
    worst_task: str
    pairs: int
    by_task: dict[str, float]


def compare(figures: pd.DataFrame, column: str, against: str, by: str = "figure") -> Comparison | None:
    """Paired ratios figure(column) / figure(against), of the figures in column ``by``; None where there is no pair."""
    ours, theirs = (where(figures, column=name)[["task", "seed", by]].dropna() for name in (column, against))
    pairs = ours.merge(theirs, on=["task", "seed"], suffixes=("", "_against"))
    if pairs.empty:
        return None
    pairs["log"] = [_log_ratio(pair[by], pair[f"{by}_against"]) for pair in records(pairs)]
    logs = {task: table.log.to_numpy() for (task,), table in groups(pairs, "task")}
    by_task = {task: math.exp(values.mean()) for task, values in logs.items()}
    worst = max(by_task, key=lambda task: by_task[task])
    return Comparison(bootstrap(list(logs.values())), by_task[worst], worst, len(pairs), by_task)


def _log_ratio(ours: float, theirs: float) -> float:
    """Logarithm of ours / theirs; 0 where both failed."""
    if math.isinf(ours) or math.isinf(theirs):
        return 0.0 if ours == theirs else math.copysign(math.inf, ours - theirs)
    return math.log(ours / theirs)


def bootstrap(logs: list[NDArray[np.float64]], seed: int = 0) -> Interval:
    """Geometric mean of ratios and its percentile interval, tasks and then seeds within them resampled.

    Args:
        logs: Logarithms of the paired ratios, one array (seeds,) per task; every task has the same weight.
        seed: Of the resampling.
    """
    rng = np.random.default_rng(seed)
    counts = np.array([len(task) for task in logs])
    table = np.stack([np.resize(task, counts.max()) for task in logs])
    tasks = rng.integers(len(logs), size=(RESAMPLES, len(logs)))
    seeds = (rng.random((*tasks.shape, counts.max())) * counts[tasks][..., None]).astype(int)
    used = np.arange(counts.max()) < counts[tasks][..., None]
    with np.errstate(invalid="ignore"):  # inf - inf: a failure of ours against one of theirs
        draws = np.where(used, table[tasks[..., None], seeds], 0.0).sum(axis=-1) / counts[tasks]
        means = np.sort(np.nan_to_num(draws.mean(axis=1), nan=math.inf, posinf=math.inf, neginf=-math.inf))
        mean = np.nan_to_num(
            np.mean([task.mean() for task in logs]), nan=math.inf, posinf=math.inf, neginf=-math.inf
        )
    tail = (1 - CONFIDENCE) / 2
    low, high = (means[min(int(q * RESAMPLES), RESAMPLES - 1)] for q in (tail, 1 - tail))
    return Interval(*(float(np.exp(value)) for value in (mean, low, high)))


def profile(costs: pd.DataFrame) -> pd.DataFrame:
    """Performance profile: share of the tasks (rows) where a column is within a factor tau of the best.

    Args:
        costs: One row per task, one column per method, lower is better, infinite where it failed.

    Returns:
        One row per tau in [1, 4] (index), one column per method.
    """
    ratios = costs.div(costs.min(axis=1), axis=0).fillna(math.inf)  # inf / inf: nobody got there
    taus = np.geomspace(1.0, MAX_TAU, 200)
    return pd.DataFrame(
        {c: [(ratios[c] <= tau * (1 + 1e-12)).mean() for tau in taus] for c in costs}, index=taus
    )


def profile_score(curves: pd.DataFrame) -> pd.Series:
    """Area below each profile over [1, 4], divided by 3: 1 where a method is always the best."""
    return pd.Series({name: np.trapezoid(curves[name], curves.index) for name in curves}) / (MAX_TAU - 1)


def steps_to_target(curves: pd.DataFrame, targets: pd.Series) -> pd.DataFrame:
    """Gradient evaluations and seconds until the figure is at most the target of its task and seed, infinite if never.

    Args:
        curves: task, seed, column, num_grad_evals, seconds, figure.
        targets: Indexed by task and seed.

    Returns:
        task, seed, column, steps, seconds.
    """
    rows = []
    for (task, seed, column), curve in groups(curves, "task", "seed", "column"):
        if (task, seed) in targets.index:
            reached = curve[curve.figure <= targets.loc[(task, seed)]]
            costs = (reached.num_grad_evals.min(), reached.seconds.min()) if len(reached) else (math.inf,) * 2
            rows.append((task, seed, column, *map(float, costs)))
    return pd.DataFrame(rows, columns=["task", "seed", "column", "steps", "seconds"])
