"""How a torch optimizer is used in a run; methods override what their authors document differently."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pandas as pd
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from experiments.methods.schedules import factors
from experiments.tasks.task import Problem, Setting


class Trainer:
    """An optimizer, with a learning-rate schedule where it wants one."""

    recovers = False  # whether a loss that is not finite may be part of a good run
    message = ""

    def __init__(
        self, problem: Problem, setting: Setting, optimizer: Optimizer, schedule: str = "constant"
    ) -> None:
        self.problem, self.setting, self.optimizer = problem, setting, optimizer
        self.scheduler: LambdaLR | None = None
        if schedule != "constant":
            self.scheduler = LambdaLR(optimizer, factors(schedule, setting.budget).__getitem__)

    def step(self, loss: Tensor) -> None:
        """Use the gradients that are in the parameters; ``loss`` is a scalar, for those who want it."""
        del loss
        self.optimizer.step()
        if self.scheduler is not None:
            self.scheduler.step()

    @contextmanager
    def deployed(self) -> Iterator[Problem]:
        """The problem at the iterate that the method would return now."""
        yield self.problem

    @property
    def step_size(self) -> float:
        """What multiplies the direction of the last step."""
        return float(self.optimizer.param_groups[0]["lr"])

    @property
    def phase(self) -> str:
        """What the method is doing."""
        return "train"

    def lanes(self, *, failed: bool) -> pd.DataFrame:
        """Further outputs of the run, for grids; see ``sgd_grid``."""
        del failed
        return pd.DataFrame()
