"""Multivariate forecasting: four days of the transformer's seven channels to the next one (ETTh1)."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from experiments.tasks.data import DataDir, verified
from experiments.tasks.networks import DeepTask, LaneNetwork, Split

FILES = ("series/ETTh1.csv.gz",)
CHANNELS = 7
PAST, FUTURE = 96, 24  # hours
MONTH = 30 * 24
TRAIN_END, TEST_START, TEST_END = 12 * MONTH, 16 * MONTH, 20 * MONTH  # Zhou et al., 2021; between: validation


def etth1(data_dir: DataDir) -> Split:
    """Windows of the past (windows, 7, 96) and the future (windows, 7, 24), scaled by the training months.

    The split is chronological; the past of the first test window lies before the test months.
    """
    path = verified(FILES[0], data_dir)
    table = np.loadtxt(path, delimiter=",", skiprows=1, usecols=range(1, 1 + CHANNELS), dtype=np.float32)
    mean, std = table[:TRAIN_END].mean(0), table[:TRAIN_END].std(0)
    series = torch.from_numpy((table - mean) / std)
    train = series[:TRAIN_END].unfold(0, PAST + FUTURE, 1)
    test = series[TEST_START - PAST : TEST_END].unfold(0, PAST + FUTURE, 1)
    return Split(train[..., :PAST], train[..., PAST:], test[..., :PAST], test[..., PAST:])


class Forecaster(nn.Module):
    """A perceptron on the past of all channels, relative to each channel's last value."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.direct = nn.Linear(PAST, FUTURE)
        self.mixed = nn.Sequential(
            nn.Flatten(), nn.Linear(CHANNELS * PAST, hidden), nn.GELU(), nn.Linear(hidden, CHANNELS * FUTURE)
        )

    def forward(self, past: Tensor) -> Tensor:
        """Past (rows, 7, 96) to future (rows, 7, 24)."""
        last = past[..., -1:]
        relative = past - last
        return last + self.direct(relative) + self.mixed(relative).view(-1, CHANNELS, FUTURE)


def task(name: str, data_dir: DataDir, device: torch.device, *, hidden: int) -> DeepTask:
    """Forecasting; value and test metric are mean squared errors of the scaled channels."""
    load, build = partial(etth1, data_dir), partial(Forecaster, hidden)
    return LaneNetwork(name, load, build, F.mse_loss, "loss", device=device)
