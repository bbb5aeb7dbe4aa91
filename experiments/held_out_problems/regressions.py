"""Regressions: targets in large units, heavy tails, a penalty with kinks, and a deep network without bends."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from experiments.held_out_problems.data import parted, shuffled, standardised
from experiments.held_out_problems.networks import perceptron
from experiments.held_out_problems.problem import Problem, generator, supervised

_UNIT, _BASE = 1000.0, 50_000.0  # of a target that is measured in money


def raw_targets(seed: int) -> Problem:
    """Squared errors of targets around 200,000, which nobody standardised."""
    split = standardised(shuffled("diabetes", 100))

    def money(targets: Tensor) -> Tensor:
        return (_UNIT * targets + _BASE)[:, None]

    split = split._replace(targets=money(split.targets), test_targets=money(split.test_targets))
    return supervised(seed, perceptron(10, 64, 64, 1), split, F.mse_loss, 32)


def deep_linear(seed: int) -> Problem:
    """Six linear layers in a row, on features of unequal size."""
    random = generator(10)
    features = torch.randn(1000, 16, generator=random) * torch.logspace(0, -1.5, 16)
    targets = features @ torch.randn(16, 4, generator=random) + 0.05 * torch.randn(1000, 4, generator=random)
    layers = [nn.Linear(16, 16, bias=False) for _ in range(5)]
    model = nn.Sequential(*layers, nn.Linear(16, 4, bias=False))
    return supervised(seed, model, parted(features, targets, 800), F.mse_loss, 32)


def huber(seed: int) -> Problem:
    """A linear model by Huber's loss, under noise that has no variance."""
    random = generator(15)
    features = torch.randn(2000, 50, generator=random)
    noise = torch.randn(2000, generator=random) / torch.rand(2000, generator=random)
    targets = (features @ torch.randn(50, generator=random) + noise)[:, None]
    return supervised(seed, nn.Linear(50, 1), parted(features, targets, 1500), F.huber_loss, 32)


def lasso(seed: int) -> Problem:
    """Eight of a hundred coefficients, by subgradients of a penalty on their absolute values."""
    random = generator(18)
    features, coefficients = torch.randn(600, 100, generator=random), torch.zeros(100)
    coefficients[:8] = 2 * torch.randn(8, generator=random)
    targets = (features @ coefficients + 0.5 * torch.randn(600, generator=random))[:, None]
    model = nn.Linear(100, 1, bias=False)

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        return 0.5 * F.mse_loss(outputs, targets) + 0.1 * model.weight.abs().sum()

    return supervised(seed, model, parted(features, targets, 500), loss, 16)
