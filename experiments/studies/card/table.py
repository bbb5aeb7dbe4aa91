"""What the runs of ``rates`` come to."""

from __future__ import annotations

import math
from collections.abc import Callable

import pandas as pd

from experiments.common.frames import groups, where
from experiments.studies.card.rates import CHOOSING, DEFAULTS, FINDERS, OWN_PEAKS, PROBLEMS, SEEDS

FEW = 0.02  # a share missed that is counted


def table(frame: pd.DataFrame) -> pd.DataFrame:
    """Of each problem and optimizer the share of the decrease within reach that each rule missed, means over seeds.

    Within reach is what the best rate of that optimizer's grid reached; ``noise`` is two standard errors of a
    difference from it, by the seeds of both.
    """
    test = where(frame, problem=PROBLEMS)
    rows = [
        {"problem": name, "optimizer": kind, **_row(part)}
        for (name, kind), part in groups(test, "problem", "optimizer")
    ]
    return pd.DataFrame(rows).set_index(["optimizer", "problem"]).sort_index()


def _row(part: pd.DataFrame) -> dict[str, float]:
    grid = where(part, rule="grid").groupby("rate").training
    optimizer, means = str(part.optimizer.iloc[0]), grid.mean()
    best = means.idxmin()

    def missed(loss: float) -> float:
        if math.isnan(loss):
            return loss
        if math.isinf(means[best]) or math.isinf(loss):  # no rate of the grid is stable, or this one is not
            return -math.inf if math.isfinite(loss) else math.inf
        return (loss - means[best]) / (part.initial.mean() - means[best])

    own = where(part, rule="card", peak=OWN_PEAKS[optimizer])
    error = math.sqrt((own.training.var() + grid.var()[best]) / len(SEEDS[optimizer]))
    row = {"best rate": best, "card's rate": own.rate.mean(), "noise": 2 * missed(means[best] + error)}
    losses = {"card": own.training.mean(), "certified": where(part, rule="card", peak=1.0).training.mean()}
    losses |= {rule: where(part, rule=rule).training.mean() for rule in FINDERS}
    losses |= {f"{rate:g}": means.get(rate, math.nan) for rate in DEFAULTS.get(optimizer, ())}
    return row | {rule: missed(loss) for rule, loss in losses.items()}


def report(frame: pd.DataFrame, show: Callable[[str], None]) -> None:
    """Show the tables and what they come to."""
    found = table(frame)
    show(found.to_string(float_format="{:.3g}".format))
    for (optimizer,), part in groups(found.reset_index(), "optimizer"):
        within = len(part[part.card <= part.noise.fillna(0.0)]) if len(SEEDS[optimizer]) > 1 else "?"
        show(
            f"{optimizer}: the card is within seed noise of the best rate on {within} of {len(part)}; missed shares:"
        )
        for rule in ("card", "certified", *FINDERS, *(f"{rate:g}" for rate in DEFAULTS.get(optimizer, ()))):
            missed = part[rule].dropna()
            if len(missed):
                few = len(missed[missed <= FEW])
                show(
                    f"  {rule}: at most {FEW:g} on {few}, median {missed.median():.3f}, worst {missed.max():.3f}"
                )
    chosen = where(frame, problem=CHOOSING)
    losses = chosen.pivot_table("training", ["optimizer", "problem"], "peak", dropna=False)
    show(losses.to_string(float_format="{:.4g}".format))
    noise = frame[frame.noise.notna() & ~frame.duplicated(["problem", "optimizer", "rule", "seed"])]
    errors = (noise.noise - noise.measured_noise).abs()
    show(f"noise: told by {len(noise)} cards, median error {errors.median():.3f}, largest {errors.max():.3f}")
