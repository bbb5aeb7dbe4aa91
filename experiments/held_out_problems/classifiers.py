"""Classifiers: of digits by networks that mix, gate or convolve, and of tables where classes or scales are awkward."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from experiments.held_out_problems.data import communities, digits, parted, shuffled, standardised
from experiments.held_out_problems.networks import perceptron
from experiments.held_out_problems.problem import Problem, generator, self_supervised, supervised

_RARE = 2.3  # standard deviations above which a score is of the rare class


class MixerLayer(nn.Module):
    """A perceptron across patches and one across channels, each added to its normalised input."""

    def __init__(self, patches: int, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.across = perceptron(patches, 2 * patches, patches, activation=nn.GELU)
        self.within = perceptron(width, 2 * width, width, activation=nn.GELU)

    def forward(self, x: Tensor) -> Tensor:
        """(rows, patches, width) to the same shape."""
        x = x + self.across(self.norm1(x).mT).mT
        return x + self.within(self.norm2(x))


class Mixer(nn.Module):
    """Digits (rows, 64) as 16 patches of 2 by 2 to logits (rows, 10) (Tolstikhin et al., 2021)."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.patch = nn.Linear(4, width)
        self.layers = nn.Sequential(MixerLayer(16, width), MixerLayer(16, width), nn.LayerNorm(width))
        self.head = nn.Linear(width, 10)

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits."""
        patches = pixels.view(-1, 4, 2, 4, 2).transpose(2, 3).reshape(-1, 16, 4)
        return self.head(self.layers(self.patch(patches)).mean(1))


def mixer(seed: int) -> Problem:
    """Digits by perceptrons across and within patches."""
    return supervised(seed, Mixer(), digits(), F.cross_entropy, 32)


class Experts(nn.Module):
    """A mixture of perceptrons (rows, 64) to (rows, 10), each weighted by a gate."""

    def __init__(self, experts: int) -> None:
        super().__init__()
        self.gate = nn.Linear(64, experts)
        self.experts = nn.ModuleList(perceptron(64, 64, 10) for _ in range(experts))

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits."""
        answers = torch.stack([expert(pixels) for expert in self.experts], 1)
        return (self.gate(pixels).softmax(1)[:, :, None] * answers).sum(1)


def experts(seed: int) -> Problem:
    """Digits by a mixture of four perceptrons, in batches of 16."""
    return supervised(seed, Experts(4), digits(), F.cross_entropy, 16)


def _separable(inputs: int, outputs: int) -> nn.Sequential:
    """A convolution of each channel by itself and one across channels, both with batch norm."""
    return nn.Sequential(
        nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs, bias=False),
        nn.BatchNorm2d(inputs),
        nn.ReLU(),
        nn.Conv2d(inputs, outputs, 1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


def separable_cnn(seed: int) -> Problem:
    """Digits by depthwise separable convolutions with batch norm, labels smoothed."""
    split = digits()
    model = nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)),
        nn.Conv2d(1, 16, 3, padding=1),
        _separable(16, 32),
        nn.MaxPool2d(2),
        _separable(32, 64),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, 10),
    )
    loss = partial(F.cross_entropy, label_smoothing=0.1)
    return supervised(seed, model, split, loss, 32, statistics=split.inputs)


def wild_weights(seed: int) -> Problem:
    """Digits by a perceptron whose initial weights are far too large: the first loss is 25."""
    model = perceptron(64, 64, 64, 10)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.5)
    return supervised(seed, model, digits(), F.cross_entropy, 32)


def feature_hinge(seed: int) -> Problem:
    """Digits by a hinge loss of ten classes on 300 random Fourier features."""
    split, random = digits(), generator(16)
    frequencies, phases = 0.8 * torch.randn(64, 300, generator=random), 7 * torch.rand(300, generator=random)

    def features(pixels: Tensor) -> Tensor:
        return torch.cos(pixels @ frequencies + phases) / 300**0.5

    lifted = split._replace(inputs=features(split.inputs), test_inputs=features(split.test_inputs))
    return supervised(seed, nn.Linear(300, 10), lifted, F.multi_margin_loss, 32)


def summed_loss(seed: int) -> Problem:
    """Kinds of wine by a loss that is summed over the batch in place of averaged."""
    split = standardised(shuffled("wine", 40))
    return supervised(seed, perceptron(13, 32, 3), split, partial(F.cross_entropy, reduction="sum"), 32)


def imbalanced(seed: int) -> Problem:
    """Two classes, of which one has a row in a hundred."""
    random = generator(9)
    features, weights = torch.randn(8000, 30, generator=random), torch.randn(30, generator=random)
    scores = features @ weights / weights.norm() + 0.3 * torch.randn(8000, generator=random)
    classes = (scores > _RARE).float()[:, None]
    split = parted(features, classes, 6000)
    return supervised(seed, perceptron(30, 64, 1), split, F.binary_cross_entropy_with_logits, 32)


class GraphAttention(nn.Module):
    """A layer in which a node attends to its neighbours (Veličković et al., 2018)."""

    def __init__(self, inputs: int, outputs: int, edges: Tensor) -> None:
        super().__init__()
        self.linear, self.attention, self.edges = nn.Linear(inputs, outputs), nn.Linear(outputs, 2), edges

    def forward(self, features: Tensor) -> Tensor:
        """(nodes, inputs) to (nodes, outputs)."""
        hidden = self.linear(features)
        to, of = self.attention(hidden).split(1, 1)
        scores = F.leaky_relu(to + of.T, 0.2).masked_fill(~self.edges, -torch.inf)
        return scores.softmax(1) @ hidden


def graph_attention(seed: int) -> Problem:
    """Communities of a graph, in batches of 64 of its nodes."""
    random, nodes = generator(17), 400
    labels, edges = communities(nodes, 0.04, 0.006, random)
    features = 0.5 * F.one_hot(labels, 4).repeat(1, 3) + torch.randn(nodes, 12, generator=random)
    model = nn.Sequential(GraphAttention(12, 32, edges), nn.ELU(), GraphAttention(32, 4, edges))
    order = torch.randperm(nodes, generator=random)
    train, test = order[:200], order[200:]

    def loss(rows: Tensor) -> Tensor:
        return F.cross_entropy(model(features)[rows], labels[rows])

    return self_supervised(seed, model, train, test, loss, 64)
