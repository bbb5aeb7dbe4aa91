"""A finite-sum convex objective over many parameters at once.

The lanes of a learning-rate grid run as one batched computation: sum the values, call backward once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from experiments.tasks.sparse import SparseRows
from experiments.tasks.task import Problem, cross_entropy, sample_batches

Features = Tensor | SparseRows
LossKind = Literal["logistic", "softmax", "hinge", "squared", "absolute"]

_LANES_AT_ONCE = 32  # bounds the memory of a full-data evaluation


class LinearProblem(Problem):
    """One parameter of a ``ConvexTask``, to be trained by any torch optimizer."""

    def __init__(self, task: ConvexTask) -> None:
        super().__init__()
        self.task = task
        self.w = nn.Parameter(task.x0)

    def forward(self, rows: Tensor) -> Tensor:
        """Mini-batch objective, a scalar; ``rows`` has shape (batch,)."""
        return self.task.loss(self.w, rows)

    @torch.no_grad()
    def score(self) -> tuple[float, float]:
        """Full-data objective, and test accuracy (NaN where there are no classes)."""
        return self.task.objective(self.w).item(), self.task.accuracy(self.w).item()

    @torch.no_grad()
    def predictions(self) -> tuple[Tensor, Tensor] | None:
        """Predicted and true class of the held-out rows."""
        if self.task.test is None:
            return None
        features, targets = self.task.test
        return self.task.predict(self.w, features), targets


@dataclass(frozen=True, eq=False)
class ConvexTask:
    """Mean loss of a linear model over ``n`` rows, plus ``l2 / 2`` times the squared norm of the parameter.

    Attributes:
        name: Key of the registry.
        loss_kind: The loss of one row; ``squared`` is half the squared residual.
        features: Shape (n, d), float64; the last column is the intercept. Sparse rows have no softmax.
        targets: Shape (n,); -1 or 1 (logistic, hinge), class index (softmax), or a real number.
        shape: Shape of the parameter: (d,), or (d, classes) for softmax.
        l2: Weight of the penalty, intercept included.
        test: Held-out features and targets, where the task has classes.
    """

    name: str
    loss_kind: LossKind
    features: Features
    targets: Tensor
    shape: tuple[int, ...]
    l2: float = 0.0
    test: tuple[Features, Tensor] | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> ConvexTask:
        return self

    def problem(self, seed: int = 0) -> LinearProblem:
        """The module to train; the initial parameter is zero whatever the seed."""
        del seed
        return LinearProblem(self)

    def lane_params(self, lanes: int, seed: int = 0) -> list[Tensor]:
        """Initial parameters of ``lanes`` runs: one tensor, shape (lanes, *shape)."""
        del seed
        return [self.x0.repeat(lanes, *[1] * len(self.shape))]

    def lane_grads(self, params: list[Tensor], rows: Tensor) -> Sequence[Tensor]:
        """Mini-batch gradient of every lane, shapes of ``params``."""
        w = params[0].detach().requires_grad_()
        return torch.autograd.grad(self.loss(w, rows).sum(), [w])

    def lane_scores(self, params: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Full-data objective and test accuracy, one of each per lane."""
        return self.objective(params[0]), self.accuracy(params[0])

    @property
    def x0(self) -> Tensor:
        """The initial parameter: zeros of shape ``shape``."""
        return torch.zeros(self.shape, dtype=torch.float64)

    def loss(self, w: Tensor, rows: Tensor) -> Tensor:
        """Mini-batch objective.

        Args:
            w: Parameters, shape (*lanes, *shape).
            rows: Row indices, shape (batch,), int64.

        Returns:
            One value per lane, shape lanes.
        """
        return self._penalised(w, self.features[rows], self.targets[rows])

    def objective(self, w: Tensor) -> Tensor:
        """Full-data objective of ``w`` of shape (*lanes, *shape); one value per lane."""
        lanes = w.shape[: w.dim() - len(self.shape)]
        chunks = w.reshape(-1, *self.shape).split(_LANES_AT_ONCE)
        return torch.cat([self._penalised(c, self.features, self.targets) for c in chunks]).reshape(lanes)

    def accuracy(self, w: Tensor) -> Tensor:
        """Share of the held-out rows that each lane classifies correctly; NaN where there are no classes."""
        lanes = w.shape[: w.dim() - len(self.shape)]
        if self.test is None:
            return torch.full(lanes, torch.nan, dtype=torch.float64)
        features, targets = self.test
        return (self.predict(w, features) == targets).double().mean(dim=-1)

    def predict(self, w: Tensor, features: Features) -> Tensor:
        """Class of every row under every lane, shape (*lanes, rows): an index (softmax), or -1 and 1."""
        scores = self._scores(w, features)
        return scores.argmax(dim=-1) if self.loss_kind == "softmax" else scores.sign()

    @property
    def test_metric(self) -> str:
        """Accuracy, where there are classes."""
        return "" if self.test is None else "accuracy"

    def batches(self, seed: int, steps: int, batch_size: int = 16) -> Tensor:
        """Row indices of a run, shape (steps, batch_size): with replacement, the same for every method."""
        return sample_batches(len(self.targets), seed, steps, batch_size)

    def _scores(self, w: Tensor, features: Features) -> Tensor:
        """Linear model: shape (*lanes, rows), or (*lanes, rows, classes) for softmax."""
        if isinstance(features, SparseRows):
            return features.dot(w)
        return w @ features.T if len(self.shape) == 1 else features @ w

    def _penalised(self, w: Tensor, features: Features, targets: Tensor) -> Tensor:
        """Mean row loss plus penalty, one value per lane."""
        value = self._row_losses(self._scores(w, features), targets).mean(dim=-1)
        if self.l2:
            flat = w.flatten(-len(self.shape))
            value = value + 0.5 * self.l2 * torch.linalg.vecdot(flat, flat)
        return value

    def _row_losses(self, scores: Tensor, targets: Tensor) -> Tensor:
        """Loss of every row, shape (*lanes, rows)."""
        match self.loss_kind:
            case "logistic":
                return -F.logsigmoid(targets * scores)
            case "hinge":
                return (1.0 - targets * scores).clamp_min(0.0)
            case "squared":
                return 0.5 * (scores - targets).square()
            case "absolute":
                return (scores - targets).abs()
            case "softmax":
                return cross_entropy(scores, targets)
