"""What a grid's choice is worth on a seed that it was not chosen on."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from experiments.studies import hindsight

FIGURES = {0: [1.0, 2.0, 9.0], 1: [4.0, 1.0, 9.0], 2: [2.0, 1.0, 9.0]}  # by seed, of three learning rates


def lanes(figures: dict[int, list[float]]) -> pd.DataFrame:
    rows = [
        {
            "seed": seed,
            "schedule": "linear",
            "momentum": 0.0,
            "output": "last",
            "learning_rate": 2.0**j,
            "figure": figure,
        }
        for seed, of_seed in figures.items()
        for j, figure in enumerate(of_seed)
    ]
    return pd.DataFrame(rows)


def test_the_choice_does_not_see_its_own_seed() -> None:
    assert hindsight.chosen_elsewhere(lanes(FIGURES)) == {0: 2.0, 1: 4.0, 2: 1.0}
    better = {**FIGURES, 0: [0.1, 0.1, 1e-9]}
    assert hindsight.chosen_elsewhere(lanes(better))[0] == 0.1


def test_a_lane_that_diverged_elsewhere_or_is_not_on_every_seed_is_not_chosen() -> None:
    figures = {0: [1.0, 2.0, 0.1], 1: [np.inf, 3.0, 0.1], 2: [1.0, 3.0]}
    assert hindsight.chosen_elsewhere(lanes(figures)) == {0: 2.0, 1: np.inf, 2: 3.0}


def test_one_seed_is_no_choice() -> None:
    with pytest.raises(ValueError, match="two seeds"):
        hindsight.chosen_elsewhere(lanes({0: FIGURES[0]}))


def test_the_published_records_can_be_read(capsys: pytest.CaptureFixture[str]) -> None:
    hindsight.answer("quick")
    lines = capsys.readouterr().out.splitlines()
    for (column, against), line in zip(hindsight.PAIRS, lines[:6], strict=True):
        assert line.startswith(f"{column} / {against}: ")
    means = [float(line.split(": ")[1].split(" ")[0]) for line in lines[:6]]
    assert means[0] == pytest.approx(means[1] * means[2], rel=0.02)
    assert means[3] == pytest.approx(means[4] * means[5], rel=0.02)
    assert means[1] >= 1
    assert means[4] >= 1
