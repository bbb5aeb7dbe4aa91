"""Networks whose training draws random numbers, and networks of which a part stands still."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from experiments.tasks.networks import DeepProblem, DeepTask

_STRIDE = 1_000_003  # between the seeds of two runs; no run has so many steps


class SeededProblem(DeepProblem):
    """A network with dropout, augmentation or an environment.

    What a step draws depends on the seed and the step only, so that it is the same for every method.
    """

    def __init__(self, task: SeededTask, seed: int) -> None:
        super().__init__(task)
        self.seed, self.l2, self.step = seed, task.l2, 0

    def forward(self, rows: Tensor) -> Tensor:
        """Mini-batch objective of the next step, with the penalty; ``rows`` has shape (batch,)."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(_STRIDE * (self.seed + 1) + self.step)
            loss = super().forward(rows)
        self.step += 1
        if self.l2:
            loss = loss + self.l2 / 2 * sum(p.square().sum() for p in self.parameters() if p.dim() > 1)
        return loss

    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]:
        """Those that are trained: what an optimizer is given."""
        return (p for p in super().parameters(recurse) if p.requires_grad)

    def predictions(self) -> tuple[Tensor, Tensor] | None:
        """Predicted and true class of the held-out rows, each of shape (rows,)."""
        with torch.random.fork_rng(devices=[]):
            return super().predictions()

    def score(self) -> tuple[float, float]:
        """Loss on training rows without the penalty, and the test metric; what they draw is the same each time."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(_STRIDE)
            return super().score()


@dataclass(frozen=True, eq=False)
class SeededTask(DeepTask):
    """A network of ``SeededProblem``.

    Attributes:
        l2: Weight decay: half of this times the squared entries of all matrices is part of the loss that is trained
            on, for every method alike, and no part of what is reported.
    """

    l2: float = 0.0

    def problem(self, seed: int) -> SeededProblem:
        """A freshly initialised network."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return SeededProblem(self, seed).to(self.device)


@dataclass(frozen=True, eq=False)
class FullBatchTask(SeededTask):
    """All rows at every step."""

    def batches(self, seed: int, steps: int, batch_size: int = 0) -> Tensor:
        """Every row, shape (steps, rows); seed and batch size have no say."""
        del seed, batch_size
        return torch.arange(len(self.split.inputs), device=self.device).expand(steps, -1)
