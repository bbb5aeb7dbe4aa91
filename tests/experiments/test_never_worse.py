"""The generated problems: their gradients are right, and the test sees what is worse."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from experiments.studies.never_worse.families import FAMILIES
from experiments.studies.never_worse.run import METHODS, Job, run
from experiments.studies.never_worse.study import answer


@pytest.mark.parametrize("family", [name for name in FAMILIES if name not in ("constant", "steps")])
def test_gradients(family: str) -> None:
    draw = np.random.default_rng(0)
    _, function = FAMILIES[family](draw, 4)
    x, direction = draw.normal(size=4), draw.normal(size=4)
    _, grad = function(x)
    slope = (function(x + 1e-6 * direction)[0] - function(x - 1e-6 * direction)[0]) / 2e-6
    assert grad @ direction == pytest.approx(slope, rel=1e-3, abs=1e-6)


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "never_worse.csv"
    answer(42, output=output)
    table = pd.read_csv(output)
    assert table[table.method == "pfopt.minimize"].runs.sum() == 42
    assert "pfopt.minimize: 0 of 42 runs at fault" in capsys.readouterr().out


def test_what_is_worse_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def up(oracle, start, budget):
        return start + 1e-3 * oracle(start)[1]

    monkeypatch.setitem(METHODS, "up", up)
    found = [run(Job(number, "up")) for number in range(84)]
    convex = ("quadratic", "least squares", "logistic", "absolute", "linear")
    exact = [row for row in found if row["noise"] == "none" and row["scale"] < 1 and row["family"] in convex]
    assert len(exact) >= 2
    assert [row["fault"] for row in exact] == ["worse"] * len(exact)
    assert found[11]["family"] == "constant"
    assert found[11]["fault"] == ""
