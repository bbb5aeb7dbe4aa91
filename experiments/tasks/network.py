"""A small network: a multilayer perceptron on scikit-learn's digits, 80 % training and 20 % test rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from experiments.tasks.data import hold_out, load_sklearn
from experiments.tasks.task import Problem, cross_entropy, sample_batches

WIDTHS = (64, 128, 64, 10)


class NetworkProblem(Problem):
    """A perceptron to be trained by any torch optimizer; the objective is the mean cross-entropy."""

    def __init__(self, task: NetworkTask) -> None:
        super().__init__(task)
        self.layers = make_layers()
        self.images, self.labels = task.split[0]

    def forward(self, rows: Tensor) -> Tensor:
        """Mini-batch objective, a scalar; ``rows`` has shape (batch,)."""
        return F.cross_entropy(self.layers(self.images[rows]), self.labels[rows])


def make_layers() -> nn.Sequential:
    """The network: images (rows, 64) to logits (rows, 10)."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(WIDTHS):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


@dataclass(frozen=True, eq=False)
class NetworkTask:
    """Digits classification by a perceptron; images are float32 in [0, 1]."""

    name: str = "digits-network"
    minimum: float = field(default=0.0, init=False)  # not known; the loss itself is reported

    @cached_property
    def split(self) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Training and test part, each images (rows, 64) and labels (rows,)."""
        images, labels = load_sklearn("digits")
        parts = hold_out((images / 16.0, labels))
        train, test = ((torch.from_numpy(x).float(), torch.from_numpy(y).long()) for x, y in parts)
        return train, test

    def problem(self, seed: int) -> NetworkProblem:
        """A freshly initialised network."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return NetworkProblem(self)

    def batches(self, seed: int, steps: int, batch_size: int = 32) -> Tensor:
        """Row indices of a run, shape (steps, batch_size): with replacement, the same for every method."""
        return sample_batches(len(self.split[0][1]), seed, steps, batch_size)

    def lane_params(self, lanes: int, seed: int) -> list[Tensor]:
        """``lanes`` copies of the initial parameters, each of shape (lanes, *shape)."""
        return [p.detach().expand(lanes, *p.shape).clone() for p in self.problem(seed).parameters()]

    def lane_grads(self, params: list[Tensor], rows: Tensor) -> Sequence[Tensor]:
        """Mini-batch gradient of every lane, shapes of ``params``."""
        images, labels = self.split[0]
        params = [p.detach().requires_grad_() for p in params]
        losses = cross_entropy(_lane_logits(params, images[rows]), labels[rows]).mean(dim=-1)
        return torch.autograd.grad(losses.sum(), params)

    def lane_scores(self, params: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Training loss and test accuracy, each of shape (lanes,)."""
        (images, labels), (test_images, test_labels) = self.split
        correct = _lane_logits(params, test_images).argmax(dim=-1) == test_labels
        losses = cross_entropy(_lane_logits(params, images), labels)
        return losses.mean(dim=-1), correct.double().mean(dim=-1)


def _lane_logits(params: list[Tensor], images: Tensor) -> Tensor:
    """Logits of every lane, shape (lanes, rows, 10); ``params`` alternates weights and biases."""
    hidden = images
    for weight, bias in zip(params[::2], params[1::2], strict=True):
        if hidden is not images:
            hidden = hidden.relu()
        hidden = hidden @ weight.mT + bias.unsqueeze(1)
    return hidden
