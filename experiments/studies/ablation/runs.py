"""One run of the default or of a switch, and the file in which every run is kept as it ends."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple, cast

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from experiments.common.atomic_files import write_text
from experiments.common.parallel import run_parallel
from experiments.common.suboptimality import gap
from experiments.held_out_problems import run as held_out
from experiments.held_out_problems.registry import PROBLEMS, SETS, make_problem
from experiments.methods.parameter_free import run_parameter_free
from experiments.studies.ablation.changes import applied
from experiments.studies.ablation.switches import switches
from experiments.tasks.exact import ALL, DENSE, affordable, drawn
from experiments.tasks.objective import ConvexTask
from experiments.tasks.registry import DEEP, available, make_task, suite_setting
from pfopt import minimize

REGIMES = ((16, 1000), (ALL, 300), (128, 500), (1, 1000))  # batch size, gradients: of a quick pass
NETWORKS = ("digits-network", "digits-cnn", "digits-cnn-batchnorm", "magic04-mlp")


class Job(NamedTuple):
    """One run; ``variant`` is "" for the default."""

    group: str
    variant: str
    task: str
    batch_size: int
    budget: int
    seed: int


def run(job: Job) -> dict[str, Any]:
    """The figures of one run."""
    started = perf_counter()
    with applied(switches()[job.variant].changes):
        found = _figures(job)
    return {**job._asdict(), **found, "seconds": round(perf_counter() - started, 2)}


def _figures(job: Job) -> dict[str, float]:
    if job.group == "lanes":
        return {"value": _lane(job), "held_out": math.nan, "initial": math.nan}
    if job.group == "flat":
        return _flat(job)
    if job.group == "networks":
        found = run_parameter_free(make_task(job.task, None), job.seed, suite_setting(job.task, job.budget))
        return {"value": found.value, "held_out": found.test, "initial": math.nan}
    method = "pfopt" if job.group == "unseen" else "pfopt-adamw"
    found = held_out.run(held_out.Job(job.task, method, None, job.seed, job.budget))
    return {
        "value": cast(float, found["training"]),
        "held_out": cast(float, found["held_out"]),
        "initial": cast(float, found["initial"]),
    }


def _lane(job: Job) -> float:
    """Suboptimality of one run of the numpy driver; a task's gradient in closed form takes half of autograd's time."""
    task = make_task(job.task, None)
    convex = cast(ConvexTask, drawn(task, job.batch_size))
    features, targets = convex.features.numpy(), convex.targets.numpy()  # type: ignore[union-attr]
    batches = iter(convex.batches(job.seed, job.budget, job.batch_size).numpy())

    def oracle(x: NDArray[Any]) -> NDArray[Any]:
        rows = next(batches)
        chosen = (features, targets) if job.batch_size == ALL else (features[rows], targets[rows])
        return gradient(convex.loss_kind, x, *chosen) + convex.l2 * x

    result = minimize(oracle, convex.x0.numpy(), job.budget)
    return gap(convex.objective(torch.from_numpy(result.x)[None]).item(), task.minimum)


def _flat(job: Job) -> dict[str, float]:
    """One run of the numpy driver on the parameters of an unseen problem as one vector."""
    problem = make_problem(job.task, job.seed)
    parameters, steps = problem.parameters(), count()
    initial, _ = problem.losses()

    def oracle(x: NDArray[Any]) -> NDArray[Any]:
        vector_to_parameters(torch.from_numpy(x), parameters)
        problem.model.zero_grad()
        problem.batch_loss(next(steps)).backward()
        grads = [torch.zeros_like(p) if p.grad is None else p.grad.to_dense() for p in parameters]
        return parameters_to_vector(grads).numpy()

    start = parameters_to_vector(parameters).detach().numpy().copy()
    result = minimize(oracle, start, job.budget)
    vector_to_parameters(torch.from_numpy(result.x), parameters)
    problem.recalibrate()
    training, held_out = problem.losses()
    return {"value": training, "held_out": held_out, "initial": initial}


def gradient(kind: str, x: NDArray[Any], features: NDArray[Any], targets: NDArray[Any]) -> NDArray[Any]:
    """Of the mean loss of a linear model, shape of ``x``; as autograd has it, also at kinks."""
    scores = features @ x
    if kind == "softmax":
        slopes = np.exp(scores - scores.max(axis=1, keepdims=True))
        slopes /= slopes.sum(axis=1, keepdims=True)
        slopes[np.arange(len(targets)), targets] -= 1.0
    elif kind == "logistic":
        slopes = -targets / (1.0 + np.exp(np.minimum(targets * scores, 700.0)))
    elif kind == "hinge":
        slopes = -targets * (targets * scores <= 1.0)
    elif kind == "squared":
        slopes = scores - targets
    else:
        slopes = np.sign(scores - targets)
    return features.T @ slopes / len(targets)


def jobs(
    groups: Sequence[str],
    names: Sequence[str] | None,
    seeds: Sequence[int],
    steps: int,
    variants: Sequence[str],
) -> Iterator[Job]:
    """All runs of the groups, task by task."""
    for group in groups:
        labels = [label for label in variants if group in switches()[label].groups]
        settings = list(_settings(group, steps))
        if names is not None:  # in the caller's order: what ends early has whole tasks
            settings = [setting for name in names for setting in settings if setting[0] == name]
        for task, batch_size, budget in settings:
            yield from (
                Job(group, label, task, batch_size, budget, seed) for seed in seeds for label in labels
            )


def _settings(group: str, steps: int) -> Iterator[tuple[str, int, int]]:
    if group == "lanes":
        for batch_size, budget in REGIMES:
            for task in available(DENSE, None):
                if affordable(task, batch_size, None):
                    yield task, batch_size, budget
    elif group == "networks":
        yield from ((task, 0, DEEP[task].budget) for task in NETWORKS)
    else:
        yield from ((task, 0, min(PROBLEMS[task][0], steps)) for task in SETS["problems"] | SETS["cases"])


def finished(planned: list[Job], processes: int, path: Path, console: Console) -> pd.DataFrame:
    """Every run that was ever made, the planned ones included."""
    columns = [*Job._fields, "value", "held_out", "initial", "seconds"]
    if not path.exists():
        write_text(path, ",".join(columns) + "\n")
    known = kept(path)
    done = set(known[list(Job._fields)].itertuples(index=False, name=None))
    wanted = [job for job in planned if tuple(job) not in done]
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        for row in track(run_parallel(run, wanted, processes), total=len(wanted), console=console):
            writer.writerow(row)
            file.flush()
    return kept(path)


def kept(path: Path) -> pd.DataFrame:
    """The runs of the file."""
    return cast(pd.DataFrame, pd.read_csv(path).fillna({"variant": ""}))
