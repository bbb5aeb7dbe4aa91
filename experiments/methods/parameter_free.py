"""One run of ``pfopt.torch.ParameterFreeSGD``, written as a user would write it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import Tensor

from experiments.methods.run import Run, train
from experiments.tasks.task import Setting, Task
from pfopt.torch import ParameterFreeSGD


def run_parameter_free(
    task: Task,
    seed: int,
    setting: Setting,
    *,
    with_loss: bool = False,
    num_records: int = 0,
    **options: Any,
) -> Run:
    """Train with ``setting.budget`` steps in all, the search included.

    Args:
        task: What to train.
        seed: Data order and initial point.
        setting: Budget, batch size and momentum.
        with_loss: Whether ``step`` is told the mini-batch loss.
        num_records: How often the objective of the deployed iterate and the phase are recorded.
        options: Passed on to ``ParameterFreeSGD``.
    """
    problem = task.problem(seed)
    options = {"momentum": setting.momentum, "buffers": problem.buffers(), **options}
    opt = ParameterFreeSGD(problem.parameters(), setting.budget, **options)

    def step(loss: Tensor) -> None:
        if with_loss:
            opt.step(loss=loss)
        else:
            opt.step()

    def deployed_score() -> tuple[float, float]:
        with opt.averaged():
            return problem.score()

    run = train(
        problem,
        task.batches(seed, setting.budget, setting.batch_size),
        step,
        deployed_score=deployed_score,
        phase=lambda: opt.status().phase,
        num_records=num_records,
    )
    return replace(run, message=opt.status().message)
