"""The store: whole records or none, and what a kill leaves behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from experiments.common import atomic_files as files
from experiments.engine.execute import Record
from experiments.engine.run_suite import Execution, run_suite
from experiments.engine.store import Store
from tests.experiments.suites import ROOT, tiny_suite


def record(run_id: str = "a", value: float = 1.0) -> Record:
    curve, lanes = (
        pd.DataFrame({"step": [1], "value": [value]}),
        pd.DataFrame({"output": ["last"], "value": [np.inf]}),
    )
    return Record({"run_id": run_id, "value": value}, curve, lanes, {"param_0": np.ones(3)})


def test_what_is_written_is_read(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert not store.has("a")
    store.write(record("a", np.inf))
    store.write(record("b"))
    assert store.has("a")
    assert list(store.rows(["b", "missing", "a"]).run_id) == ["b", "a"]
    assert store.rows(["a"]).value.item() == np.inf
    assert store.curve("b").value.item() == 1.0
    assert store.lanes("a").value.item() == np.inf
    np.testing.assert_array_equal(store.final("a")["param_0"], np.ones(3))
    assert list(pd.read_csv(store.merge(["a", "b"])).run_id) == ["a", "b"]


@pytest.mark.parametrize("fails_at", [1, 2, 3, 4])
def test_an_interrupted_write_is_no_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails_at: int
) -> None:
    moves: list[Path] = []

    def replace(source: Path, target: Path) -> None:
        moves.append(target)
        if len(moves) == fails_at:
            raise KeyboardInterrupt
        os.rename(source, target)

    monkeypatch.setattr(files.os, "replace", replace)
    with pytest.raises(KeyboardInterrupt):
        Store(tmp_path).write(record())
    assert not Store(tmp_path).has("a")
    assert not list(tmp_path.rglob("*.tmp*"))


def test_an_archive_gives_what_is_missing_and_touches_nothing_else(tmp_path: Path) -> None:
    source, target = Store(tmp_path / "source"), Store(tmp_path / "target")
    for name in "ab":
        source.write(record(name))
    target.write(record("b", 2.0))
    source.pack(["a", "b", "missing"], tmp_path / "records.tar.xz")
    assert target.unpack(tmp_path / "records.tar.xz") == 1
    assert list(target.rows(["a", "b"]).value) == [1.0, 2.0]
    pd.testing.assert_frame_equal(target.curve("a"), source.curve("a"))
    pd.testing.assert_frame_equal(target.lanes("a"), source.lanes("a"))
    assert target.final("a") == {}
    assert {path.name for path in target.folder.iterdir()} == {"runs", "curves", "lanes", "final"}


def test_leftovers_of_killed_processes_go_and_those_of_running_ones_stay(tmp_path: Path) -> None:
    with subprocess.Popen(["true"]) as dead:
        dead.wait()
    for process in (dead.pid, os.getpid()):
        (tmp_path / f".x.{process}.tmp.csv").touch()
    Store(tmp_path).clean()
    assert [path.name for path in tmp_path.iterdir()] == [f".x.{os.getpid()}.tmp.csv"]


def test_a_killed_suite_goes_on_to_the_same_rows(tmp_path: Path) -> None:
    """Kill -9 after the first record; what follows computes only the rest."""
    code = "import torch; torch.set_num_threads(1); from tests.experiments.test_store import run; "
    code += f"run({str(tmp_path / 'killed')!r})"
    runs = tmp_path / "killed" / "runs"
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT) as killed:
        while killed.poll() is None and not list(runs.glob("[!.]*.json")):
            time.sleep(0.005)
        killed.send_signal(signal.SIGKILL)
    kept = {path: path.stat().st_mtime_ns for path in runs.glob("[!.]*.json")}
    assert 1 <= len(kept) < len(SUITE.seeds)
    resumed, whole = (comparable(run(str(tmp_path / name))) for name in ("killed", "whole"))
    pd.testing.assert_frame_equal(resumed, whole)
    assert len(whole) == len(SUITE.seeds)
    assert all(path.stat().st_mtime_ns == modified for path, modified in kept.items())
    for run_id in whole.run_id:
        one, other = (Store(tmp_path / name).curve(run_id) for name in ("killed", "whole"))
        pd.testing.assert_frame_equal(one.drop(columns="train_seconds"), other.drop(columns="train_seconds"))


SUITE = replace(
    tiny_suite(tasks='["diabetes-ridge"]', methods='["dog"]', comparisons="[]", seeds=str(list(range(30)))),
    budget=60,
    grid=None,
    sensitivity=None,
)


def comparable(rows: pd.DataFrame) -> pd.DataFrame:
    """The columns of ``runs.csv`` that do not depend on when and how fast a run was computed."""
    timed = ["seconds", "cpu_seconds", "wall_seconds"]
    return rows.drop(columns=timed).sort_values("run_id", ignore_index=True).replace({np.nan: None})


def run(folder: str) -> pd.DataFrame:
    """The suite in this process; its rows."""
    return run_suite(SUITE, Store(Path(folder)), Execution(jobs=1), Console(quiet=True))
