"""Signals: a picture as a function, a picture without its noise, and a pendulum's motion."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from experiments.held_out_problems.data import digits
from experiments.held_out_problems.networks import perceptron
from experiments.held_out_problems.problem import Problem, Rows, generator, self_supervised, supervised
from experiments.tasks.networks import Split

_FREQUENCY = 15.0  # of sines
_NOISE = 0.4
_SPACING = 0.2  # seconds between two states that are given
_GIVEN = 10  # states after the first one


class Siren(nn.Module):
    """Points (rows, 2) to brightness (rows, 1) by layers of sines, with their own weights (Sitzmann et al., 2020)."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        first, *inner = nn.Linear(2, width), nn.Linear(width, width), nn.Linear(width, width)
        self.layers, self.head = nn.ModuleList([first, *inner]), nn.Linear(width, 1)
        nn.init.uniform_(first.weight, -0.5, 0.5)
        bound = (6 / width) ** 0.5 / _FREQUENCY
        for layer in (*inner, self.head):
            nn.init.uniform_(layer.weight, -bound, bound)

    def forward(self, points: Tensor) -> Tensor:
        """Brightness."""
        for layer in self.layers:
            points = torch.sin(_FREQUENCY * layer(points))
        return self.head(points)


def siren(seed: int) -> Problem:
    """A picture of rings, a corner and waves."""

    def rows(side: int) -> Rows:
        axis = torch.linspace(-1, 1, side)
        points = torch.cartesian_prod(axis, axis)
        x, y = points.unbind(1)
        corner = ((x > 0.1) & (y < 0.3)).float()
        brightness = torch.sin(9 * points.norm(dim=1)) + 0.5 * corner + 0.3 * torch.sin(14 * x * y)
        return points, brightness[:, None]

    return supervised(seed, Siren(), Split(*rows(50), *rows(33)), F.mse_loss, 256)


def _convolution(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1), nn.GroupNorm(4, outputs), nn.SiLU())


class UNet(nn.Module):
    """Pictures (rows, 64) to the same shape, by way of half the resolution (Ronneberger et al., 2015)."""

    def __init__(self) -> None:
        super().__init__()
        self.first = _convolution(1, 16)
        self.inner = nn.Sequential(
            _convolution(16, 32, 2), _convolution(32, 32), nn.ConvTranspose2d(32, 16, 2, 2)
        )
        self.last = nn.Sequential(_convolution(32, 16), nn.Conv2d(16, 1, 3, padding=1))

    def forward(self, pixels: Tensor) -> Tensor:
        """Pixels."""
        first = self.first(pixels.view(-1, 1, 8, 8))
        return self.last(torch.cat([first, self.inner(first)], 1)).flatten(1)


def denoising(seed: int) -> Problem:
    """Digits from digits with noise."""
    split, model = digits(), UNet()

    def loss(pixels: Tensor) -> Tensor:
        return F.mse_loss(model(pixels + _NOISE * torch.randn(pixels.shape)), pixels)

    return self_supervised(seed, model, split.inputs, split.test_inputs, loss, 32)


class Motion(nn.Module):
    """States (rows, 2) to the states (rows, _GIVEN, 2) that follow, by midpoint steps of a learned velocity."""

    def __init__(self) -> None:
        super().__init__()
        self.velocity = perceptron(3, 32, 32, 2, activation=nn.Tanh)

    def forward(self, state: Tensor) -> Tensor:
        """The states that follow."""
        states = []
        for _ in range(_GIVEN):
            middle = state + _SPACING / 2 * self._velocity(state)
            state = state + _SPACING * self._velocity(middle)
            states.append(state)
        return torch.stack(states, 1)

    def _velocity(self, state: Tensor) -> Tensor:
        return self.velocity(torch.cat([state, state[:, :1].sin()], 1))


def pendulum(seed: int) -> Problem:
    """A damped pendulum's equation of motion, from its states (Chen et al., 2018)."""
    random, finer = generator(11), 20

    def trajectories(count: int) -> Rows:
        state = first = 1.5 * torch.randn(count, 2, generator=random)
        states = []
        for _ in range(_GIVEN * finer):
            angle, speed = state.unbind(1)
            change = torch.stack([speed, -angle.sin() - 0.1 * speed], 1)
            state = state + _SPACING / finer * change
            states.append(state)
        return first, torch.stack(states[finer - 1 :: finer], 1)

    return supervised(seed, Motion(), Split(*trajectories(300), *trajectories(100)), F.mse_loss, 32)
