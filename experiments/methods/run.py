"""One run of one method: the training loop that every torch optimizer goes through, and its record."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np
import pandas as pd
from torch import Tensor

from experiments.tasks.task import Problem


@dataclass(frozen=True)
class Run:
    """What one run returned and what it cost.

    Attributes:
        value: Full-data objective of the returned iterate.
        accuracy: Its test accuracy, NaN where the task has no classes.
        num_grad_evals: Mini-batch gradients spent.
        seconds: Time spent in training; evaluations are not counted.
        curve: Columns num_grad_evals, value (of the iterate that would be returned now), phase.
        message: What the reader of the table must know about the run.
    """

    value: float
    accuracy: float
    num_grad_evals: int
    seconds: float
    curve: pd.DataFrame = field(default_factory=pd.DataFrame)
    message: str = ""


def train(
    problem: Problem,
    batches: Tensor,
    step: Callable[[Tensor], object],
    *,
    deployed_score: Callable[[], tuple[float, float]],
    phase: Callable[[], str] = lambda: "train",
    num_records: int = 100,
) -> Run:
    """Train ``problem`` on every batch once.

    Args:
        problem: Module whose ``forward(rows)`` is the loss.
        batches: Row indices, shape (steps, batch).
        step: Called with the loss, a scalar, after backward.
        deployed_score: Objective and accuracy of the iterate that the method would return now.
        phase: What the method is doing.
        num_records: How often the objective is recorded, spread evenly over the run; 0 for the end only.
    """
    steps = len(batches)
    record_at = set(np.linspace(0, steps, num_records + 1).astype(int)[1:].tolist())
    curve: list[tuple[int, float, str]] = []
    seconds, started = 0.0, perf_counter()
    for count, rows in enumerate(batches, start=1):
        problem.zero_grad()
        loss = problem(rows)
        loss.backward()
        step(loss.detach())
        if count in record_at:
            seconds += perf_counter() - started
            curve.append((count, deployed_score()[0], phase()))
            started = perf_counter()
    seconds += perf_counter() - started
    frame = pd.DataFrame(curve, columns=["num_grad_evals", "value", "phase"])
    return Run(*deployed_score(), steps, seconds, frame)
