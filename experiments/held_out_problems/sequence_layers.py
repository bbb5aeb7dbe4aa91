"""Sequences by layers that are not plain attention: state spaces, routed experts and dilated convolutions."""

from __future__ import annotations

import gzip
import math
from functools import cache

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from experiments.held_out_problems.data import digits
from experiments.held_out_problems.networks import perceptron
from experiments.held_out_problems.problem import Problem, Rows, generator, pick, streamed, supervised
from experiments.tasks.data import verified
from experiments.tasks.networks import Split

_LONGEST = 15  # letters of a name
_PADDING = 27  # after 26 letters and the sign at both ends of a name
_BALANCE = 0.01  # what an uneven use of experts costs
_HOURS = 64  # of a window
_AHEAD = 6  # hours until what is foretold
_YEAR = 365 * 24
_TRAINED_ON = 3 * _YEAR  # hours; the fourth year is left out, and the last one is held out


class StateSpace(nn.Module):
    """A linear system with diagonal states for each channel, as a convolution (S4D, Gu et al., 2022), with a gate."""

    def __init__(self, width: int, states: int = 8) -> None:
        super().__init__()
        self.norm, self.mixed = nn.LayerNorm(width), nn.Linear(width, 2 * width)
        self.log_spacing = nn.Parameter(math.log(1e-3) + math.log(100) * torch.rand(width, 1))
        self.log_decay = nn.Parameter(torch.full((width, states), math.log(0.5)))
        self.frequency = nn.Parameter(math.pi * torch.arange(states).repeat(width, 1))
        self.readout = nn.Parameter(torch.randn(width, states, 2) / 2**0.5)
        self.direct = nn.Parameter(torch.randn(width, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(rows, length, width) to the same shape."""
        channels, length = self.norm(x).mT, x.shape[1]
        spectrum = torch.fft.rfft(channels, n=2 * length) * torch.fft.rfft(
            self._response(length), n=2 * length
        )
        answers = torch.fft.irfft(spectrum, n=2 * length)[..., :length] + self.direct * channels
        return x + F.glu(self.mixed(F.gelu(answers).mT))

    def _response(self, length: int) -> Tensor:
        """To an impulse, shape (width, length): the system is held between two of its inputs."""
        rates = torch.complex(-self.log_decay.exp(), self.frequency)
        exponents = rates * self.log_spacing.exp()
        weights = torch.view_as_complex(self.readout) * torch.expm1(exponents) / rates
        return 2 * (weights[..., None] * (exponents[..., None] * torch.arange(length)).exp()).sum(1).real


class PixelReader(nn.Module):
    """Pixels (rows, length), one after the other, to logits (rows, 10)."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.embedding, self.head = nn.Linear(1, width), nn.Linear(width, 10)
        self.layers = nn.Sequential(StateSpace(width), StateSpace(width))

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits."""
        return self.head(self.layers(self.embedding(pixels[..., None])).mean(1))


def state_space(seed: int) -> Problem:
    """Digits, read pixel by pixel."""
    return supervised(seed, PixelReader(), digits(), F.cross_entropy, 32)


class Switch(nn.Module):
    """Causal attention, and perceptrons of which a gate sends each place to one (Fedus et al., 2022)."""

    def __init__(self, width: int, experts: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, 4, batch_first=True)
        self.gate = nn.Linear(width, experts)
        self.experts = nn.ModuleList(
            perceptron(width, 2 * width, width, activation=nn.GELU) for _ in range(experts)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(rows, length, width) to the same shape, and how unevenly experts are used, 1 where evenly."""
        mask, normed = nn.Transformer.generate_square_subsequent_mask(x.shape[1]), self.norm1(x)
        x = x + self.attention(normed, normed, normed, attn_mask=mask, need_weights=False, is_causal=True)[0]
        normed = self.norm2(x)
        shares = self.gate(normed).softmax(-1)
        chosen = F.one_hot(shares.argmax(-1), len(self.experts)).float()
        answers = torch.stack([expert(normed) for expert in self.experts], -2)
        uneven = len(self.experts) * (chosen.mean((0, 1)) * shares.mean((0, 1))).sum()
        return x + ((chosen * shares)[..., None] * answers).sum(-2), uneven


class SwitchDecoder(nn.Module):
    """Letters (rows, length) to logits (rows, length, 27), and the sum of how unevenly experts are used."""

    def __init__(self, width: int = 32, experts: int = 4) -> None:
        super().__init__()
        self.embedding = nn.Embedding(_PADDING + 1, width)
        self.position = nn.Parameter(0.02 * torch.randn(_LONGEST + 1, width))
        self.layers = nn.ModuleList([Switch(width, experts), Switch(width, experts)])
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, _PADDING)

    def forward(self, letters: Tensor) -> tuple[Tensor, Tensor]:
        """Logits, and the sum."""
        hidden, uneven = self.embedding(letters) + self.position, torch.zeros(())
        for layer in self.layers:
            hidden, more = layer(hidden)
            uneven = uneven + more
        return self.head(self.norm(hidden)), uneven


@cache
def _names() -> Tensor:
    """First names between two signs, padded: shape (names, letters + 2)."""
    names = gzip.decompress(verified("text/names.txt.gz", None).read_bytes()).decode().split()
    rows = torch.full((len(names), _LONGEST + 2), _PADDING)
    for row, name in zip(rows, names, strict=True):
        row[: len(name) + 2] = torch.tensor([0, *(ord(letter) - ord("a") + 1 for letter in name), 0])
    return rows[torch.randperm(len(rows), generator=generator(44))]


def switch_decoder(seed: int) -> Problem:
    """First names by a decoder with four experts a layer."""
    rows, model = _names(), SwitchDecoder()
    train, test = rows[:-2000], rows[-2000:]

    def loss(rows: Tensor) -> Tensor:
        logits, uneven = model(rows[:, :-1])
        error = F.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten(), ignore_index=_PADDING)
        return error + _BALANCE * uneven

    return Problem(seed, model, lambda: loss(pick(train, 16)), lambda: loss(train[:2000]), lambda: loss(test))


class Dilated(nn.Module):
    """Two causal convolutions with weight norm and dropout, added to their input (Bai et al., 2018)."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.reach = 2 * dilation
        self.first, self.second = (
            weight_norm(nn.Conv1d(width, width, 3, dilation=dilation)) for _ in range(2)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(rows, width, length) to the same shape."""
        hidden = x
        for convolution in (self.first, self.second):
            hidden = F.dropout(F.relu(convolution(F.pad(hidden, (self.reach, 0)))), 0.1, self.training)
        return F.relu(x + hidden)


@cache
def _weather() -> Tensor:
    """Beijing by the hour, shape (hours, features), scaled on what is trained on; the first one is fine dust."""
    table = (
        pd.read_csv(verified("series/pollution-pm25.csv.gz", None)).ffill().iloc[24:]
    )  # from the first value on
    numbers = np.log1p(table[["pm2.5", "Iws"]]).join(table[["DEWP", "TEMP", "PRES"]]).to_numpy(np.float64)
    numbers = (numbers - numbers[:_TRAINED_ON].mean(0)) / numbers[:_TRAINED_ON].std(0)
    angle = 2 * np.pi * table.hour.to_numpy() / 24
    wind = pd.get_dummies(table.cbwd).to_numpy(np.float64)
    return torch.from_numpy(np.column_stack([numbers, np.sin(angle), np.cos(angle), wind])).float()


def dilated(seed: int) -> Problem:
    """Mean and deviation of Beijing's fine dust six hours ahead, at every hour of a window, by dilated convolutions."""
    hours = _weather()

    def sample(part: Tensor, count: int, random: torch.Generator | None = None) -> Rows:
        begin = torch.randint(len(part) - _HOURS - _AHEAD, (count, 1), generator=random)
        places = begin + torch.arange(_HOURS)
        return part[places].mT, part[places + _AHEAD, 0]

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        mean, log_deviation = outputs.unbind(1)
        return F.gaussian_nll_loss(mean, targets, (2 * log_deviation).exp())

    train, test = hours[:_TRAINED_ON], hours[-_YEAR:]
    blocks = [Dilated(16, dilation) for dilation in (1, 2, 4, 8)]
    model = nn.Sequential(nn.Conv1d(hours.shape[1], 16, 1), *blocks, nn.Conv1d(16, 2, 1))
    fixed = Split(*sample(train, 300, generator(45)), *sample(test, 300, generator(46)))
    return streamed(seed, model, fixed, loss, lambda count: sample(train, count), 16)
