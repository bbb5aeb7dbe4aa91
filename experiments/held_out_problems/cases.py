"""Runs that were lost: cases from which rules against being stuck were made, as far as they are published data."""

from __future__ import annotations

import gzip
import re
from collections import Counter
from dataclasses import replace
from functools import cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from experiments.held_out_problems.data import digits, parted
from experiments.held_out_problems.networks import pretrain
from experiments.held_out_problems.problem import Problem, generator, pick, streamed, supervised
from experiments.held_out_problems.sequences import windows
from experiments.held_out_problems.transformers import PostNorm, Transformer
from experiments.tasks.data import verified
from experiments.tasks.networks import Split, token_loss

_ROLES = 6
_LENGTH = 48  # characters of a text
_HELD_OUT = 1000
_PRETRAINING_STEPS = 300


def vit_small_weights(seed: int) -> Problem:
    """Digits as 16 patches of 2 by 2, by a vision transformer whose weights begin small."""
    split = digits()

    def patches(pixels: Tensor) -> Tensor:
        return pixels.view(-1, 4, 2, 4, 2).transpose(2, 3).reshape(-1, 16, 4)

    split = split._replace(inputs=patches(split.inputs), test_inputs=patches(split.test_inputs))
    model = Transformer(nn.Linear(4, 64), 16, 10, width=64, causal=False)
    return supervised(seed, model, split, F.cross_entropy, 64)


@cache
def _roles() -> Split:
    """Texts of the six roles of Shakespeare's who say most, as characters' codes, and who says them."""
    text = gzip.decompress(verified("text/tinyshakespeare.txt.gz", None).read_bytes()).decode()
    said: Counter[str] = Counter()
    parts: dict[str, list[str]] = {}
    for part in text.split("\n\n"):
        role, _, words = part.partition(":\n")
        said[role] += len(words)
        parts.setdefault(role, []).append(words)
    inputs, targets = [], []
    for index, (role, _) in enumerate(said.most_common(_ROLES)):
        codes = np.frombuffer(" ".join(parts[role]).encode(), dtype=np.uint8) % 128
        rows = codes[: len(codes) // _LENGTH * _LENGTH].reshape(-1, _LENGTH)
        inputs.append(rows)
        targets.append(np.full(len(rows), index))
    order = torch.randperm(sum(map(len, targets)), generator=generator(31))
    tokens = torch.from_numpy(np.concatenate(inputs)).long()[order]
    return parted(tokens, torch.from_numpy(np.concatenate(targets))[order], len(order) - _HELD_OUT)


def bert_scratch(seed: int) -> Problem:
    """Who says it? By an encoder of characters from scratch, five hundred steps of 16 texts: hardly a signal."""
    return supervised(seed, PostNorm(_ROLES, _LENGTH), _roles(), F.cross_entropy, 16)


def bert_finetuned(seed: int) -> Problem:
    """The same by an encoder that has learned to fill gaps."""
    split, model = _roles(), PostNorm(_ROLES, _LENGTH)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2000 + seed)
        fill = nn.Linear(64, 128)

        def of_gaps() -> Tensor:
            tokens = pick(split.inputs, 64)
            gaps = torch.rand(tokens.shape) < 0.15
            hidden = model.layers(model.norm(model.embedding(tokens.masked_fill(gaps, 127)) + model.position))
            return F.cross_entropy(fill(hidden)[gaps], tokens[gaps])

        pretrain([*model.parameters(), *fill.parameters()], of_gaps, _PRETRAINING_STEPS)
    model.zero_grad()
    return supervised(seed, model, split, F.cross_entropy, 16)


class Convolution(nn.Module):
    """Two graph convolutions with dropout (Kipf & Welling, 2017); of what is sparse, entries are dropped."""

    def __init__(self, adjacency: Tensor, features: int, classes: int, width: int = 16) -> None:
        super().__init__()
        self.adjacency = adjacency
        self.first, self.second = (
            nn.Linear(features, width, bias=False),
            nn.Linear(width, classes, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Sparse features of all nodes (nodes, features) to logits."""
        kept = torch.sparse_coo_tensor(
            x.indices(),
            F.dropout(x.values(), 0.5, self.training),
            x.shape,
            is_coalesced=True,
            check_invariants=False,
        )
        hidden = torch.relu(self.adjacency @ (kept @ self.first.weight.T))
        return self.adjacency @ self.second(F.dropout(hidden, 0.5, self.training))


def citations(seed: int) -> Problem:
    """Subjects of papers by who cites whom: 120 labels, all of them at each step."""
    with np.load(verified("graph/citeseer.npz", None), allow_pickle=False) as file:
        held = {name: torch.from_numpy(file[name].astype(np.int64)) for name in file.files}
    nodes, width = held["shape"].tolist()
    rows = torch.repeat_interleave(torch.arange(nodes), held["indptr"].diff())
    words, share = torch.stack([rows, held["indices"]]), 1 / held["indptr"].diff().clamp(min=1)
    features = torch.sparse_coo_tensor(words, share[rows], (nodes, width), check_invariants=True).coalesce()
    loops = torch.arange(nodes).expand(2, -1)
    edges = torch.cat([held["edges"].T, held["edges"].T.flip(0), loops], 1)
    degree = torch.bincount(edges[0], minlength=nodes).float().rsqrt()
    weights = degree[edges[0]] * degree[edges[1]]
    adjacency = torch.sparse_coo_tensor(edges, weights, (nodes, nodes), check_invariants=True).coalesce()
    model = Convolution(adjacency, width, 6)
    for layer in (model.first, model.second):
        nn.init.xavier_uniform_(layer.weight)

    def loss(places: Tensor) -> Tensor:
        return F.cross_entropy(model(features)[places], held["labels"][places])

    train, test = held["idx_train"], held["idx_test"]
    return Problem(seed, model, lambda: loss(train), lambda: loss(train), lambda: loss(test))


@cache
def _reviews() -> Split:
    """Film reviews of one sentence as words' places in the vocabulary, padded by 0, and whether they are kind."""
    texts = []
    for kind in ("neg", "pos"):
        raw = gzip.decompress(verified(f"text/rt-polarity.{kind}.txt.gz", None).read_bytes()).decode()
        texts.append([re.findall(r"[a-z']+", line) for line in raw.splitlines()])
    words = Counter(word for part in texts for line in part for word in line)
    place = {word: index + 1 for index, word in enumerate(sorted(words))}
    length = max(len(line) for part in texts for line in part)
    tokens = torch.zeros(sum(map(len, texts)), length, dtype=torch.long)
    for row, line in enumerate(line for part in texts for line in part):
        tokens[row, : len(line)] = torch.tensor([place[word] for word in line], dtype=torch.long)
    kinds = torch.arange(2).repeat_interleave(torch.tensor([len(part) for part in texts]))
    order = torch.randperm(len(kinds), generator=generator(32))
    return parted(tokens[order], kinds[order], len(kinds) - 2000)


def rare_words(seed: int, batch_size: int = 32) -> Problem:
    """Whether a review is kind, by the mean of its words' vectors: most words are met a few times in a run."""
    split = _reviews()
    model = nn.Sequential(nn.EmbeddingBag(int(split.inputs.max()) + 1, 64, padding_idx=0), nn.Linear(64, 2))
    return supervised(seed, model, split, F.cross_entropy, batch_size)


def rare_words_noise(seed: int) -> Problem:
    """The same in batches of eight: gradients are mostly noise."""
    return rare_words(seed, 8)


def clipped_decoder(seed: int) -> Problem:
    """A decoder of first names goes on with Shakespeare, its gradients clipped to a norm of 1."""
    text = gzip.decompress(verified("text/tinyshakespeare.txt.gz", None).read_bytes())
    names = gzip.decompress(verified("text/names.txt.gz", None).read_bytes())
    model = Transformer(nn.Embedding(128, 64), _LENGTH, 128, width=64, causal=True)

    plays, known = (torch.frombuffer(bytearray(raw), dtype=torch.uint8).long() % 128 for raw in (text, names))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3000 + seed)

        def of_names() -> Tensor:
            inputs, targets = windows(known, _LENGTH, 16)
            return token_loss(model(inputs), targets)

        pretrain(model.parameters(), of_names, _PRETRAINING_STEPS)
    model.zero_grad()
    cut = len(plays) * 9 // 10
    train, test = plays[:cut], plays[cut:]
    fixed = Split(*windows(train, _LENGTH, 200, generator(33)), *windows(test, _LENGTH, 200, generator(34)))
    problem = streamed(seed, model, fixed, token_loss, lambda count: windows(train, _LENGTH, count), 8)
    return replace(problem, largest_norm=1.0)
