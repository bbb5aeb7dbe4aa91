"""Digits: what is trained on pictures that is not a plain classifier, and classifiers that are hard to train."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from experiments.held_out_problems.data import digits
from experiments.held_out_problems.networks import Block, perceptron
from experiments.held_out_problems.problem import Problem, generator, pick, self_supervised, supervised
from experiments.tasks.networks import Split

Kaiming = Literal["relu", "tanh"]  # the activation that the weights are drawn for
_PRETRAINING_STEPS = 400
_CONTRASTED = 64  # pictures of a batch that are told apart
_WRONG_LABELS = 0.3


def autoencoder(seed: int) -> Problem:
    """Digits through eight numbers."""
    split = digits()
    pixels = Split(split.inputs, split.inputs, split.test_inputs, split.test_inputs)
    return supervised(seed, perceptron(64, 128, 64, 8, 64, 128, 64), pixels, F.mse_loss, 64)


def vae(seed: int) -> Problem:
    """A variational autoencoder (Kingma & Welling, 2014) whose divergence counts twice."""
    split = digits()
    encoder, decoder = perceptron(64, 128, 16), perceptron(8, 128, 64)

    def loss(pixels: Tensor) -> Tensor:
        mean, log_variance = encoder(pixels).chunk(2, 1)
        code = mean + torch.randn(mean.shape) * (log_variance / 2).exp()
        errors = F.binary_cross_entropy_with_logits(decoder(code), pixels, reduction="none").sum(1)
        divergence = 0.5 * (mean**2 + log_variance.exp() - log_variance - 1).sum(1)
        return (errors + 2 * divergence).mean()

    model = nn.ModuleList([encoder, decoder])
    return self_supervised(seed, model, split.inputs, split.test_inputs, loss, 64)


def infonce(seed: int) -> Problem:
    """Which two noisy pictures are of the same digit? Contrastive embeddings at temperature 0.1."""
    split = digits()
    model = perceptron(64, 128, 128, 32)

    def view(pixels: Tensor) -> Tensor:
        kept = torch.rand(pixels.shape) > 0.2
        return F.normalize(model(pixels * kept + 0.15 * torch.randn(pixels.shape)), dim=1)

    def loss(pixels: Tensor) -> Tensor:
        first, second = view(pixels), view(pixels)
        return F.cross_entropy(first @ second.T / 0.1, torch.arange(len(pixels)))

    def mean(pixels: Tensor) -> Tensor:
        batches = [batch for batch in pixels.split(_CONTRASTED) if len(batch) == _CONTRASTED]
        return torch.stack([loss(batch) for batch in batches]).mean()

    return Problem(
        seed,
        model,
        draw=lambda: loss(pick(split.inputs, _CONTRASTED)),
        training=lambda: mean(split.inputs),
        held_out=lambda: mean(split.test_inputs),
    )


class VisionTransformer(nn.Module):
    """Digits (rows, 64) as 16 patches and a class token, to logits (rows, 10)."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.patch = nn.Linear(4, width)
        self.position = nn.Parameter(0.02 * torch.randn(17, width))
        self.token = nn.Parameter(torch.zeros(width))
        self.blocks = nn.Sequential(Block(width, causal=False), Block(width, causal=False))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 10)

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits."""
        patches = pixels.view(-1, 4, 2, 4, 2).transpose(2, 3).reshape(-1, 16, 4)
        token = self.token.expand(len(pixels), 1, -1)
        hidden = torch.cat([token, self.patch(patches)], 1) + self.position
        return self.head(self.norm(self.blocks(hidden))[:, 0])


def vit(seed: int) -> Problem:
    """Digits by a vision transformer."""
    return supervised(seed, VisionTransformer(), digits(), F.cross_entropy, 32)


class Deep(nn.Module):
    """Twenty residual layers without a norm; with Kaiming's weights the sums double in the square per layer."""

    def __init__(self, activation: Callable[[Tensor], Tensor], kaiming: Kaiming | None) -> None:
        super().__init__()
        self.activation = activation
        self.first = nn.Linear(64, 48)
        self.last = nn.Linear(48, 10)
        layers = [nn.Linear(48, 48) for _ in range(20)]
        if kaiming is not None:
            for layer in layers:
                nn.init.kaiming_normal_(layer.weight, nonlinearity=kaiming)
        self.layers = nn.ModuleList(layers)

    def forward(self, pixels: Tensor) -> Tensor:
        """Digits (rows, 64) to logits (rows, 10)."""
        hidden = self.first(pixels)
        for layer in self.layers:
            hidden = hidden + self.activation(layer(hidden))
        return self.last(hidden)


def deep_residual(
    seed: int, *, activation: Callable[[Tensor], Tensor], kaiming: Kaiming | None = None
) -> Problem:
    """Digits by a deep residual network without a norm."""
    return supervised(seed, Deep(activation, kaiming), digits(), F.cross_entropy, 64)


deep_res_relu = partial(deep_residual, activation=torch.relu)
deep_res_tanh = partial(deep_residual, activation=torch.tanh, kaiming="tanh")
deep_res_relu_he = partial(
    deep_residual, activation=torch.relu, kaiming="relu"
)  # begins at a loss of thousands


def _convolution(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
    layer = nn.Conv2d(inputs, outputs, 3, stride, padding=1)
    return [layer, nn.BatchNorm2d(outputs), nn.ReLU()]


def cnn_bn_noise(seed: int) -> Problem:
    """Digits of which three in ten have a label drawn at random, by convolutions with batch norm."""
    split, random = digits(), generator(9)
    wrong = torch.rand(len(split.targets), generator=random) < _WRONG_LABELS
    others = torch.randint(10, split.targets.shape, generator=random)
    split = split._replace(targets=torch.where(wrong, others, split.targets))
    layers = [*_convolution(1, 16, 1), *_convolution(16, 32, 2), *_convolution(32, 32, 1)]
    head = [nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(128, 10)]
    model = nn.Sequential(nn.Unflatten(1, (1, 8, 8)), *layers, *head)
    return supervised(seed, model, split, F.cross_entropy, 32, statistics=split.inputs)


def _pretrained(seed: int) -> nn.Sequential:
    """A network that knows the digits as they are."""
    split = digits()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1000 + seed)
        model = perceptron(64, 256, 256, 10)
        optimizer = torch.optim.Adam(model.parameters(), 1e-3)
        for _ in range(_PRETRAINING_STEPS):
            rows = torch.randint(len(split.inputs), (64,))
            optimizer.zero_grad()
            F.cross_entropy(model(split.inputs[rows]), split.targets[rows]).backward()
            optimizer.step()
    model.zero_grad()
    return model


def _turned() -> Split:
    """Digits as negatives, a quarter turned."""

    def turn(pixels: Tensor) -> Tensor:
        return (1 - pixels.view(-1, 8, 8).transpose(1, 2).flip(1)).reshape(-1, 64)

    split = digits()
    return split._replace(inputs=turn(split.inputs), test_inputs=turn(split.test_inputs))


class LowRank(nn.Module):
    """A linear layer that stays as it is, and a matrix of rank 4 that is trained (LoRA; Hu et al., 2022)."""

    def __init__(self, base: nn.Linear, rank: int = 4) -> None:
        super().__init__()
        outputs, inputs = base.weight.shape
        self.base = base.requires_grad_(False)
        self.down = nn.Parameter(torch.randn(rank, inputs) / inputs**0.5)
        self.up = nn.Parameter(torch.zeros(outputs, rank))

    def forward(self, x: Tensor) -> Tensor:
        """(rows, inputs) to (rows, outputs)."""
        return self.base(x) + 2 * (x @ self.down.T) @ self.up.T


def lora(seed: int) -> Problem:
    """A pretrained network adapted to turned digits by matrices of low rank."""
    layers = [LowRank(layer) if isinstance(layer, nn.Linear) else layer for layer in _pretrained(seed)]
    return supervised(seed, nn.Sequential(*layers), _turned(), F.cross_entropy, 32)


def finetune_b8(seed: int) -> Problem:
    """A pretrained network adapted to turned digits as a whole, in batches of eight."""
    return supervised(seed, _pretrained(seed), _turned(), F.cross_entropy, 8)
