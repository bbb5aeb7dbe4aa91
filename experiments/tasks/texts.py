"""Texts as tensors: characters, windows of them with gaps, words of reviews, and messages with their kind."""

from __future__ import annotations

import gzip
import re
from collections import Counter
from functools import cache

import torch
from torch import Tensor

from experiments.tasks.data import DataDir, verified
from experiments.tasks.networks import Split

SHAKESPEARE = "text/tinyshakespeare.txt.gz"
REVIEWS = ("text/rt-polarity.neg.txt.gz", "text/rt-polarity.pos.txt.gz")
MESSAGES = "text/sms-spam.tsv.gz"
CODES = 128  # characters beyond ASCII are folded into it
GAP = CODES - 1  # a character that no text has
GAPS = 0.15  # share of the characters that are to be filled in (Devlin et al., 2019)
IGNORED = -100  # cross-entropy's own sign for a place that does not count
REVIEWS_HELD_OUT = 2000


def generator(seed: int) -> torch.Generator:
    """A generator for data, which are the same at every seed of a run."""
    return torch.Generator().manual_seed(seed)


def read(file: str, data_dir: DataDir) -> bytes:
    """The text of a file."""
    return gzip.decompress(verified(file, data_dir).read_bytes())


def codes(text: bytes) -> Tensor:
    """Codes of the characters, shape (characters,)."""
    return torch.frombuffer(bytearray(text), dtype=torch.uint8).long() % CODES


def windows(text: Tensor, length: int, stride: int) -> tuple[Tensor, Tensor]:
    """Windows and the same one character further on, each of shape (windows, length)."""
    rows = text.unfold(0, length + 1, stride)
    return rows[:, :-1], rows[:, 1:]


def next_characters(train: Tensor, test: Tensor, length: int) -> Split:
    """To tell every next character; the windows of training overlap."""
    return Split(*windows(train, length, 1), *windows(test, length, length))


def with_gaps(rows: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """The rows with gaps, and what is to be filled in; each shape (rows, length).

    Every row has gaps of its own, drawn once, as BERT was trained.
    """
    gaps = torch.rand(rows.shape, generator=generator(seed)) < GAPS
    return rows.masked_fill(gaps, GAP), rows.masked_fill(~gaps, IGNORED)


@cache
def reviews(data_dir: DataDir) -> tuple[Split, int]:
    """Reviews as places of words, shape (rows, longest), padded by 0, and whether they are kind; number of words."""
    lines = [read(file, data_dir).decode().splitlines() for file in REVIEWS]
    said = [re.findall(r"[a-z']+", line) for part in lines for line in part]
    words = Counter(word for line in said for word in line)
    place = {word: index for index, word in enumerate(sorted(words), start=1)}
    tokens = torch.zeros(len(said), max(map(len, said)), dtype=torch.long)
    for row, line in enumerate(said):
        tokens[row, : len(line)] = torch.tensor([place[word] for word in line], dtype=torch.long)
    kinds = torch.arange(2).repeat_interleave(torch.tensor([len(part) for part in lines]))
    order = torch.randperm(len(kinds), generator=generator(0))
    train, test = order[REVIEWS_HELD_OUT:], order[:REVIEWS_HELD_OUT]
    return Split(tokens[train], kinds[train], tokens[test], kinds[test]), len(place) + 1


@cache
def messages(length: int, data_dir: DataDir) -> tuple[Tensor, Tensor]:
    """Codes of the first characters of messages in random order, shape (rows, length), and which are spam."""
    rows, kinds = [], []
    for line in read(MESSAGES, data_dir).splitlines():
        kind, _, text = line.partition(b"\t")
        rows.append(codes(text[:length].ljust(length)))
        kinds.append(kind == b"spam")
    order = torch.randperm(len(rows), generator=generator(0))
    return torch.stack(rows)[order], torch.tensor(kinds).long()[order]
