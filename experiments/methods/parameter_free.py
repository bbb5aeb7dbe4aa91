"""``pfopt.torch``'s optimizers, used as a user would use them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import Tensor
from torch.optim import AdamW

from experiments.methods.run import run_torch
from experiments.methods.trainer import Trainer
from experiments.tasks.task import Problem, Setting
from pfopt import Certified, Practical
from pfopt.torch import ParameterFree, ParameterFreeSGD

PLANS = {"practical": Practical, "certified": Certified}


class ParameterFreeTrainer(Trainer):
    """One optimizer for all gradients, search included."""

    recovers = True

    def __init__(
        self, problem: Problem, setting: Setting, optimizer: ParameterFreeSGD | ParameterFree
    ) -> None:
        super().__init__(problem, setting, optimizer)
        self.parameter_free = optimizer

    def step(self, loss: Tensor) -> None:
        """A step from the gradient alone."""
        self.parameter_free.step()

    @contextmanager
    def deployed(self) -> Iterator[Problem]:
        """The average, where it is what will be returned."""
        with self.parameter_free.averaged():
            yield self.problem

    @property
    def step_size(self) -> float:
        """The last step size."""
        return self.parameter_free.status().step_size

    @property
    def phase(self) -> str:
        """search, main or done."""
        return self.parameter_free.status().phase

    @property
    def message(self) -> str:  # type: ignore[override]
        """How the search ended."""
        return self.parameter_free.status().message


def sgd(problem: Problem, setting: Setting, *, plan: str = "practical", **choices: Any) -> Trainer:
    """``ParameterFreeSGD`` at its defaults, so without the task's momentum; ``choices`` are those of its plan."""
    chosen = PLANS[plan](**choices)
    optimizer = ParameterFreeSGD(problem.parameters(), setting.budget, plan=chosen, buffers=problem.buffers())
    return ParameterFreeTrainer(problem, setting, optimizer)


def adamw(problem: Problem, setting: Setting) -> Trainer:
    """``ParameterFree`` around ``torch.optim.AdamW`` at its defaults."""
    base = AdamW(problem.parameters())
    optimizer = ParameterFree(base, setting.budget, buffers=problem.buffers())
    return ParameterFreeTrainer(problem, setting, optimizer)


run_parameter_free = partial(run_torch, make=sgd)
run_parameter_free_adamw = partial(run_torch, make=adamw)
