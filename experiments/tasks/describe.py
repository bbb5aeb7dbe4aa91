"""What a data set is, in words and a few rows: tags and a sample for MLflow."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from experiments.tasks.networks import DeepTask
from experiments.tasks.objective import ConvexTask
from experiments.tasks.registry import task_files
from experiments.tasks.sparse import SparseRows
from experiments.tasks.task import Task

SAMPLE_ROWS, SAMPLE_COLUMNS = 5, 20
PERIODS = {"etth1-forecasting": "hourly, July 2016 to February 2018; the last four months are held out"}
KINDS = {"softmax": "classification", "logistic": "classification", "hinge": "classification"}


def describe_task(task: Task) -> dict[str, str]:
    """Kind of problem, rows, features, target, class balance and, for time series, the period."""
    inputs, targets = _data(task)
    if isinstance(task, ConvexTask):
        kind = KINDS.get(task.loss_kind, "regression")
    else:
        kind = "classification" if task.test_metric == "accuracy" else task.name.split("-")[-1]
    tags = {
        "kind": kind,
        "data_set": ", ".join(task_files(task.name)) or "scikit-learn or synthetic",
        "rows": str(len(targets)),
        "features": "x".join(map(str, inputs.shape[1:])),
        "target": "class"
        if kind == "classification"
        else f"{tuple(targets.shape[1:]) or 'one number'} per row",
    }
    if kind == "classification":
        _, counts = torch.unique(targets, return_counts=True)
        tags["class_balance"] = ", ".join(f"{share:.3f}" for share in (counts / counts.sum()).tolist())
    if task.name in PERIODS:
        tags["period"] = PERIODS[task.name]
    return tags


def sample_of(task: Task) -> pd.DataFrame:
    """The first rows: target, then at most twenty inputs."""
    inputs, targets = _data(task)
    rows = torch.arange(SAMPLE_ROWS)
    dense = (
        inputs[rows].to_scipy().toarray() if isinstance(inputs, SparseRows) else inputs[rows].cpu().numpy()
    )
    flat = np.asarray(dense).reshape(SAMPLE_ROWS, -1)[:, :SAMPLE_COLUMNS]
    target = targets[rows].reshape(SAMPLE_ROWS, -1)[:, 0].cpu().numpy()
    return pd.DataFrame(flat).add_prefix("x").assign(target=target)


def _data(task: Task) -> tuple[Tensor | SparseRows, Tensor]:
    """Training inputs and targets."""
    if isinstance(task, ConvexTask):
        return task.features, task.targets
    assert isinstance(task, DeepTask)
    return task.split.inputs, task.split.targets
