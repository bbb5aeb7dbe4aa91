"""Smaller things that people train: a bag of words, augmented pictures, and a denoising diffusion model."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from experiments.tasks import texts
from experiments.tasks.data import DataDir
from experiments.tasks.networks import DeepTask, Split
from experiments.tasks.seeded import SeededTask
from experiments.tasks.vision import cifar10, digits, residual

MARGIN = 4  # pixels by which a picture is moved at most
NOISES, LAST_VARIANCE = 100, 0.08  # steps of a diffusion, and the variance that its last one adds
DRAWS = 20  # noisy versions of every picture


def words_task(name: str, data_dir: DataDir, device: torch.device, *, width: int) -> DeepTask:
    """Whether a review is kind, by the mean of its words' vectors: most words are met a few times in a run."""
    words = texts.reviews(data_dir)[1]

    def build() -> nn.Module:
        return nn.Sequential(nn.EmbeddingBag(words, width, padding_idx=0), nn.Linear(width, 2))

    return DeepTask(name, lambda: texts.reviews(data_dir)[0], build, device=device)


class Augmented(nn.Module):
    """Pictures moved by a few pixels and mirrored at random while the network trains, as usual for CIFAR-10."""

    def forward(self, x: Tensor) -> Tensor:
        """Pictures (rows, channels, side, side) to the same shape."""
        if not self.training:
            return x
        rows, _, side, _ = x.shape
        padded = F.pad(x, [MARGIN] * 4)
        begin = torch.randint(2 * MARGIN + 1, (2, rows, 1), device=x.device)
        places = begin + torch.arange(side, device=x.device)
        mirrored = torch.rand(rows, 1, device=x.device) < 0.5
        columns = torch.where(mirrored, places[1].flip(1), places[1])
        index = torch.arange(rows, device=x.device)[:, None, None]
        return padded[index, :, places[0][:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def pictures_task(
    name: str, data_dir: DataDir, device: torch.device, *, width: int, blocks: int, stem: int, rows: int
) -> SeededTask:
    """The first ``rows`` of CIFAR-10 by a residual network, with augmentation and weight decay of 5e-4."""

    def load() -> Split:
        split = cifar10(data_dir)
        return split._replace(inputs=split.inputs[:rows], targets=split.targets[:rows])

    def build() -> nn.Module:
        return nn.Sequential(Augmented(), residual(width, blocks, stem))

    return SeededTask(name, load, build, eval_rows=500, device=device, l2=5e-4)


def noisy_digits() -> Split:
    """Pictures (rows, 65) of scikit-learn's digits with noise, and its level in [0, 1) last; the noise (rows, 64).

    Each picture has ``DRAWS`` noisy versions, at levels of a variance-preserving diffusion (Ho et al., 2020).
    """
    kept = (1 - torch.linspace(1e-4, LAST_VARIANCE, NOISES)).cumprod(0)
    split, random = digits(flat=True), texts.generator(3)

    def noisy(pixels: Tensor) -> tuple[Tensor, Tensor]:
        clean = (2 * pixels - 1).repeat(DRAWS, 1)
        level = torch.randint(NOISES, (len(clean), 1), generator=random)
        noise = torch.randn(clean.shape, generator=random)
        share = kept[level]
        mixed = share.sqrt() * clean + (1 - share).sqrt() * noise
        return torch.cat([mixed, level / NOISES], 1), noise

    return Split(*noisy(split.inputs), *noisy(split.test_inputs))


class Denoiser(nn.Module):
    """A perceptron from a noisy picture and waves of its noise level (rows, 65) to the noise (rows, 64)."""

    def __init__(self, width: int, waves: int = 8) -> None:
        super().__init__()
        self.waves = waves
        sizes = (64 + 2 * waves, width, width)
        layers = [layer for a, b in pairwise(sizes) for layer in (nn.Linear(a, b), nn.SiLU())]
        self.layers = nn.Sequential(*layers, nn.Linear(width, 64))

    def forward(self, x: Tensor) -> Tensor:
        """The noise that the picture has."""
        angles = x[:, 64:] * 2.0 ** torch.arange(self.waves, device=x.device)
        return self.layers(torch.cat([x[:, :64], angles.sin(), angles.cos()], 1))


def diffusion_task(name: str, data_dir: DataDir, device: torch.device, *, width: int) -> DeepTask:
    """The noise of noisy digits; value and test metric are mean squared errors."""
    del data_dir  # scikit-learn carries the data
    return DeepTask(name, noisy_digits, partial(Denoiser, width), F.mse_loss, "loss", device=device)
