"""The store's records in MLflow: an SQLite file beside them, no server; ``mlflow ui`` shows it."""

from __future__ import annotations

import json
import logging
import math
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pandas as pd

from experiments.common.frames import records, where
from experiments.engine.execute import run_id
from experiments.engine.run_suite import planned
from experiments.engine.spec import RunSpec
from experiments.engine.store import Store
from experiments.engine.suite import Suite
from experiments.methods.registry import METHODS
from experiments.tasks.describe import describe_task, sample_of
from experiments.tasks.registry import make_task

if TYPE_CHECKING:
    from mlflow import MlflowClient

STATUS = {"done": "FINISHED", "diverged": "FAILED", "timeout": "KILLED", "error": "FAILED"}
REPORT = ("report.html", "report.md", "runs.csv", "profiles.png", "sensitivity.png", "curves.png")


def log_suite(suite: Suite, store: Store, data_dir: str | None = None) -> tuple[int, str]:
    """Log every finished run that is not there yet, and the report; return their number and the address."""
    from mlflow import MlflowClient

    logging.getLogger("alembic").setLevel(logging.WARNING)
    address = f"sqlite:///{(store.folder / 'mlflow.db').resolve()}"
    store.folder.mkdir(parents=True, exist_ok=True)
    client = MlflowClient(address)
    experiment = client.get_experiment_by_name(suite.name)
    if experiment is None:
        artifacts = (store.folder / "mlflow-artifacts").resolve().as_uri()
        number = client.create_experiment(suite.name, artifacts, {"mlflow.note.content": _description(suite)})
    else:
        number = experiment.experiment_id
    known, parent = _logged(client, number), _log_report(client, number, suite, store)
    specs = {run_id(spec): spec for spec in planned(suite, store)}
    rows = [row for row in records(store.rows(specs)) if row["run_id"] not in known]
    for row in rows:
        _log_run(client, number, parent, row, specs[row["run_id"]], store, data_dir)
    return len(rows), address


def _description(suite: Suite) -> str:
    lines = [f"- {item.method} against {item.against}: {item.question}" for item in suite.comparisons]
    return "\n".join([suite.title, "", suite.purpose, suite.metric, suite.stopping, "", *lines])


def _logged(client: MlflowClient, experiment: str) -> set[str]:
    """Run ids that are in MLflow already, completely: the status is set last."""
    found: set[str] = set()
    token: str | None = None
    while True:
        page = client.search_runs([experiment], "tags.run_id != ''", max_results=1000, page_token=token)
        found |= {run.data.tags["run_id"] for run in page if run.info.status != "RUNNING"}
        token = page.token
        if not token:
            return found


def _log_report(client: MlflowClient, experiment: str, suite: Suite, store: Store) -> str:
    """The suite's own entry, with page, tables and pictures; the runs are nested below it."""
    found = client.search_runs([experiment], "tags.kind = 'suite'", max_results=1)
    run = (
        found[0]
        if found
        else client.create_run(experiment, tags={"kind": "suite"}, run_name=f"suite {suite.name}")
    )
    for name in REPORT:
        if (store.folder / name).is_file():
            client.log_artifact(run.info.run_id, str(store.folder / name))
    client.set_terminated(run.info.run_id)
    return run.info.run_id


def _log_run(
    client: MlflowClient, experiment: str, parent: str, row: dict[str, Any], spec: RunSpec, store: Store,
    data_dir: str | None,
) -> None:  # fmt: skip
    """One run: description, non-default parameters, metrics per evaluation, tags and artifacts."""
    from mlflow.entities import Metric, Param

    task_tags, sample = _described(spec.task, data_dir, spec.scale)
    label = METHODS[spec.method].label
    tags = {
        "mlflow.parentRunId": parent,
        "mlflow.note.content": f"{label} on {spec.task}, seed {spec.seed}. {row['message'] or row['error_text']}",
        **{
            name: str(row[name])
            for name in ("run_id", "task", "method", "framework", "status", "device", "code_hash")
        },
        "data_sha256": row["data_hash"],
        **task_tags,
    }
    run = client.create_run(experiment, tags=tags, run_name=f"{spec.task} {spec.method} {spec.seed}")
    identifier, start = run.info.run_id, run.info.start_time
    curve = store.curve(row["run_id"])
    metrics = [
        Metric(item["metric"].replace(" ", "_"), item["value"], start, int(item["num_grad_evals"]))
        for item in records(curve)
    ]
    final = {
        "final_objective": row["value"],
        "final_gap": row["value"] - row["minimum"],
        "seconds": row["seconds"],
    }
    if row["test_metric"]:
        final[f"final_test_{row['test_metric']}"] = row["test"]
    metrics += [Metric(name, value, start, 0) for name, value in final.items()]
    parameters = {"seed": spec.seed, "budget": spec.budget, **spec.kwargs}
    client.log_batch(
        identifier,
        [metric for metric in metrics if math.isfinite(metric.value)],
        [Param(name, str(value)) for name, value in parameters.items()],
    )
    with TemporaryDirectory() as folder:
        _write_artifacts(Path(folder), row, curve, sample, store)
        client.log_artifacts(identifier, folder)
    client.set_terminated(identifier, STATUS[row["status"]])


def _write_artifacts(
    folder: Path, row: dict[str, Any], curve: pd.DataFrame, sample: pd.DataFrame, store: Store
) -> None:
    """Curve, lanes and their valley, final parameters, confusion matrix, a sample of the data, the row."""
    (folder / "run.json").write_text(json.dumps(row, indent=1))
    sample.to_csv(folder / "data_sample.csv", index=False)
    if len(curve):
        curve.to_csv(folder / "curve.csv", index=False)
    lanes = store.lanes(row["run_id"])
    if len(lanes):
        lanes.to_csv(folder / "lanes.csv", index=False)
    if len(lanes) and lanes.learning_rate.nunique() > 1:
        from matplotlib.figure import Figure

        from experiments.report.pictures import MAX_RANGE

        figure = Figure(layout="constrained")
        axes, highest = figure.subplots(), MAX_RANGE * lanes.value.min()
        for schedule in dict.fromkeys(lanes.schedule):
            part = where(lanes, schedule=schedule, output="last", momentum=lanes.momentum.min())
            part = part.query(f"value <= {highest}").sort_values("learning_rate")
            axes.loglog(part.learning_rate, part.value, ".-", label=f"{schedule}, last iterate")
        axes.set_xlabel("learning rate")
        axes.set_ylabel("objective")
        axes.legend()
        figure.savefig(folder / "sensitivity.png", dpi=100)
    final = store.final(row["run_id"])
    if "confusion" in final:
        pd.DataFrame(final["confusion"]).to_csv(
            folder / "confusion_matrix.csv", index_label="true \\ predicted"
        )
    if final:
        path = store.folder / "final" / f"{row['run_id']}.npz"
        (folder / "parameters.npz").write_bytes(path.read_bytes())


@cache
def _described(task: str, data_dir: str | None, scale: str) -> tuple[dict[str, str], pd.DataFrame]:
    made = make_task(task, data_dir, scale)
    return describe_task(made), sample_of(made)
