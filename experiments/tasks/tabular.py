"""A table: the MAGIC gamma telescope (19020 showers, 10 measurements, gamma or hadron)."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from sklearn.preprocessing import QuantileTransformer

from experiments.tasks.data import DataDir, hold_out, verified
from experiments.tasks.networks import DeepTask, LaneNetwork, Split
from experiments.tasks.vision import perceptron

FILES = ("tabular/magic04.csv.gz",)
FEATURES = 10


def magic04(data_dir: DataDir) -> Split:
    """Measurements as normal scores of the training rows, shape (rows, 10), and classes."""
    table = np.loadtxt(verified(FILES[0], data_dir), delimiter=",", dtype=str)
    features, labels = table[:, :FEATURES].astype(np.float64), (table[:, FEATURES] == "g").astype(np.float64)
    (x, y), (test_x, test_y) = hold_out((features, labels))
    scores = QuantileTransformer(output_distribution="normal", random_state=0).fit(x)
    inputs = [torch.from_numpy(scores.transform(part)).float() for part in (x, test_x)]
    return Split(inputs[0], torch.from_numpy(y).long(), inputs[1], torch.from_numpy(test_y).long())


def task(name: str, data_dir: DataDir, device: torch.device, *, width: int) -> DeepTask:
    """Classification by a perceptron of two hidden layers."""
    load, build = partial(magic04, data_dir), partial(perceptron, FEATURES, width, width, 2)
    return LaneNetwork(name, load, build, device=device)
