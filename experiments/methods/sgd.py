"""One run of ``torch.optim.SGD`` at one learning rate: what a lane of the grid does, as a user writes it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.optim import SGD
from torch.optim.lr_scheduler import LambdaLR

from experiments.methods.run import Run, train
from experiments.methods.sgd_grid import SCHEDULES
from experiments.tasks.task import Setting, Task


def run_sgd(
    task: Task, seed: int, setting: Setting, *, learning_rate: float = 0.01, num_records: int = 0
) -> Run:
    """Train at ``learning_rate`` under the setting's schedule; the last iterate is returned."""
    problem = task.problem(seed)
    momentum = setting.momentum
    optimizer = SGD(problem.parameters(), lr=learning_rate, momentum=momentum, dampening=momentum)
    progress = torch.arange(setting.budget + 1, dtype=torch.float64) / setting.budget
    factors = SCHEDULES[setting.schedule](progress).tolist()
    scheduler = LambdaLR(optimizer, factors.__getitem__)

    def step(loss: Tensor) -> None:
        del loss
        optimizer.step()
        scheduler.step()

    batches = task.batches(seed, setting.budget, setting.batch_size)
    return train(problem, batches, step, deployed_score=problem.score, num_records=num_records)
