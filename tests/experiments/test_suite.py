"""Suites: what their files say, what is planned, how failures end, and the command line around them."""

from __future__ import annotations

import math
from dataclasses import replace
from multiprocessing import active_children
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from rich.console import Console

from experiments.engine import execute as runner
from experiments.engine.execute import execute
from experiments.engine.planner import can_run, plan
from experiments.engine.run_suite import Execution, failures, run_suite
from experiments.engine.spec import RunSpec
from experiments.engine.store import Store
from experiments.engine.suite import LaneGrid, load_suite, parse_suite, suite_names
from experiments.methods.registry import METHODS, Method
from experiments.tasks.functions import LOGITS
from experiments.tasks.registry import JAX
from tests.experiments.commands import run
from tests.experiments.suites import TINY, tiny_suite


@pytest.mark.parametrize("name", suite_names())
def test_every_suite_file_is_a_plan(name: str) -> None:
    suite = load_suite(name)
    assert len(suite.seeds) >= 2
    assert suite.metric
    assert suite.stopping
    assert suite.comparisons
    specs = plan(suite, lambda spec: None)
    assert len({runner.run_id(spec) for spec in specs}) == len(specs)


def test_a_comparison_names_columns_of_its_suite() -> None:
    text = 'title = "t"\npurpose = "p"\nmetric = "m"\nstopping = "s"\ntasks = ["diabetes-lad"]\nmethods = ["pfopt"]\n'
    text += 'seeds = [0]\n[[comparisons]]\nmethod = "pfopt"\nagainst = "grid C"\nquestion = "?"\n'
    with pytest.raises(ValueError, match=r"side of a comparison of suite x grid C; nearest: grid "):
        parse_suite("x", text)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ('judged = "loss"', "unknown figure to judge by loss; "),
        ('reference = "grid C"', "unknown reference grid C; nearest: grid "),
    ],
)
def test_a_suite_is_judged_by_what_there_is(line: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        parse_suite("x", f"{line}\n{TINY}")


def test_a_grid_has_a_factor_of_its_own() -> None:
    grid = LaneGrid("adamw-warm-up", lowest=1e-4, highest=1e-2, factor=10**0.5, staged=False)
    suite = tiny_suite(tasks='["digits-network"]', methods="[]", comparisons="[]")
    suite = replace(suite, lane_grids=(grid,), grid=None, sensitivity=None)
    rates = [spec.kwargs["learning_rate"] for spec in plan(suite, lambda spec: None)]
    assert rates == pytest.approx([1e-4, 10**-3.5, 1e-3, 10**-2.5, 1e-2])


def test_jax_tasks_are_listed_once() -> None:
    assert set(LOGITS) == set(JAX)
    assert not can_run("optax-dog", "news20-logistic")
    assert can_run("optax-dog", "a9a-logistic")
    assert not can_run("sgd-grid", "digits-cnn")


def test_staged_grid_widens_then_takes_the_best_to_the_other_seeds() -> None:
    grid = LaneGrid("sgd", lowest=0.25, highest=1.0, schedules=("linear",), momenta=(0.9,))
    suite = tiny_suite(tasks='["digits-network"]', methods="[]", comparisons="[]", seeds="[0, 1, 2]")
    suite = replace(suite, lane_grids=(grid,), grid=None, sensitivity=None)

    def lanes_of(spec: RunSpec) -> pd.DataFrame:
        rate = spec.kwargs["learning_rate"]
        row = {"learning_rate": rate, "schedule": "linear", "momentum": 0.9, "output": "last"}
        return pd.DataFrame([{**row, "value": abs(math.log2(rate) - 1.0)}])

    specs = plan(suite, lanes_of)
    first = sorted(spec.kwargs["learning_rate"] for spec in specs if spec.seed == 0)
    assert first == [0.25, 0.5, 1.0, 2.0, 4.0]
    for seed in (1, 2):
        assert sorted(spec.kwargs["learning_rate"] for spec in specs if spec.seed == seed) == [1.0, 2.0, 4.0]
    assert {spec.seed for spec in plan(suite, lambda spec: None)} == {0}


class Broken(Method):
    """A method that raises."""

    def __call__(self, *args: Any, **options: Any) -> Any:
        raise RuntimeError("no luck")


BROKEN = Broken("broken", "peer", "dog", "run_dog")


def test_a_method_that_raises_is_a_row_and_the_suite_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(METHODS, "dog", BROKEN)
    suite = replace(tiny_suite(tasks='["diabetes-ridge"]'), grid=None, sensitivity=None)
    store = Store(tmp_path)
    rows = run_suite(suite, store, Execution(jobs=1), Console(quiet=True))
    bad = failures(rows)
    assert {row["method"] for row in bad} == {"dog"}
    assert {(row["status"], row["error_text"]) for row in bad} == {("error", "RuntimeError: no luck")}
    assert (rows.status == "done").sum() == len(rows) - 2
    assert len(run_suite(suite, store, Execution(jobs=1), Console(quiet=True))) == len(rows)


def test_a_diverged_run_is_a_row_with_the_reason() -> None:
    spec = RunSpec("quick", "diabetes-ridge", "sgd", 0, 400, {"learning_rate": 1e6, "schedule": "constant"})
    record = execute(spec)
    assert record.row["status"] == "diverged"
    assert record.row["value"] == math.inf
    assert record.row["error_text"].startswith("diverged at step ")
    assert (record.lanes.value == math.inf).all()
    assert failures(pd.DataFrame([record.row])) == []  # a lane of a grid may
    assert failures(pd.DataFrame([{**record.row, "method": "dog"}]))


def test_a_run_that_takes_too_long_is_a_row() -> None:
    record = execute(RunSpec("quick", "diabetes-ridge", "dog", 0, 400, num_records=10, time_limit=1e-6))
    assert record.row["status"] == "timeout"
    assert record.row["num_grad_evals"] < 400


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["run", "quik"], "unknown suite quik; nearest: quick; valid names: convex, deep, "),
        (["run", "quick", "--only", "dogg"], "nearest: dog; "),
        (["run", "quick", "--only", "diabetes-rigde"], "nearest: diabetes-ridge"),
        (["status", "quick", "--only", "prodigy"], "unknown task or method of suite quick prodigy"),
        (["run", "quick", "--reuse", "nowhere"], "--reuse: nowhere/records.tar.xz cannot be read"),
        (["run", "quick", "--jobs", "0"], "Invalid value for '--jobs': "),
        (["report", "deep"], "nothing of suite deep has been run; python -m experiments run deep"),
        (["run", "quick", "--backend", "rye"], "unknown backend rye; valid names: loky, dask"),
    ],
)
def test_wrong_arguments(
    arguments: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments, "--output", str(tmp_path)) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert "Traceback" not in error


def test_missing_data_and_a_wrong_checksum_stop_a_suite_before_it_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    arguments = [
        "run",
        "convex",
        "--only",
        "bodyfat-lad",
        "--data-dir",
        str(tmp_path),
        "--output",
        str(tmp_path),
    ]
    assert run(*arguments) == 2
    error = capsys.readouterr().err
    assert "tabular/bodyfat.arff.gz is not in the data folder" in error
    assert "It comes from https://www.csie.ntu.edu.tw/" in error
    assert "--data-dir or in the environment variable PFOPT_DATA" in error
    (tmp_path / "tabular").mkdir()
    (tmp_path / "tabular" / "bodyfat.arff.gz").write_bytes(b"something else")
    assert run(*arguments) == 2
    assert "bodyfat.arff.gz has sha256 " in capsys.readouterr().err


def test_list_and_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("list") == run("list", "quick") == run("status", "quick", "--output", str(tmp_path)) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in (*METHODS, *suite_names(), "0/40"))


@pytest.mark.filterwarnings("default")
def test_two_workers_of_a_local_dask_cluster(tmp_path: Path) -> None:
    suite = replace(
        tiny_suite(tasks='["diabetes-ridge"]', methods='["dog"]', comparisons="[]"),
        grid=None,
        sensitivity=None,
    )
    before = set(active_children())
    rows = run_suite(suite, Store(tmp_path), Execution(jobs=2, backend="dask"), Console(quiet=True))
    assert list(rows.status) == ["done", "done"]
    assert set(active_children()) <= before
    local = execute(RunSpec("quick", "diabetes-ridge", "dog", 0, 200))
    assert rows.value[rows.seed == 0].item() == local.row["value"]
