"""The study of cards: what its table says, and that it makes no run twice."""

import math

import pandas as pd
import pytest

from experiments.studies.card import batches, rates, table
from experiments.studies.card.rates import Job


def frame(losses: dict[tuple[str, float], float]) -> pd.DataFrame:
    """Runs of AdamW on one problem, whose loss began at 10."""
    rows = []
    for (rule, rate), loss in losses.items():
        for seed, change in enumerate((-0.1, 0.0, 0.1)):
            job = Job("mixer", "adamw", rule, seed, rate)
            rows.append({**job._asdict(), "initial": 10.0, "training": loss + change})
    return pd.DataFrame(rows)


def test_the_share_missed_is_that_of_the_best_rate() -> None:
    losses = {("grid", 3e-4): 8.0, ("grid", 1e-3): 4.0, ("grid", 1e-2): 2.0, ("grid", 1.0): math.inf}
    losses |= {("card", 0.02): 2.4, ("lightning", 1e-7): 10.0, ("fastai", 0.01): math.inf}
    row = table.table(frame(losses)).loc[("adamw", "mixer")]
    found = row[["best rate", "card's rate", "card", "lightning", "fastai", "0.001", "0.0003"]].tolist()
    assert found == pytest.approx([0.01, 0.02, 0.05, 1.0, math.inf, 0.25, 0.75])
    assert row.noise == pytest.approx(2 * math.sqrt(2 * 0.01 / 3) / 8)


def test_a_card_that_trains_where_no_rate_does_misses_nothing() -> None:
    losses = {
        ("grid", 1e-3): math.inf,
        ("card", 1e-6): 9.0,
        ("lightning", 1.0): math.inf,
        ("fastai", 1.0): 9.5,
    }
    row = table.table(frame(losses)).loc[("adamw", "mixer")]
    assert (row.card, row.lightning) == (-math.inf, math.inf)


def test_no_run_is_made_twice() -> None:
    planned = list(rates.jobs())
    grid = next(job for job in planned if job.rule == "grid")
    own = next(job for job in planned if job.rule == "card")
    known = pd.DataFrame([grid._asdict(), {**own._asdict(), "rate": 0.123}])
    assert [job for job in planned[:20] if rates.is_there(job, known)] == [grid, own]


def test_what_a_run_from_a_card_missed_is_measured_by_the_run_without_one() -> None:
    rows = []
    for card, size, probes, loss in (
        (0, 8, 6, 2.0),
        (0, 64, 8, 3.0),
        (8, 8, 3, 1.6),
        (64, 64, 5, 3.7),
        (64, 8, 4, 4.0),
    ):
        run = {"problem": "magic04-mlp", "optimizer": "adamw", "size": size, "card": card}
        rows.append({**run, "probes": probes, "searched": 10 * probes, "initial": 10.0, "training": loss})
    found = batches.table(pd.DataFrame(rows)).loc["adamw"]
    assert found.index.tolist() == [0, 1, 8]
    assert found.probes.tolist() == [7, 4, 4]
    assert found["missed, median"].tolist() == pytest.approx([0.0, 0.025, 0.25])
