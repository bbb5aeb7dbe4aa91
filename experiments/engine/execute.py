"""One run: from its specification to its record. Nothing that a method does wrong goes further than its row."""

from __future__ import annotations

import json
import math
import platform
from dataclasses import dataclass, field
from importlib.metadata import version
from time import perf_counter, process_time
from typing import Any

import pandas as pd
import torch
from numpy.typing import NDArray

from experiments.engine.code_hash import code_hash
from experiments.engine.spec import RunSpec
from experiments.methods.registry import get_method
from experiments.methods.run import Run
from experiments.tasks.data import data_hash
from experiments.tasks.registry import make_task, suite_setting, task_definition, task_files, task_modules

CURVE_COLUMNS = ["step", "num_grad_evals", "train_seconds", "metric", "value", "step_size", "phase"]


@dataclass(frozen=True)
class Record:
    """Everything that is kept of a run.

    Attributes:
        row: One row of ``runs.csv``.
        curve: One row per evaluation and metric, with ``CURVE_COLUMNS``.
        lanes: One row per learning rate and output, for grids; empty otherwise.
        final: The returned parameters, and the confusion matrix where there are classes.
    """

    row: dict[str, Any]
    curve: pd.DataFrame
    lanes: pd.DataFrame
    final: dict[str, NDArray[Any]] = field(default_factory=dict)


def run_id(spec: RunSpec) -> str:
    """The id under which a run is kept: it changes with specification, code, data and versions."""
    method = get_method(spec.method)
    data = f"{data_hash(task_files(spec.task))} {task_definition(spec.task, spec.scale)}"
    rest = f"{method.options} {method.versions()}"
    return spec.run_id((*method.modules, *task_modules(spec.task)), f"{data} {rest}")


class ChangedCodeError(RuntimeError):
    """The process that runs has other code or packages than the one that planned."""


def execute(spec: RunSpec, data_dir: str | None = None, expected_id: str | None = None) -> Record:
    """Run, and record what came of it; an exception of the method is a row with the reason.

    Args:
        spec: What to run.
        data_dir: The shared data folder.
        expected_id: The id that the planner gave the run; a worker that would give another one does not run.
    """
    started, identifier = perf_counter(), run_id(spec)
    method, metric, minimum, share = get_method(spec.method), "", math.nan, math.nan
    try:
        if expected_id not in (None, identifier):
            raise ChangedCodeError(
                "code or packages changed while the suite ran; run it again with --retry-failed"
            )
        task = make_task(spec.task, data_dir, spec.scale)
        metric, minimum = task.test_metric, task.minimum
        setting = suite_setting(spec.task, spec.budget, spec.time_limit)
        wall, processor = perf_counter(), process_time()
        run, error = method(task, spec.seed, setting, num_records=spec.num_records, **spec.kwargs), ""
        share = (process_time() - processor) / (perf_counter() - wall)
    except Exception as exception:
        run = Run(math.inf, math.nan, 0, 0.0, status="error")
        error = f"{type(exception).__name__}: {exception}"
    row = {
        "run_id": expected_id or identifier,
        "suite": spec.suite,
        "task": spec.task,
        "method": spec.method,
        "framework": method.framework,
        "kwargs": spec.kwargs_json,
        "seed": spec.seed,
        "budget": spec.budget,
        "scale": spec.scale,
        "status": run.status,
        "error_text": error or (run.message if run.status != "done" else ""),
        "value": run.value,
        "minimum": minimum,
        "test_metric": metric,
        "test": run.test,
        "num_grad_evals": run.num_grad_evals,
        "seconds": run.seconds,
        "cpu_seconds": run.seconds * share,  # of which the process had a processor
        "wall_seconds": perf_counter() - started,
        "message": run.message,
        "code_hash": code_hash((*method.modules, *task_modules(spec.task)))[:20],
        "data_hash": data_hash(task_files(spec.task))[:20],
        "versions": json.dumps(
            {"python": platform.python_version(), "numpy": version("numpy"), **method.versions()}
        ),
        "device": device_name(spec.scale),
    }
    final = {f"param_{i}": value for i, value in enumerate(run.params)} if method.role != "grid" else {}
    if run.confusion is not None and method.role != "grid":
        final["confusion"] = run.confusion
    return Record(row, _long(run.curve, metric), run.lanes, final)


def _long(curve: pd.DataFrame, test_metric: str) -> pd.DataFrame:
    """One row per evaluation and metric, of a curve with one column per metric."""
    if curve.empty:
        return pd.DataFrame(columns=CURVE_COLUMNS)
    parts = [curve.assign(metric="objective")]
    if test_metric:
        parts.append(curve.assign(metric=f"test {test_metric}", value=curve.test))
    table = pd.concat(parts, ignore_index=True).rename(columns={"seconds": "train_seconds"})
    table = table.sort_values(["step", "metric"], kind="stable", ignore_index=True)
    return pd.DataFrame(table[CURVE_COLUMNS])


def device_name(scale: str) -> str:
    """What the run was computed on."""
    if scale == "large" and torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{platform.machine()} CPU, 1 thread"
