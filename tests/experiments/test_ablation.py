"""Switches: each one changes what it is named after, and leaves nothing behind; runs are kept, and told apart."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest

from experiments.studies.ablation import runs
from experiments.studies.ablation.changes import applied
from experiments.studies.ablation.runs import Job, run
from experiments.studies.ablation.switches import switches
from experiments.studies.ablation.table import figures, summary
from experiments.tasks.exact import ALL
from pfopt import options
from pfopt.core.config import AROUND_BASE, PRACTICAL
from tests.experiments.commands import run as command

EXACT, NOISY = (
    ("diabetes-lad", ALL, 150),
    ("breast-cancer-logistic", 16, 60),
)  # a kink without noise, and noise
UNMOVED = {
    "bursts: none",
    "probes: never silent",
    "probes: longer ones spend more",
}  # what these two never meet
LANES = [label for label, switch in switches().items() if label and "lanes" in switch.groups]


def value(label: str, task: tuple[str, int, int]) -> float:
    return run(Job("lanes", label, *task, 0))["value"]


@pytest.fixture(scope="module")
def default() -> list[float]:
    return [value("", task) for task in (EXACT, NOISY)]


@pytest.mark.parametrize("label", LANES)
def test_a_switch_changes_a_run(label: str, default: list[float]) -> None:
    changed = [value(label, task) for task in (EXACT, NOISY)]
    assert all(map(math.isfinite, changed))
    assert (changed == default) == (label in UNMOVED)


@pytest.mark.parametrize(
    ("group", "label"), [("unseen", "tensors: no steps of their own"), ("adamw", "base: cap of SGD")]
)
def test_a_constant_changes_runs_of_torch(group: str, label: str) -> None:
    jobs = [Job(group, variant, "feature_hinge", 0, 100, 0) for variant in ("", label, "")]
    before, changed, after = (run(job)["value"] for job in jobs)
    assert before == after != changed


def test_nothing_is_left_behind(default: list[float]) -> None:
    for switch in switches().values():
        with applied(switch.changes):
            pass
    assert [value("", task) for task in (EXACT, NOISY)] == default
    assert options.PRACTICAL == PRACTICAL
    assert options.AROUND_BASE == AROUND_BASE


def test_constants_around_a_base_are_their_own() -> None:
    with applied(switches()["base: cap of SGD"].changes):
        assert AROUND_BASE._replace(cap=PRACTICAL.cap) == options.AROUND_BASE
        assert options.PRACTICAL == PRACTICAL
    with applied(switches()["probes: alpha 3"].changes):
        assert options.AROUND_BASE.alpha == options.PRACTICAL.alpha == 3.0


def test_a_run_is_kept_and_not_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "REGIMES", ((16, 100), (ALL, 60)))
    monkeypatch.setattr(runs, "DENSE", ("diabetes-lad",))
    kept, output = tmp_path / "runs.csv", tmp_path / "table.csv"
    arguments = ["lanes", "--tasks", "diabetes-lad", "--only", "cap: no growth", "--processes", "1"]
    arguments += ["--runs", str(kept), "--output", str(output)]
    assert command("study", "ablation", *arguments) == 0
    table = pd.read_csv(output)
    assert set(table.group) == {"lanes, exact", "lanes, batches of 16"}
    assert "cap: no growth" in set(table.variant)
    assert (table.tasks == 1).all()
    made = kept.read_text()
    monkeypatch.setattr(runs, "run", None)
    assert command("study", "ablation", *arguments) == 0
    assert kept.read_text() == made


def test_ratios_are_to_the_default_and_beyond_what_rounding_does() -> None:
    values = {"": (1.0, 2.0), "control: x": (1.0, 2.4), "cap: y": (2.0, 2.4)}
    rows = [
        {"group": "lanes", "variant": label, "task": task, "batch_size": 16, "budget": 9, "seed": 0,
         "value": figure, "held_out": math.nan, "initial": math.nan}
        for label, pair in values.items()
        for task, figure in zip("ab", pair, strict=True)
    ]  # fmt: skip
    table = summary(figures(pd.DataFrame(rows))).set_index("variant")
    row = table.loc["cap: y"]
    assert row["mean"] == pytest.approx(math.sqrt(2.0 * 1.2), abs=1e-4)
    assert (row.worst, row.worst_task, row.best, row.best_task) == (2.0, "a", 1.2, "b")
    assert (row.worse_beyond_control, row.better_beyond_control) == (1, 0)
    assert row.control == pytest.approx(math.sqrt(1.2), abs=1e-4)
