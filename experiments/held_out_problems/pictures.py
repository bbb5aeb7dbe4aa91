"""Pictures out of noise: the noise of a handwritten digit, at any share of it, by a U-Net that is told the share."""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from experiments.held_out_problems.problem import Problem, self_supervised
from experiments.tasks.vision import mnist

_TRAINED_ON, _HELD_OUT = 4000, 1000


@cache
def _pictures() -> tuple[Tensor, Tensor]:
    """MNIST at half its resolution in [-1, 1], shape (rows, 1, 14, 14): to train on, and held out."""
    split = mnist(None)
    train, test = split.inputs[:_TRAINED_ON], split.test_inputs[:_HELD_OUT]
    return 2 * F.avg_pool2d(train, 2) - 1, 2 * F.avg_pool2d(test, 2) - 1


class Timed(nn.Module):
    """A convolution to whose output a projection of the time is added, then a norm: pictures and times to pictures."""

    def __init__(self, inputs: int, outputs: int, times: int, stride: int = 1) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(inputs, outputs, 3, stride, 1)
        self.time, self.norm = nn.Linear(times, outputs), nn.GroupNorm(4, outputs)

    def forward(self, x: Tensor, times: Tensor) -> Tensor:
        """(rows, inputs, side, side) to (rows, outputs, side / stride, side / stride)."""
        return F.silu(self.norm(self.convolution(x) + self.time(times)[..., None, None]))


class TimedUNet(nn.Module):
    """Noisy pictures (rows, 1, side, side) and times (rows,) in [0, 1] to the noise (Ho et al., 2020)."""

    frequencies: Tensor

    def __init__(self, width: int = 8, times: int = 16) -> None:
        super().__init__()
        self.register_buffer("frequencies", torch.logspace(0, 2, times // 2))
        self.times = nn.Sequential(nn.Linear(times, times), nn.SiLU())
        self.first = Timed(1, width, times)
        self.down, self.inner = Timed(width, 2 * width, times, 2), Timed(2 * width, 2 * width, times)
        self.up = nn.ConvTranspose2d(2 * width, width, 2, 2)
        self.last, self.head = Timed(2 * width, width, times), nn.Conv2d(width, 1, 3, padding=1)

    def forward(self, pictures: Tensor, times: Tensor) -> Tensor:
        """The noise."""
        phases = times[:, None] * self.frequencies
        embedded = self.times(torch.cat([phases.sin(), phases.cos()], 1))
        first = self.first(pictures, embedded)
        inner = self.up(self.inner(self.down(first, embedded), embedded))
        return self.head(self.last(torch.cat([first, inner], 1), embedded))


def picture_diffusion(seed: int) -> Problem:
    """Denoising diffusion of handwritten digits, on a schedule of cosines (Nichol & Dhariwal, 2021)."""
    train, test = _pictures()
    model = TimedUNet()

    def loss(pictures: Tensor) -> Tensor:
        times, noise = torch.rand(len(pictures)), torch.randn(pictures.shape)
        angle = (math.pi / 2 * times)[:, None, None, None]
        return F.mse_loss(model(angle.cos() * pictures + angle.sin() * noise, times), noise)

    return self_supervised(seed, model, train, test, loss, 16)
