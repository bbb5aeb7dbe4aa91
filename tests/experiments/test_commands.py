"""The commands: what they write and print, and how they fail."""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Iterator
from multiprocessing import active_children
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from experiments import cli, demo
from experiments.common.parallel import run_parallel
from experiments.common.suboptimality import gap, geometric_mean
from experiments.methods.registry import METHODS, Method
from experiments.studies import ratios
from experiments.studies.study import load_study, study_names
from experiments.tasks import download as downloads
from experiments.tasks.registry import DEMO_NAMES
from tests.experiments.commands import run


def run_tiny_demo(output: Path, *tasks: str) -> int:
    chosen = [part for task in tasks for part in ("--tasks", task)]
    return run("demo", *chosen, "--budget", "400", "--output", str(output), "--processes", "1")


def test_demo_writes_its_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_tiny_demo(tmp_path, "diabetes-ridge") == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["demo.csv", "demo.md", "demo.png"]
    table = pd.read_csv(tmp_path / "demo.csv").set_index("method")
    assert set(table.index) == {"pfopt", "grid", "dog"}
    assert table.num_grad_evals["grid"] >= 18 * 400
    assert table.num_grad_evals["pfopt"] == table.num_grad_evals["dog"] == 400
    assert (tmp_path / "demo.md").read_text().startswith("| task | method |")
    assert (tmp_path / "demo.png").read_bytes().startswith(b"\x89PNG")
    printed = capsys.readouterr().out
    assert "hindsight" in printed
    assert "geometric mean over 1 convex" in " ".join(printed.split())


def test_interrupted_demo_keeps_what_was_finished(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(function: Any, jobs: list[demo.DemoJob], processes: int) -> Iterator[demo.TaskResult]:
        yield from run_parallel(function, [job for job in jobs if job.task == "diabetes-ridge"], processes)
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "run_parallel", interrupted)
    assert run_tiny_demo(tmp_path, "diabetes-lad", "diabetes-ridge") == 130
    assert set(pd.read_csv(tmp_path / "demo.csv").task) == {"diabetes-ridge"}
    assert "Interrupted. 1 of 2 tasks" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["demo", "--tasks", "nonsense"], "unknown task nonsense; valid names: breast-cancer-logistic, "),
        (["demo", "--budget", "0"], "Invalid value for '--budget': "),
        (["demo", "--seed", "one"], "Invalid value for '--seed': "),
        (["demo", "--data-dir", "no/such/folder"], "no/such/folder holds no inventory.json"),
        (["demo", "--output", __file__], "test_commands.py' is a file"),
        (["study", "ratios", "--methods", "adam"], "unknown method adam; nearest: adamw, "),
        (["study", "ratios", "--options", "[1]"], "must be a JSON object, got [1]"),
    ],
)
def test_wrong_arguments(arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*arguments) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert "Traceback" not in error


@pytest.fixture
def no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of an empty data folder, and no address that answers."""

    def unreachable(*_: Any, **__: Any) -> Any:
        raise OSError

    monkeypatch.setattr(downloads.pooch, "retrieve", unreachable)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "inventory.json").write_text('{"files": []}')
    return str(tmp_path)


def test_task_without_data(no_network: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("demo", "--tasks", "a9a-logistic", "--data-dir", no_network, "--processes", "1") == 2
    assert "libsvm/a9a.bz2 is not in the data folder" in capsys.readouterr().err


def test_demo_leaves_out_what_has_no_data(
    no_network: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[demo.DemoOptions] = []
    monkeypatch.setattr(cli, "run_demo", lambda options, _: seen.append(options))
    assert run("demo", "--data-dir", no_network) == 0
    assert set(DEMO_NAMES) - set(seen[0].tasks) == {"a9a-logistic"}
    assert "Tasks without data are left out. libsvm/a9a.bz2 is not" in capsys.readouterr().out


def test_ratios(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ratios, "STORE", tmp_path / "store")
    table = tmp_path / "ratios.csv"
    arguments = [
        "--tasks",
        "diabetes-ridge",
        "--methods",
        "dog",
        "--methods",
        "pfopt",
        "--seeds",
        "0",
        "--grid-b",
    ]
    arguments += ["--budget", "400", "--processes", "1", "--output", str(table)]
    assert run("study", "ratios", *arguments) == 0
    rows = pd.read_csv(table).set_index("method")
    assert list(rows.index) == ["grid B", "dog", "pfopt"]
    assert rows.ratio["grid B"] <= 1.0
    assert "geometric mean" in capsys.readouterr().out
    monkeypatch.setattr(ratios, "execute", None)  # nothing is run again
    assert run("study", "ratios", *arguments) == 0
    pd.testing.assert_frame_equal(pd.read_csv(table).set_index("method"), rows)


def test_a_failed_run_stays_in_the_table_and_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(Method):
        def __call__(self, *args: Any, **options: Any) -> Any:
            raise RuntimeError("no luck")

    monkeypatch.setattr(ratios, "STORE", tmp_path)
    monkeypatch.setitem(METHODS, "dog", Broken("broken", "peer", "dog", "run_dog"))
    for _ in range(2):
        (row,) = ratios.run(ratios.Job("diabetes-ridge", 0, 400, ("dog",)))
        assert row["ratio"] == math.inf
        assert row["error"] == "RuntimeError: no luck"
    assert len(list((tmp_path / "runs").iterdir())) == 1


@pytest.mark.parametrize("name", study_names())
def test_a_study_is_named_after_its_file_and_asks_one_question(name: str) -> None:
    study = load_study(name)
    assert study.name == name
    assert study.question.count("?") == 1
    assert study.question.endswith("?")


def test_studies_and_their_options_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("studies") == run("study", "regimes", "--help") == 0
    printed = capsys.readouterr().out
    assert "horizon: What does not knowing the horizon cost? experiments/results/horizon.csv" in printed
    assert "--seeds SEED" in printed
    assert run("study", "regimess") == 2
    assert "unknown study regimess; nearest: regimes; " in capsys.readouterr().err


def test_summary_worked_example() -> None:
    rows = pd.DataFrame(
        [
            ("a", "x", 1.0),
            ("a", "x", 4.0),
            ("b", "x", 8.0),
            ("a", "y", 1.0),
            ("a", "y", 1.0),
            ("b", "y", math.inf),
        ],
        columns=["task", "method", "ratio"],
    )
    summary = ratios.summarise(rows)
    assert summary.x.to_dict() == pytest.approx(
        {"a": 2.0, "b": 8.0, "geometric mean": 4.0, "worst task": 8.0}
    )
    assert summary.y["worst task"] == math.inf


def test_gaps() -> None:
    assert gap(1.5, 1.0) == 0.5
    assert gap(math.nan, 1.0) == gap(math.inf, 1.0) == math.inf
    assert gap(1.0 - 1e-15, 1.0) == 1e-12
    assert geometric_mean([1.0, 4.0]) == pytest.approx(2.0)


def test_processes_return_every_result_and_end_when_left() -> None:
    assert sorted(run_parallel(math.sqrt, [4.0, 9.0, 16.0], 2)) == [2.0, 3.0, 4.0]
    results = run_parallel(time.sleep, [0.0, 600.0], 2)
    assert isinstance(results, Generator)
    next(results)
    results.close()
    assert all(worker.join(60) is None and not worker.is_alive() for worker in active_children())
