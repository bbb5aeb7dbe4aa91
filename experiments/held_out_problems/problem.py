"""A training problem: a model, the loss of batches that are drawn as it trains, and the two losses it ends at."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from experiments.tasks.networks import Loss, Split

Rows = tuple[Tensor, Tensor]  # inputs (rows, ...) and targets (rows, ...)
_STATISTICS_ROWS = 100  # of a forward pass that estimates batch norm's statistics
_EVALUATION_SEED = 987


@dataclass(frozen=True, eq=False)
class Problem:
    """A model that is to be trained; every random number of a step depends on the seed and the step only.

    Attributes:
        seed: Of the batches, and of the model's initial weights.
        model: What is trained: those of its parameters that require a gradient.
        draw: Loss of one batch, drawn from torch's global generator.
        training: The loss that is to become small: of all rows, or of many where there is no end of them.
        held_out: The same loss where the model was not trained, or the distance to what it should find.
        statistics: Inputs that batch norm's statistics are estimated on; None where there is no batch norm.
        largest_norm: What gradients are clipped to, as a whole; None where they are not.
    """

    seed: int
    model: nn.Module
    draw: Callable[[], Tensor]
    training: Callable[[], Tensor]
    held_out: Callable[[], Tensor]
    statistics: Tensor | None = None
    largest_norm: float | None = None

    def parameters(self) -> list[nn.Parameter]:
        """The parameters that are trained."""
        return [parameter for parameter in self.model.parameters() if parameter.requires_grad]

    def batch_loss(self, step: int) -> Tensor:
        """Loss of the batch of a step, a scalar; the batch is the same for every method."""
        torch.manual_seed(1_000_003 * (self.seed + 1) + step)
        return self.draw()

    def losses(self) -> tuple[float, float]:
        """Training and held-out loss in evaluation mode; infinite where they are not finite."""
        return self._evaluated(self.training), self._evaluated(self.held_out)

    def recalibrate(self) -> None:
        """Estimate batch norm's statistics at the parameters as they stand: an average never saw a batch."""
        if self.statistics is not None:
            update_bn(self.statistics.split(_STATISTICS_ROWS), self.model)

    def _evaluated(self, loss: Callable[[], Tensor]) -> float:
        mode = self.model.training
        self.model.eval()
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(_EVALUATION_SEED)
            value = loss().item()
        self.model.train(mode)
        return value if math.isfinite(value) else math.inf


def generator(seed: int) -> torch.Generator:
    """A generator for data, which are the same at every seed of the problem."""
    return torch.Generator().manual_seed(seed)


def pick(rows: Tensor, count: int) -> Tensor:
    """``count`` of the rows, with replacement, by the global generator."""
    return rows[torch.randint(len(rows), (count,))]


def supervised(
    seed: int,
    model: nn.Module,
    split: Split,
    loss: Loss,
    batch_size: int,
    *,
    statistics: Tensor | None = None,
) -> Problem:
    """Mean ``loss`` of outputs and targets over the rows of ``split``."""

    def draw() -> Tensor:
        rows = torch.randint(len(split.inputs), (batch_size,))
        return loss(model(split.inputs[rows]), split.targets[rows])

    def training() -> Tensor:
        return loss(model(split.inputs), split.targets)

    def held_out() -> Tensor:
        return loss(model(split.test_inputs), split.test_targets)

    return Problem(seed, model, draw, training, held_out, statistics)


def self_supervised(
    seed: int,
    model: nn.Module,
    rows: Tensor,
    held_out: Tensor,
    loss: Callable[[Tensor], Tensor],
    batch_size: int,
) -> Problem:
    """Mean ``loss`` over rows that have no targets."""
    return Problem(
        seed, model, lambda: loss(pick(rows, batch_size)), lambda: loss(rows), lambda: loss(held_out)
    )


def streamed(
    seed: int, model: nn.Module, fixed: Split, loss: Loss, sample: Callable[[int], Rows], batch_size: int
) -> Problem:
    """Mean ``loss`` of outputs and targets over rows that ``sample`` draws anew, measured on ``fixed`` ones."""

    def draw() -> Tensor:
        inputs, targets = sample(batch_size)
        return loss(model(inputs), targets)

    return replace(supervised(seed, model, fixed, loss, batch_size), draw=draw)
