"""Character-level Shakespeare: a decoder with rotary positions, RMSNorm and grouped-query attention."""

from __future__ import annotations

import gzip
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from experiments.tasks.data import DataDir, verified
from experiments.tasks.networks import DeepTask, Split, token_loss

FILES = ("text/tinyshakespeare.txt.gz",)
CHARACTERS = 65
TEST_SHARE = 0.1  # the end of the text


class Shape(NamedTuple):
    """Sizes of a decoder."""

    length: int  # characters of context
    width: int
    layers: int
    heads: int
    groups: int  # heads of keys and values, each shared by heads / groups heads of queries


def shakespeare(length: int, data_dir: DataDir) -> Split:
    """Every window of ``length`` characters with the window one further on, shapes (windows, length)."""
    text = gzip.decompress(verified(FILES[0], data_dir).read_bytes()).decode()
    vocabulary = {character: index for index, character in enumerate(sorted(set(text)))}
    tokens = torch.tensor([vocabulary[character] for character in text])
    cut = int(len(tokens) * (1 - TEST_SHARE))
    train = tokens[:cut].unfold(0, length + 1, 1)
    test = tokens[cut:].unfold(0, length + 1, length)
    return Split(train[:, :-1], train[:, 1:], test[:, :-1], test[:, 1:])


class Attention(nn.Module):
    """Causal attention with rotary positions (Su et al., 2021) and grouped queries (Ainslie et al., 2023)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape, self.head = shape, shape.width // shape.heads
        self.queries = nn.Linear(shape.width, shape.width, bias=False)
        self.keys_values = nn.Linear(shape.width, 2 * shape.groups * self.head, bias=False)
        self.out = nn.Linear(shape.width, shape.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Hidden states to hidden states, shape (rows, length, width)."""
        rows, length, _ = x.shape
        q = self.queries(x).view(rows, length, self.shape.heads, self.head).transpose(1, 2)
        kv = self.keys_values(x).view(rows, length, 2 * self.shape.groups, self.head).transpose(1, 2)
        k, v = kv.chunk(2, dim=1)
        mixed = F.scaled_dot_product_attention(rotate(q), rotate(k), v, is_causal=True, enable_gqa=True)
        return self.out(mixed.transpose(1, 2).reshape(rows, length, -1))


def rotate(x: Tensor) -> Tensor:
    """Turn the pairs of ``x``, shape (rows, heads, length, head), by angles that grow with the position."""
    length, head = x.shape[-2:]
    frequencies = 10_000.0 ** (-torch.arange(0, head, 2, device=x.device) / head)
    angles = torch.arange(length, device=x.device)[:, None] * frequencies
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * angles.cos() - b * angles.sin(), a * angles.sin() + b * angles.cos()], dim=-1)


class Layer(nn.Module):
    """Attention and a gated feed-forward part (SwiGLU), each on RMS-normalised input and added to it."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        hidden = 2 * shape.width
        self.norm1, self.norm2 = nn.RMSNorm(shape.width), nn.RMSNorm(shape.width)
        self.attention = Attention(shape)
        self.gate_up = nn.Linear(shape.width, 2 * hidden, bias=False)
        self.down = nn.Linear(hidden, shape.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Hidden states to hidden states, shape (rows, length, width)."""
        x = x + self.attention(self.norm1(x))
        gate, up = self.gate_up(self.norm2(x)).chunk(2, dim=-1)
        return x + self.down(F.silu(gate) * up)


class Decoder(nn.Module):
    """Characters (rows, length) to logits (rows, length, characters)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.embedding = nn.Embedding(CHARACTERS, shape.width)
        nn.init.normal_(self.embedding.weight, std=0.02)
        self.layers = nn.Sequential(*(Layer(shape) for _ in range(shape.layers)))
        self.norm = nn.RMSNorm(shape.width)
        self.out = nn.Linear(shape.width, CHARACTERS, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits of the next character at every place."""
        return self.out(self.norm(self.layers(self.embedding(tokens))))


def task(name: str, data_dir: DataDir, device: torch.device, *, shape: Shape) -> DeepTask:
    """Next-character prediction."""
    load, build = partial(shakespeare, shape.length, data_dir), partial(Decoder, shape)
    return DeepTask(name, load, build, token_loss, "loss", eval_rows=200, device=device)
