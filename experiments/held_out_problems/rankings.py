"""Losses that compare rows with one another: preferences, distances, and who fails first."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from experiments.held_out_problems.data import digits
from experiments.held_out_problems.networks import perceptron
from experiments.held_out_problems.problem import Problem, generator, self_supervised

_MARGIN = 0.5  # between the distances of a triplet


class Preferences(nn.Module):
    """Users and items, each (rows,), to scores (rows,)."""

    def __init__(self, users: int, items: int, rank: int) -> None:
        super().__init__()
        self.users = nn.Embedding(users, rank)
        self.items = nn.Embedding(items, rank)
        self.bias = nn.Embedding(items, 1)
        for embedding in (self.users, self.items, self.bias):
            nn.init.normal_(embedding.weight, std=0.05)

    def forward(self, user: Tensor, item: Tensor) -> Tensor:
        """How much the users like the items."""
        return (self.users(user) * self.items(item)).sum(1) + self.bias(item)[:, 0]


def preferences(seed: int) -> Problem:
    """An item that a user bought is to score higher than one drawn at random (BPR, Rendle et al., 2009)."""
    random, users, items, bought = generator(3), 200, 300, 20
    affinity = torch.randn(users, 4, generator=random) @ torch.randn(4, items, generator=random)
    liked = (affinity + torch.randn(users, items, generator=random)).topk(bought, 1).indices
    model = Preferences(users, items, 16)

    def sample(count: int, random: torch.Generator | None = None) -> tuple[Tensor, Tensor, Tensor]:
        user = torch.randint(users, (count,), generator=random)
        chosen = liked[user, torch.randint(bought, (count,), generator=random)]
        return user, chosen, torch.randint(items, (count,), generator=random)

    def loss(user: Tensor, chosen: Tensor, other: Tensor) -> Tensor:
        return F.softplus(model(user, other) - model(user, chosen)).mean()

    train, test = sample(5000, generator(4)), sample(5000, generator(5))
    return Problem(seed, model, lambda: loss(*sample(128)), lambda: loss(*train), lambda: loss(*test))


def triplet(seed: int) -> Problem:
    """Two pictures of a digit are to be nearer to each other than to one of another digit."""
    split, model = digits(), perceptron(64, 64, 16)

    def triplets(labels: Tensor, count: int, random: torch.Generator | None = None) -> Tensor:
        """Rows (count, 3): two of the same class, and one of another."""
        anchor = torch.randint(len(labels), (count,), generator=random)
        same = labels == labels[anchor][:, None]
        rows = [torch.multinomial(mask.float(), 1, generator=random) for mask in (same, ~same)]
        return torch.cat([anchor[:, None], *rows], 1)

    def loss(pixels: Tensor, rows: Tensor) -> Tensor:
        embedded = F.normalize(model(pixels), dim=1)
        return F.triplet_margin_loss(*embedded[rows].unbind(1), margin=_MARGIN)

    train = triplets(split.targets, 2000, generator(19))
    test = triplets(split.test_targets, 600, generator(20))
    return Problem(
        seed,
        model,
        draw=lambda: loss(split.inputs, triplets(split.targets, 48)),
        training=lambda: loss(split.inputs, train),
        held_out=lambda: loss(split.test_inputs, test),
    )


def survival(seed: int) -> Problem:
    """Cox's partial likelihood of a perceptron's risks, within batches of 64, a third of the rows censored."""
    random, count = generator(6), 1500
    features = torch.randn(count, 20, generator=random)
    risk = features[:, 0] - features[:, 1] + 0.5 * features[:, 2] * features[:, 3]
    failure = -torch.rand(count, generator=random).log() / risk.exp()
    censoring = 3 * torch.rand(count, generator=random)
    time, failed = torch.minimum(failure, censoring), failure < censoring
    model = perceptron(20, 32, 32, 1)

    def loss(rows: Tensor) -> Tensor:
        """Negative log-likelihood per failure."""
        rows = rows[time[rows].argsort(descending=True)]
        risks = model(features[rows])[:, 0]
        surprise = (risks.logcumsumexp(0) - risks)[failed[rows]]
        return surprise.sum() / max(len(surprise), 1)

    train, test = torch.arange(1200), torch.arange(1200, count)
    return self_supervised(seed, model, train, test, loss, 64)
