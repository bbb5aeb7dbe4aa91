"""What MLflow receives."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from experiments.engine.run_suite import Execution, run_suite
from experiments.engine.store import Store
from experiments.report.mlflow_log import log_suite
from experiments.report.page import write_report
from tests.experiments.suites import tiny_suite

pytest.importorskip("mlflow")


@pytest.mark.filterwarnings("default")
def test_every_run_is_logged_once_with_its_artifacts(tmp_path: Path) -> None:
    from mlflow import MlflowClient

    suite = replace(tiny_suite(tasks='["breast-cancer-logistic"]', seeds="[0]"), sensitivity=None)
    store = Store(tmp_path)
    rows = run_suite(suite, store, Execution(jobs=1), Console(quiet=True))
    write_report(suite, store)
    count, address = log_suite(suite, store)
    assert count == len(rows) == 4
    assert log_suite(suite, store)[0] == 0
    client = MlflowClient(address)
    experiment = client.get_experiment_by_name("quick")
    assert experiment is not None
    assert "Is it as good?" in experiment.tags["mlflow.note.content"]
    runs = {run.data.tags.get("method"): run for run in client.search_runs([experiment.experiment_id])}
    ours = runs["pfopt"]
    assert (
        ours.data.tags.items()
        >= {"task": "breast-cancer-logistic", "kind": "classification", "status": "done"}.items()
    )
    assert ours.data.tags["class_balance"] == "0.374, 0.626"
    assert ours.data.params == {"seed": "0", "budget": "200"}
    history = client.get_metric_history(ours.info.run_id, "objective")
    assert [metric.step for metric in history][-4:] == [50, 100, 150, 200]
    assert {"final_gap", "final_test_accuracy", "test_accuracy"} <= set(ours.data.metrics)
    names = {file.path for file in client.list_artifacts(ours.info.run_id)}
    assert names == {"run.json", "data_sample.csv", "curve.csv", "confusion_matrix.csv", "parameters.npz"}
    assert "sensitivity.png" in {file.path for file in client.list_artifacts(runs["sgd-grid"].info.run_id)}
    assert "report.html" in {file.path for file in client.list_artifacts(runs[None].info.run_id)}
