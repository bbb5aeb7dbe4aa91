"""Statistics on worked examples, and the report of a tiny suite."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from experiments.engine.run_suite import Execution, run_suite
from experiments.engine.store import Store
from experiments.engine.suite import GRID_A, GRID_B
from experiments.report import statistics, tables
from experiments.report.page import publish, write_report
from experiments.report.results import collect
from tests.experiments.suites import tiny_suite


def figures(**columns: list[float]) -> pd.DataFrame:
    """Two tasks with two seeds each."""
    places = [("a", 0), ("a", 1), ("b", 0), ("b", 1)]
    rows = [
        (*place, name, value)
        for name, values in columns.items()
        for place, value in zip(places, values, strict=True)
    ]
    return pd.DataFrame(rows, columns=["task", "seed", "column", "figure"])


def test_comparison_worked_example() -> None:
    found = statistics.compare(figures(x=[2.0, 8.0, 1.0, 1.0], y=[1.0, 1.0, 1.0, 1.0]), "x", "y")
    assert found is not None
    assert found.by_task == pytest.approx({"a": 4.0, "b": 1.0})
    assert found.interval.mean == pytest.approx(2.0)
    assert (found.worst, found.worst_task, found.pairs) == (pytest.approx(4.0), "a", 4)
    assert 1.0 <= found.interval.low <= 2.0 <= found.interval.high <= 8.0


def test_failures_are_infinitely_bad_unless_both_fail() -> None:
    table = figures(x=[math.inf, 1.0, 1.0, 1.0], y=[math.inf, 1.0, 1.0, 1.0], z=[1.0, 1.0, 1.0, 1.0])
    both, one, other = (statistics.compare(table, *pair) for pair in (("x", "y"), ("x", "z"), ("z", "x")))
    assert both is not None
    assert one is not None
    assert other is not None
    assert both.interval.mean == 1.0
    assert one.interval.mean == one.worst == math.inf
    assert other.interval.mean == 0.0
    assert statistics.compare(table, "x", "missing") is None


def test_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for trial in range(100):
        effects = 0.3 * rng.standard_normal(20)
        logs = [effect + 0.3 * rng.standard_normal(5) for effect in effects]
        interval = statistics.bootstrap(logs, seed=trial)
        hits += interval.low <= 1.0 <= interval.high
    assert 85 <= hits <= 100


def test_profile_worked_example() -> None:
    costs = pd.DataFrame({"x": [1.0, 1.0, math.inf], "y": [2.0, 8.0, math.inf]})
    curves = statistics.profile(costs)
    assert curves.x.iloc[0] == curves.x.iloc[-1] == pytest.approx(2 / 3)
    assert curves.y[curves.index < 1.99].max() == 0.0
    assert curves.y.iloc[-1] == pytest.approx(1 / 3)
    scores = statistics.profile_score(curves)
    assert scores.x == pytest.approx(2 / 3)
    assert scores.y == pytest.approx(2 / 9, abs=0.01)


def test_steps_to_target() -> None:
    curve = pd.DataFrame(
        {"num_grad_evals": [10, 20, 30], "seconds": [1.0, 2.5, 3.0], "figure": [3.0, 1.0, 2.0]}
    )
    curves = pd.concat([curve.assign(task="a", seed=s, column="x") for s in (0, 1, 2)], ignore_index=True)
    targets = pd.Series([1.0, 0.5], index=pd.MultiIndex.from_tuples([("a", 0), ("a", 1)]))
    found = statistics.steps_to_target(curves, targets)
    assert list(found.steps) == [20.0, math.inf]
    assert list(found.seconds) == [2.5, math.inf]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(tmp_path_factory.mktemp("tiny"))
    run_suite(tiny_suite(), store, Execution(jobs=1), Console(quiet=True))
    return store


def test_figures_of_the_tiny_suite(store: Store) -> None:
    results = collect(tiny_suite(), store)
    assert results.columns == [GRID_A, GRID_B, "grid A, equal total cost", "pfopt", "dog"]
    assert len(results.figures) == 5 * 2 * 2
    table = results.figures.pivot_table(index=["task", "seed"], columns="column", values="figure")
    assert np.all(table[GRID_B] <= table[GRID_A])
    bills = results.figures.groupby("column").num_grad_evals.max()
    assert bills[GRID_A] >= 11 * 200
    assert bills[GRID_B] >= 2 * bills[GRID_A]
    assert bills["grid A, equal total cost"] <= 200 + 2 * 4 * 18  # widened
    assert results.labels[GRID_A] in [f"tuned SGD ({count} rates)" for count in range(11, 19)]
    assert results.figures.error[results.figures.test_metric == ""].isna().all()
    assert (results.figures.seconds > 0).all()
    assert len(results.sensitivity) == 4
    assert set(results.curves.phase) >= {"main", "train", "done"}  # ours, and what peers call it


def test_the_report_says_what_was_planned_and_needs_nothing_else(store: Store, tmp_path: Path) -> None:
    write_report(tiny_suite(), store)
    page, text = (store.folder / "report.html").read_text(), (store.folder / "report.md").read_text()
    for part in (
        "Is it as good?",
        collect(tiny_suite(), store).labels[GRID_A],
        "best of everything, in hindsight",
        "ParameterFreeSGD",
        "Failed runs",
        "Only the tasks diabetes-ridge",
    ):
        assert part in page
        assert part in text
    assert page.count("data:image/png;base64,") == 3
    assert "http" not in page.split("</style>")[1].replace("http-equiv", "")
    assert 'name="viewport"' in page
    store.merge([])  # as after a command that ran another part
    publish(tiny_suite(), store, tmp_path)
    assert len(pd.read_csv(tmp_path / "runs.csv")) == len(collect(tiny_suite(), store).rows)
    assert {path.name for path in tmp_path.iterdir()} >= {
        "report.html",
        "report.md",
        "runs.csv",
        "curves.png",
        "records.tar.xz",
    }


def test_failures_are_in_plain_sight(store: Store) -> None:
    results = collect(tiny_suite(), store)
    row = {
        **results.rows.iloc[-1].to_dict(),
        "method": "dog",
        "status": "error",
        "error_text": "ValueError: no",
    }
    results.rows.loc[len(results.rows)] = row  # type: ignore[call-overload]
    table = tables.failed_runs(results)
    assert table.rows[0][1:] == ["dog", str(row["seed"]), "error", "ValueError: no"]
