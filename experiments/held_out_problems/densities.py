"""Densities: a flow, a variational posterior, and the hyperparameters of a Gaussian process."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from experiments.held_out_problems.data import shuffled, standardised
from experiments.held_out_problems.networks import perceptron
from experiments.held_out_problems.problem import Problem, generator, pick, self_supervised

_JITTER = 1e-4  # of the noise's variance, at least


class Flow(nn.Module):
    """Affine couplings of two coordinates (RealNVP, Dinh et al., 2017): log density (rows,) of points (rows, 2)."""

    def __init__(self, couplings: int) -> None:
        super().__init__()
        self.networks = nn.ModuleList(perceptron(1, 64, 64, 2, activation=nn.Tanh) for _ in range(couplings))

    def forward(self, points: Tensor) -> Tensor:
        """Log density."""
        fixed, moved = points.split(1, 1)
        stretch = torch.zeros_like(moved)
        for network in self.networks:
            scale, shift = network(fixed).split(1, 1)
            scale = 2 * scale.tanh()
            fixed, moved = moved * scale.exp() + shift, fixed
            stretch = stretch + scale
        normal = -0.5 * (fixed**2 + moved**2) - math.log(2 * math.pi)
        return (normal + stretch)[:, 0]


def _moons(count: int, random: torch.Generator) -> Tensor:
    """Points (count, 2) on two arcs, with noise."""
    angle = math.pi * torch.rand(count, generator=random)
    arc = torch.stack([angle.cos(), angle.sin()], 1)
    second = torch.rand(count, 1, generator=random) < 0.5
    points = torch.where(second, torch.tensor([1.0, 0.5]) - arc, arc)
    return points + 0.08 * torch.randn(count, 2, generator=random)


def flow(seed: int) -> Problem:
    """The density of two moons."""
    model = Flow(6)
    train, test = _moons(3000, generator(7)), _moons(1000, generator(8))
    return self_supervised(seed, model, train, test, lambda points: -model(points).mean(), 128)


def posterior(seed: int) -> Problem:
    """A Gaussian posterior of a logistic model, by one sample of its weights a step."""
    split = standardised(shuffled("breast_cancer", 150))
    features, classes = F.pad(split.inputs, (0, 1), value=1.0), split.targets.float()
    count, width = features.shape
    model = nn.ParameterList([torch.zeros(width), torch.full((width,), -1.0)])

    def loss(rows: Tensor, samples: int = 1) -> Tensor:
        """Negative evidence bound per row."""
        mean, log_deviation = model
        weights = mean + log_deviation.exp() * torch.randn(samples, width)
        targets = classes[rows][:, None].expand(-1, samples)
        error = F.binary_cross_entropy_with_logits(features[rows] @ weights.T, targets)
        divergence = 0.5 * (mean**2 + (2 * log_deviation).exp() - 2 * log_deviation - 1).sum()
        return error + divergence / count

    every = torch.arange(count)
    return Problem(
        seed,
        model,
        draw=lambda: loss(pick(every, 32)),
        training=lambda: loss(every, 256),
        held_out=lambda: loss(every, 64),
    )


def gaussian_process(seed: int) -> Problem:
    """Length scales, height and noise of a Gaussian process by its marginal likelihood, with exact gradients."""
    random, count = generator(12), 80
    points = 4 * torch.rand(count, 3, generator=random, dtype=torch.float64)
    targets = torch.sin(2 * points[:, 0]) + 0.3 * points[:, 1]
    targets = targets + 0.1 * torch.randn(count, generator=random, dtype=torch.float64)
    model = nn.ParameterList([0.3 * torch.randn(size, dtype=torch.float64) for size in (3, 2)])
    identity = torch.eye(count, dtype=torch.float64)

    def loss() -> Tensor:
        """Negative log-likelihood per point, but for a constant; NaN where the covariance is singular."""
        log_lengths, (log_height, log_noise) = model
        scaled = points / log_lengths.exp()
        distances = (scaled[:, None] - scaled).square().sum(-1)
        covariance = log_height.exp() * (-0.5 * distances).exp() + (log_noise.exp() + _JITTER) * identity
        root, failed = torch.linalg.cholesky_ex(covariance)
        residual = torch.linalg.solve_triangular(root, targets[:, None], upper=False)
        value = (0.5 * residual.square().sum() + root.diagonal().log().sum()) / count
        return value + torch.where(failed > 0, torch.nan, 0.0)

    return Problem(seed, model, loss, loss, loss)
