"""DoG with its polynomial-decay averager, from the authors' package at its defaults (Ivgi et al., 2023)."""

from __future__ import annotations

from typing import cast

from dog import DoG, PolynomialDecayAverager
from torch import Tensor

from experiments.methods.run import Run, train
from experiments.tasks.task import Problem, Setting, Task


def run_dog(task: Task, seed: int, setting: Setting, *, num_records: int = 0) -> Run:
    """Train with DoG; the averaged model (gamma = 8) is returned."""
    problem = task.problem(seed)
    optimizer = DoG(problem.parameters())
    averager = PolynomialDecayAverager(problem)
    averaged = cast(Problem, averager.averaged_model)

    def step(loss: Tensor) -> None:
        del loss
        optimizer.step()
        averager.step()

    batches = task.batches(seed, setting.budget, setting.batch_size)
    return train(
        problem,
        batches,
        step,
        deployed_score=lambda: averaged.score(),
        num_records=num_records,
    )
