"""DoG and LDoG with their polynomial-decay averager, from the authors' package (Ivgi et al., 2023)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import cast

from dog import DoG, LDoG, PolynomialDecayAverager
from torch import Tensor, nn

from experiments.methods.run import run_torch
from experiments.methods.trainer import Trainer
from experiments.tasks.task import Problem, Setting

BATCH_NORM_START = 1e-4  # reps_rel: the README's advice for models with batch norm, 1e-6 otherwise


class DoGTrainer(Trainer):
    """The averaged model (gamma = 8) is returned, as the README asks for."""

    def __init__(self, problem: Problem, setting: Setting, kind: Callable[..., DoG] = DoG) -> None:
        normalised = any(isinstance(module, nn.BatchNorm2d) for module in problem.modules())
        start = {"reps_rel": BATCH_NORM_START} if normalised else {}
        super().__init__(problem, setting, kind(problem.parameters(), **start))
        self.averager = PolynomialDecayAverager(problem)

    def step(self, loss: Tensor) -> None:
        """A step, and the average after it."""
        super().step(loss)
        self.averager.step()

    @contextmanager
    def deployed(self) -> Iterator[Problem]:
        """The average."""
        yield cast(Problem, self.averager.averaged_model)

    @property
    def step_size(self) -> float:
        """Distance over gradients, of the first parameter."""
        return float(self.optimizer.param_groups[0]["eta"][0])


run_dog = partial(run_torch, make=DoGTrainer)
run_ldog = partial(run_torch, make=partial(DoGTrainer, kind=LDoG))
