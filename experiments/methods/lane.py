"""One run of ``torch.optim.SGD`` or ``AdamW`` at one learning rate, as a user writes it: a lane of a grid."""

from __future__ import annotations

import math
from functools import partial

import pandas as pd
import torch
from torch import Tensor
from torch.optim import SGD, AdamW

from experiments.methods.run import run_torch
from experiments.methods.schedules import GAMMAS, average_name, average_weight
from experiments.methods.trainer import Trainer
from experiments.tasks.task import Problem, Setting


class LaneTrainer(Trainer):
    """The last iterate is returned; polynomial averages are kept beside it where the grid wants them."""

    def __init__(
        self,
        problem: Problem,
        setting: Setting,
        *,
        learning_rate: float = 0.01,
        schedule: str | None = None,
        momentum: float | None = None,
        gammas: tuple[float, ...] = (),
        adam: bool = False,
    ) -> None:
        self.learning_rate, self.schedule = learning_rate, schedule or setting.schedule
        self.momentum = setting.momentum if momentum is None else momentum
        params: list[Tensor] = list(problem.parameters())
        if adam:
            optimizer = AdamW(params, lr=learning_rate)
        else:
            optimizer = SGD(params, lr=learning_rate, momentum=self.momentum, dampening=self.momentum)
        super().__init__(problem, setting, optimizer, self.schedule)
        self.params = params
        self.averages = {gamma: [p.detach().clone() for p in params] for gamma in gammas}
        self.count = 0

    @torch.no_grad()
    def step(self, loss: Tensor) -> None:
        """A step, and the averages after it."""
        super().step(loss)
        self.count += 1
        for gamma, average in self.averages.items():
            _lerp(average, self.params, average_weight(gamma, self.count))

    @torch.no_grad()
    def lanes(self, *, failed: bool) -> pd.DataFrame:
        """One row per output, as of ``sgd_grid``."""
        last = [p.detach().clone() for p in self.params]
        rows = [("last", *_scored(self.problem, failed))]
        for gamma, average in self.averages.items():
            _lerp(self.params, average, 1.0)
            rows.append((average_name(gamma), *_scored(self.problem, failed)))
        _lerp(self.params, last, 1.0)
        return pd.DataFrame(rows, columns=["output", "value", "test"]).assign(
            learning_rate=self.learning_rate,
            schedule=self.schedule,
            momentum=self.momentum,
            num_grad_evals=self.setting.budget,
        )


def _lerp(places: list[Tensor], values: list[Tensor], weight: float) -> None:
    """Move every place by ``weight`` of the way to its value."""
    torch._foreach_lerp_(places, values, weight)  # pyright: ignore[reportPrivateImportUsage]


def _scored(problem: Problem, failed: bool) -> tuple[float, float]:
    if failed:
        return math.inf, math.nan
    value, test = problem.score()
    return (value, test) if math.isfinite(value) else (math.inf, test)


run_sgd = partial(run_torch, make=LaneTrainer)
run_sgd_lane = partial(run_torch, make=partial(LaneTrainer, gammas=GAMMAS))
run_adamw_lane = partial(run_torch, make=partial(LaneTrainer, adam=True))
