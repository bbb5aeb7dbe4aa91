"""Study ``in_backward``: four runs of a problem, and what is said of them."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from experiments.held_out_problems.registry import PROBLEMS
from experiments.studies import in_backward
from tests.experiments.commands import run as command


def test_it_runs_both_ways_on_the_same_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(PROBLEMS, "lasso", (24, PROBLEMS["lasso"][1]))
    path = tmp_path / "table.csv"
    command(
        "study", "in_backward", "--only", "lasso", "--seeds", "0", "--processes", "1", "--output", str(path)
    )
    table = pd.read_csv(path)
    assert list(table.steps) == [24] * 4
    assert table.initial.nunique() == 1
    assert (table.training < table.initial).all()
    assert table.training.nunique() == 4
    printed = capsys.readouterr().out
    for method in ("pfopt", "pfopt-adamw"):
        assert f"{method}: in the backward pass" in printed


def test_the_ratio_is_of_the_losses_of_one_seed() -> None:
    rows = [("pfopt", "lasso", seed, way, 1.0 + seed + way) for seed in (0, 1) for way in (False, True)]
    frame = pd.DataFrame(rows, columns=["method", "problem", "seed", "in_backward", "training"])
    assert list(in_backward.ratios(frame).ratio) == [2.0, 1.5]
