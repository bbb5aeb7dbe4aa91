"""One run of one method: the training loop that every torch optimizer goes through, and its record."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from experiments.methods.trainer import Trainer
from experiments.tasks.task import Problem, Setting, Task

DENSE = 10  # a curve of at least so many looks gets the early ones too
CHECK_EVERY = 25  # steps between two looks at the loss: a look waits for the device
CURVE = ("step", "num_grad_evals", "seconds", "value", "test", "step_size", "phase")


@dataclass(frozen=True)
class Run:
    """What one run returned and what it cost.

    Attributes:
        value: Objective of the returned iterate; infinite where the run diverged.
        test: Its test metric, NaN where nothing is held out.
        num_grad_evals: Mini-batch gradients spent.
        seconds: Time spent in training; evaluations are not counted.
        curve: Columns of ``CURVE``; value and test are those of the iterate that would be returned now.
        message: What the reader of the table must know about the run.
        status: "done", "diverged" or "timeout".
        lanes: One row per output and learning rate, for grids; see ``sgd_grid``.
        params: The returned parameters.
        confusion: Test rows by true (rows) and predicted class (columns); None without classes.
    """

    value: float
    test: float
    num_grad_evals: int
    seconds: float
    curve: pd.DataFrame = field(default_factory=pd.DataFrame)
    message: str = ""
    status: str = "done"
    lanes: pd.DataFrame = field(default_factory=pd.DataFrame)
    params: list[NDArray[Any]] = field(default_factory=list)
    confusion: NDArray[np.int64] | None = None


def run_torch(
    task: Task,
    seed: int,
    setting: Setting,
    *,
    make: Callable[..., Trainer],
    num_records: int = 0,
    **options: Any,
) -> Run:
    """Train once with the optimizer that ``make(problem, setting, **options)`` sets up.

    Args:
        task: What to train.
        seed: Data order and initial point.
        setting: Budget, batch size, momentum and schedule.
        make: Sets up the optimizer.
        num_records: How often the deployed iterate is scored, spread evenly over the run; 0: at the end only.
        options: Passed on to ``make``.
    """
    problem = task.problem(seed)
    trainer = make(problem, setting, **options)
    record_at = record_steps(setting.budget, num_records, early=num_records >= DENSE)
    rows: list[tuple[Any, ...]] = []
    seconds, started, status, count = 0.0, perf_counter(), "done", 0
    for count, batch in enumerate(task.batches(seed, setting.budget, setting.batch_size), start=1):
        problem.zero_grad()
        loss = problem(batch)
        loss.backward()
        trainer.step(loss.detach())
        looks = count % CHECK_EVERY == 0 or count in record_at
        if looks and not trainer.recovers and not math.isfinite(loss.item()):
            status = "diverged"
            break
        if count in record_at:
            seconds += perf_counter() - started
            rows.append((count, count, seconds, *_score(trainer), trainer.step_size, trainer.phase))
            if seconds > setting.time_limit:
                status = "timeout"
                break
            started = perf_counter()
    if status != "timeout":
        seconds += perf_counter() - started
    curve = pd.DataFrame(rows, columns=list(CURVE))
    if status != "done":
        message = trainer.message or f"{status} at step {count} of {setting.budget}"
        return Run(math.inf, math.nan, count, seconds, curve, message, status, trainer.lanes(failed=True))
    return _finished(trainer, count, seconds, curve)


def record_steps(budget: int, num_records: int, *, early: bool = False) -> set[int]:
    """The steps after which a run is scored: evenly spread, the last one included.

    ``early`` adds every per cent of the first five, where a search is.
    """
    steps = set(np.linspace(0, budget, num_records + 1).astype(int)[1:].tolist())
    return steps | ({budget * percent // 100 for percent in range(1, 6)} - {0} if early else set())


def confusion_of(problem: Problem) -> NDArray[np.int64] | None:
    """Counts of true (rows) and predicted classes (columns) on the held-out rows."""
    predicted_and_true = problem.predictions()
    if predicted_and_true is None:
        return None
    classes, index = torch.unique(torch.stack(predicted_and_true), return_inverse=True)
    counts = torch.bincount(index[1] * len(classes) + index[0], minlength=len(classes) ** 2)
    return counts.view(len(classes), -1).numpy()


def _score(trainer: Trainer) -> tuple[float, float]:
    with trainer.deployed() as deployed:
        return deployed.score()


def _finished(trainer: Trainer, count: int, seconds: float, curve: pd.DataFrame) -> Run:
    """The record of a run that spent its budget."""
    with trainer.deployed() as deployed:
        value, test = deployed.score()
        params = [parameter.detach().cpu().numpy().copy() for parameter in deployed.parameters()]
        confusion = confusion_of(deployed)
    status = "done" if math.isfinite(value) else "diverged"
    value = value if math.isfinite(value) else math.inf
    lanes = trainer.lanes(failed=False)
    return Run(value, test, count, seconds, curve, trainer.message, status, lanes, params, confusion)
