"""The problems that faults are injected into: small enough that a run takes a fraction of a second."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor, nn
from torch.nn import functional

STEPS = 120  # gradients of a run
ROWS, BATCH = 96, 8
NOISE_ERRORS = 3.0  # standard errors of the mean of the first losses: more is worse than the start


class Problem(nn.Module, ABC):
    """Weights and data; ``batches`` has the rows of every step, so that a step is resumed with the same ones."""

    names: tuple[str, ...] = ()  # of the parameters, the first of which is what a scenario freezes or removes
    sparse = False  # whether gradients are

    def __init__(self, draw: Generator) -> None:
        super().__init__()
        rows = [draw.permutation(ROWS) for _ in range(-(-STEPS * BATCH // ROWS))]
        self.batches = torch.as_tensor(np.concatenate(rows)[: STEPS * BATCH].reshape(STEPS, BATCH))
        self.data = self._make(draw)
        self.start, self.noise = self.value(), self._noise()

    @abstractmethod
    def _make(self, draw: Generator) -> tuple[Tensor, Tensor]:
        """Make the weights, and return inputs and targets."""

    @abstractmethod
    def errors(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """The loss of each row."""

    def loss(self, step: int) -> Tensor:
        """The mean loss of a step's rows, in the weights' dtype."""
        rows = self.batches[step]
        return self.errors(self.data[0][rows], self.data[1][rows]).mean()

    @torch.no_grad()
    def value(self) -> float:
        """The mean loss of all rows."""
        return float(self.errors(*self.data).double().mean())

    @torch.no_grad()
    def _noise(self) -> float:
        """The standard error of the mean of the losses that a run sees, at the start."""
        each = self.errors(*self.data).double()
        return float(each.std()) / (STEPS * BATCH) ** 0.5

    def is_worse(self, end: float) -> bool:
        """Whether a run ends worse than it began, by more than noise explains; NaN and infinity do."""
        return not end <= self.start + NOISE_ERRORS * self.noise


class Logistic(Problem):
    """Logistic regression in ten dimensions, scaled over two decades, with flipped labels."""

    names = ("weight", "bias")

    def _make(self, draw: Generator) -> tuple[Tensor, Tensor]:
        inputs = draw.normal(size=(ROWS, 10)) * np.logspace(-1, 1, 10)
        labels = (inputs @ draw.normal(size=10) > 0) ^ (draw.random(ROWS) < 0.1)
        self.weight, self.bias = nn.Parameter(torch.zeros(10)), nn.Parameter(torch.zeros(1))
        return _tensor(inputs), _tensor(labels)

    def errors(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropy."""
        logits = inputs.to(self.weight.dtype) @ self.weight + self.bias
        return functional.binary_cross_entropy_with_logits(logits, targets.to(logits.dtype), reduction="none")


class Network(Problem):
    """Two layers that fit a smooth function with noise."""

    names = ("first", "first_bias", "second", "second_bias")

    def _make(self, draw: Generator) -> tuple[Tensor, Tensor]:
        inputs = draw.normal(size=(ROWS, 4))
        targets = np.sin(inputs @ draw.normal(size=4)) + 0.1 * draw.normal(size=ROWS)
        shapes = ((8, 4), (8,), (1, 8), (1,))
        weights = [nn.Parameter(_tensor(draw.normal(size=shape) / 2)) for shape in shapes]
        self.first, self.first_bias, self.second, self.second_bias = weights
        return _tensor(inputs), _tensor(targets)

    def errors(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Squared errors, halved."""
        hidden = torch.tanh(functional.linear(inputs.to(self.first.dtype), self.first, self.first_bias))
        return (functional.linear(hidden, self.second, self.second_bias)[:, 0] - targets) ** 2 / 2


class Embedding(Problem):
    """Bags of words, some of them rare, and a linear layer on their sums."""

    names = ("table", "head")

    def _make(self, draw: Generator) -> tuple[Tensor, Tensor]:
        words = np.minimum(draw.zipf(1.5, size=(ROWS, 5)), 30) - 1
        self.table = nn.Parameter(_tensor(draw.normal(size=(30, 3)) / 2))
        self.head = nn.Parameter(_tensor(draw.normal(size=(1, 3))))
        return torch.as_tensor(words), _tensor(draw.normal(size=30)[words].sum(1) > 0)

    def errors(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropy."""
        sums = functional.embedding_bag(inputs, self.table, mode="sum", sparse=self.sparse)
        logits = functional.linear(sums, self.head)[:, 0]
        return functional.binary_cross_entropy_with_logits(logits, targets.to(logits.dtype), reduction="none")


class SparseEmbedding(Embedding):
    """The same, with sparse gradients."""

    sparse = True


PROBLEMS: dict[str, type[Problem]] = {
    "logistic": Logistic,
    "network": Network,
    "embedding": Embedding,
    "sparse-embedding": SparseEmbedding,
}


def _tensor(array: np.ndarray) -> Tensor:
    return torch.as_tensor(np.asarray(array, np.float32))
