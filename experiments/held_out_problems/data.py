"""Data sets that scikit-learn carries, shuffled and split, the same at every seed."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.datasets import load_diabetes
from torch import Tensor

from experiments.tasks.data import load_sklearn
from experiments.tasks.networks import Split

_DIGITS_HELD_OUT = 297


def bundled(name: str) -> tuple[Tensor, Tensor]:
    """Features as they were measured, and targets: classes, but numbers for diabetes."""
    if name == "diabetes":
        features, targets = load_diabetes(return_X_y=True, scaled=False)
        return torch.from_numpy(features).float(), torch.from_numpy(targets).float()
    features, targets = load_sklearn(name)
    return torch.from_numpy(features).float(), torch.from_numpy(targets).long()


def shuffled(name: str, held_out: int) -> Split:
    """The features as they are, of which ``held_out`` rows are not trained on."""
    features, targets = bundled(name)
    order = torch.from_numpy(np.random.default_rng(0).permutation(len(features)))
    test, train = order[:held_out], order[held_out:]
    return Split(features[train], targets[train], features[test], targets[test])


def parted(inputs: Tensor, targets: Tensor, count: int) -> Split:
    """The first ``count`` rows are trained on."""
    return Split(inputs[:count], targets[:count], inputs[count:], targets[count:])


def standardised(split: Split) -> Split:
    """The split with features of mean 0 and variance 1 on the rows that are trained on."""
    mean, deviation = split.inputs.mean(0), split.inputs.std(0)
    inputs, test_inputs = ((part - mean) / deviation for part in (split.inputs, split.test_inputs))
    return split._replace(inputs=inputs, test_inputs=test_inputs)


def digits() -> Split:
    """Digits in [0, 1], shape (rows, 64)."""
    split = shuffled("digits", _DIGITS_HELD_OUT)
    return split._replace(inputs=split.inputs / 16, test_inputs=split.test_inputs / 16)


def communities(nodes: int, inside: float, outside: float, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Four classes (nodes,) and a graph's edges (nodes, nodes), of these probabilities; a node has one to itself."""
    labels = torch.arange(nodes) % 4
    probability = torch.where(labels[:, None] == labels, inside, outside)
    upper = (torch.rand(nodes, nodes, generator=random) < probability).triu(1)
    return labels, upper | upper.T | torch.eye(nodes, dtype=torch.bool)
