"""Tables, graphs and sets: rare features, counts, heavy tails, and features as they were measured."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from experiments.held_out_problems.data import communities, parted, shuffled, standardised
from experiments.held_out_problems.networks import perceptron
from experiments.held_out_problems.problem import Problem, Rows, generator, streamed, supervised
from experiments.tasks.networks import Split


class Factors(nn.Module):
    """Pairs of user and item (rows, 2) to the products of their factors (rows,)."""

    def __init__(self, users: int, items: int, rank: int) -> None:
        super().__init__()
        self.users = nn.Embedding(users, rank)
        self.items = nn.Embedding(items, rank)
        for embedding in (self.users, self.items):
            nn.init.normal_(embedding.weight, std=0.1)

    def forward(self, pairs: Tensor) -> Tensor:
        """Predicted ratings."""
        return (self.users(pairs[:, 0]) * self.items(pairs[:, 1])).sum(1)


def matrix_fact(seed: int) -> Problem:
    """Ratings of rank 6 with noise, by factors of rank 8; most items have few ratings."""
    random, users, items, rank, count = generator(3), 300, 200, 6, 12000
    of_user = torch.randn(users, rank, generator=random)
    of_item = torch.randn(items, rank, generator=random)
    user = torch.randint(users, (count,), generator=random)
    item = (torch.rand(count, generator=random) ** 2 * items).long()
    ratings = (of_user[user] * of_item[item]).sum(1) / rank**0.5
    ratings = ratings + 0.3 * torch.randn(count, generator=random)
    split = parted(torch.stack([user, item], 1), ratings, 10000)
    return supervised(seed, Factors(users, items, 8), split, F.mse_loss, 128)


def gcn(seed: int) -> Problem:
    """Communities of a graph by a convolutional network on it (Kipf & Welling, 2017), with exact gradients."""
    random, nodes, classes = generator(4), 300, 4
    labels, neighbours = communities(nodes, 0.08, 0.015, random)
    edges = neighbours.float()
    scale = edges.sum(1).rsqrt()
    edges = scale[:, None] * edges * scale[None]
    centres = 0.4 * torch.randn(classes, 24, generator=random)
    features = centres[labels] + torch.randn(nodes, 24, generator=random)
    order = torch.randperm(nodes, generator=random)
    train, test = order[:120], order[120:]
    first, second, last = nn.Linear(24, 32), nn.Linear(32, 32), nn.Linear(32, classes)

    def loss(rows: Tensor) -> Tensor:
        hidden = (edges @ first(features)).relu()
        hidden = (edges @ second(hidden)).relu()
        return F.cross_entropy((edges @ last(hidden))[rows], labels[rows])

    model = nn.ModuleList([first, second, last])
    return Problem(seed, model, lambda: loss(train), lambda: loss(train), lambda: loss(test))


class SetNetwork(nn.Module):
    """Sets (rows, elements, 2) to numbers (rows, 1), by a sum over the elements (Zaheer et al., 2017)."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = perceptron(2, 64, 64)
        self.outer = perceptron(64, 64, 1)

    def forward(self, sets: Tensor) -> Tensor:
        """One number per set."""
        return self.outer(self.inner(sets).sum(1))


def deepsets(seed: int) -> Problem:
    """The largest first coordinate of a set plus the variance of the second."""

    def sample(count: int, random: torch.Generator | None = None) -> Rows:
        sets = torch.randn(count, 12, 2, generator=random)
        return sets, (sets[:, :, 0].amax(1) + sets[:, :, 1].var(1))[:, None]

    fixed = Split(*sample(2000, generator(13)), *sample(2000, generator(14)))
    return streamed(seed, SetNetwork(), fixed, F.mse_loss, sample, 64)


class FactorisationMachine(nn.Module):
    """Four categorical values (rows, 4) to logits (rows,), with interactions (Rendle, 2010) where rank > 0."""

    def __init__(self, values: int, rank: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(()))
        self.weights = nn.Embedding(values, 1)
        self.factors = nn.Embedding(values, rank) if rank else None
        nn.init.zeros_(self.weights.weight)
        if self.factors is not None:
            nn.init.normal_(self.factors.weight, std=0.01)

    def forward(self, values: Tensor) -> Tensor:
        """Logits."""
        logits = self.bias + self.weights(values).sum((1, 2))
        return logits if self.factors is None else logits + _interactions(self.factors(values))


def _interactions(factors: Tensor) -> Tensor:
    """Sum of the products of all pairs of factors: (rows, values, rank) to (rows,)."""
    return 0.5 * (factors.sum(1) ** 2 - (factors**2).sum(1)).sum(1)


def click_through(seed: int, *, rank: int) -> Problem:
    """Clicks by four categories of up to 1000 values, most of them rare."""
    random, count = generator(16), 24000
    sizes = (1000, 300, 50, 10)
    columns: list[Tensor] = []
    for position, size in enumerate(sizes):
        uniform = torch.rand(count, generator=random)
        value = ((size**uniform - 1) / (size - 1) * size).long().clamp(max=size - 1)
        columns.append(sum(sizes[:position]) + value)
    values = torch.stack(columns, 1)
    weights = 0.7 * torch.randn(sum(sizes), generator=random)
    factors = 0.5 * torch.randn(sum(sizes), 3, generator=random)
    logits = weights[values].sum(1) + _interactions(factors[values]) - 1.5
    clicks = (torch.rand(count, generator=random) < logits.sigmoid()).float()
    model, split = FactorisationMachine(sum(sizes), rank), parted(values, clicks, 20000)
    return supervised(seed, model, split, F.binary_cross_entropy_with_logits, 128)


fm_ctr = partial(click_through, rank=4)
logistic_ctr = partial(click_through, rank=0)


def quantile(seed: int) -> Problem:
    """Three quantiles of the progression of diabetes, by the pinball loss."""
    split = standardised(shuffled("diabetes", 92))
    mean, deviation = split.targets.mean(), split.targets.std()
    targets, test_targets = ((part - mean) / deviation for part in (split.targets, split.test_targets))
    split = split._replace(targets=targets, test_targets=test_targets)
    levels = torch.tensor([0.1, 0.5, 0.9])

    def pinball(outputs: Tensor, targets: Tensor) -> Tensor:
        errors = targets[:, None] - outputs
        return torch.maximum(levels * errors, (levels - 1) * errors).mean()

    return supervised(seed, perceptron(10, 64, 64, 3), split, pinball, 32)


def _half_deviance(outputs: Tensor, counts: Tensor) -> Tensor:
    """Of Poisson counts and log rates (rows, 1): zero where every count is its rate."""
    log_rates = outputs[:, 0]
    return (log_rates.exp() - counts * log_rates + torch.xlogy(counts, counts) - counts).mean()


def counts(seed: int, *, heavy: bool, largest: float) -> Problem:
    """Poisson regression from zero, on normal features of which five may be log-normal instead."""
    random, width = generator(20), 20
    features = torch.randn(6000, width, generator=random)
    if heavy:
        features[:, :5] = (0.7 * features[:, :5]).exp()
    weights = 0.35 * torch.randn(width, generator=random)
    targets = torch.poisson((features @ weights + 1).clamp(max=largest).exp(), generator=random)
    model = nn.Linear(width, 1)
    nn.init.zeros_(model.weight)
    nn.init.zeros_(model.bias)
    return supervised(seed, model, parted(features, targets, 5000), _half_deviance, 32)


poisson = partial(counts, heavy=True, largest=8)  # counts up to 3000: a few rows have most of the gradient
poisson_mild = partial(counts, heavy=False, largest=5)  # counts up to 150


def student_mse(seed: int) -> Problem:
    """Squared error under noise about as heavy-tailed as Student's t with 1.5 degrees of freedom."""
    random = generator(21)
    x = torch.randn(6000, 8, generator=random)
    clean = torch.sin(2 * x[:, :1]) + x[:, 1:2] * x[:, 2:3] + x[:, 3:4].abs()
    scale = torch.randn(6000, 1, generator=random).abs()
    noise = 0.3 * torch.randn(6000, 1, generator=random) / scale.pow(1 / 1.5).clamp(min=1e-4)
    split = Split(x[:5000], (clean + noise)[:5000], x[5000:], clean[5000:])
    return supervised(seed, perceptron(8, 64, 64, 1), split, F.mse_loss, 32)


def wine_raw(seed: int) -> Problem:
    """Softmax regression on features as they are, at scales from 0.1 to 1000."""
    return supervised(seed, perceptron(13, 3), shuffled("wine", 40), F.cross_entropy, 16)


def cancer_raw_mlp(seed: int) -> Problem:
    """One hidden layer on 30 features as they are, up to 4000."""
    return supervised(seed, perceptron(30, 32, 2), shuffled("breast_cancer", 140), F.cross_entropy, 16)
