"""What every task offers: a module to train, the batches of a run, and for some of them many runs at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Setting:
    """How a task is run, the same for every method.

    Attributes:
        budget: Mini-batch gradients of one run.
        batch_size: Rows of a mini-batch.
        momentum: Normalised momentum, for the methods that have it.
        schedule: Learning-rate schedule of the grid and of the peers that want one.
        time_limit: Seconds of training after which a run is given up.
    """

    budget: int
    batch_size: int = 16
    momentum: float = 0.0
    schedule: str = "linear"
    time_limit: float = float("inf")


class Task(Protocol):
    """A problem that methods are compared on; data order and initial point depend on the seed only."""

    @property
    def name(self) -> str:
        """Key of the registry."""
        ...

    @property
    def minimum(self) -> float:
        """The smallest value of the objective; 0 where it is not known."""
        ...

    @property
    def test_metric(self) -> str:
        """What is measured on held-out rows: "accuracy", "loss", or "" where nothing is held out."""
        ...

    def problem(self, seed: int) -> Problem:
        """A fresh module at the initial point."""
        ...

    def batches(self, seed: int, steps: int, batch_size: int) -> Tensor:
        """Row indices of a run, shape (steps, batch_size)."""
        ...


@runtime_checkable
class LaneTask(Task, Protocol):
    """A task that trains many runs (lanes) as one batched computation."""

    def lane_params(self, lanes: int, seed: int) -> list[Tensor]:
        """Initial parameters of ``lanes`` runs, each of shape (lanes, ...)."""
        ...

    def lane_grads(self, params: list[Tensor], rows: Tensor) -> Sequence[Tensor]:
        """Mini-batch gradient of every lane, shapes of ``params``."""
        ...

    def lane_scores(self, params: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Full-data objective and test metric, each of shape (lanes,)."""
        ...


def with_lanes(task: Task) -> LaneTask:
    """The task itself, if it has lanes."""
    if not isinstance(task, LaneTask):
        raise ValueError(f"{task.name} trains one run at a time: use the methods sgd and adamw")
    return task


class Problem(nn.Module):
    """A model with its task: ``forward(rows)`` is the mini-batch objective of the rows, a scalar."""

    def score(self) -> tuple[float, float]:
        """Objective on the training rows, and the test metric (NaN where nothing is held out)."""
        raise NotImplementedError

    def predictions(self) -> tuple[Tensor, Tensor] | None:
        """Predicted and true class of the held-out rows, each of shape (rows,); None without classes."""
        return None


def sample_batches(num_rows: int, seed: int, steps: int, batch_size: int) -> Tensor:
    """Row indices with replacement, shape (steps, batch_size), int64."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(num_rows, (steps, batch_size), generator=generator)


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Loss of every row, shape (*lanes, rows), of logits (*lanes, rows, classes) and labels (rows,)."""
    labels = labels.expand(logits.shape[:-1])
    losses = F.cross_entropy(
        logits.reshape(-1, *logits.shape[-2:]).mT, labels.reshape(-1, labels.shape[-1]), reduction="none"
    )
    return losses.reshape(labels.shape)
