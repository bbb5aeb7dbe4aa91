"""Sequences: recurrent networks, a decoder, and word vectors."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from experiments.held_out_problems.networks import Block
from experiments.held_out_problems.problem import Problem, Rows, generator, pick, streamed
from experiments.tasks.networks import Split, token_loss

TOKENS = 16
CONTEXT = 20  # tokens before the one that is predicted
WORDS = 500


class Recurrent(nn.Module):
    """A recurrent layer and a linear one, on vectors or on the embeddings of tokens."""

    def __init__(self, embedding: nn.Module, recurrent: nn.RNNBase, outputs: int, *, last: bool) -> None:
        super().__init__()
        self.embedding, self.recurrent, self.last = embedding, recurrent, last
        self.head = nn.Linear(recurrent.hidden_size, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(rows, length, ...) to (rows, length, outputs), or (rows, outputs) of the last place."""
        hidden = self.recurrent(self.embedding(x))[0]
        return self.head(hidden[:, -1] if self.last else hidden)


def lstm_adding(seed: int) -> Problem:
    """The sum of the two marked ones of twenty numbers (Hochreiter & Schmidhuber, 1997)."""
    length = 20

    def sample(count: int, random: torch.Generator | None = None) -> Rows:
        numbers = torch.rand(count, length, generator=random)
        first = torch.randint(length // 2, (count, 1), generator=random)
        second = length // 2 + torch.randint(length // 2, (count, 1), generator=random)
        marks = torch.zeros(count, length).scatter_(1, first, 1.0).scatter_(1, second, 1.0)
        return torch.stack([numbers, marks], 2), (numbers * marks).sum(1, keepdim=True)

    model = Recurrent(nn.Identity(), nn.LSTM(2, 32, batch_first=True), 1, last=True)
    fixed = Split(*sample(1024, generator(11)), *sample(1024, generator(12)))
    return streamed(seed, model, fixed, F.mse_loss, sample, 32)


@cache
def markov_text(length: int = 40000) -> Tensor:
    """Tokens each of which depends on the two before it."""
    random = np.random.default_rng(5)
    probabilities = random.dirichlet([0.1] * TOKENS, size=[TOKENS, TOKENS])
    cumulative = probabilities.cumsum(-1)
    tokens = list(random.integers(0, TOKENS, 2))
    for draw in random.random(length):
        token = int(np.searchsorted(cumulative[tokens[-2], tokens[-1]], draw))
        tokens.append(min(token, TOKENS - 1))
    return torch.from_numpy(np.array(tokens))


def windows(text: Tensor, length: int, count: int, random: torch.Generator | None = None) -> Rows:
    """Places of a text (tokens,) and the tokens that follow each, both of shape (count, length)."""
    begin = torch.randint(len(text) - length, (count,), generator=random)
    tokens = text[begin[:, None] + torch.arange(length + 1)]
    return tokens[:, :-1], tokens[:, 1:]


def _next_token(seed: int, model: nn.Module, batch_size: int) -> Problem:
    """Prediction of every next token; the last fifth of the text is held out."""
    text = markov_text()
    cut = len(text) * 4 // 5

    train, test = text[:cut], text[cut:]
    fixed = Split(*windows(train, CONTEXT, 400, generator(1)), *windows(test, CONTEXT, 400, generator(2)))
    return streamed(seed, model, fixed, token_loss, lambda count: windows(train, CONTEXT, count), batch_size)


def gru_char(seed: int) -> Problem:
    """Text by a gated recurrent unit."""
    embedding = nn.Embedding(TOKENS, 16)
    model = Recurrent(embedding, nn.GRU(16, 48, batch_first=True), TOKENS, last=False)
    return _next_token(seed, model, 24)


class Decoder(nn.Module):
    """Tokens (rows, CONTEXT) to logits (rows, CONTEXT, TOKENS), with tied embeddings and dropout."""

    def __init__(self, width: int = 32, dropout: float = 0.1) -> None:
        super().__init__()
        self.embedding = nn.Embedding(TOKENS, width)
        self.position = nn.Parameter(0.02 * torch.randn(CONTEXT, width))
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.Sequential(*(Block(width, causal=True, dropout=dropout) for _ in range(2)))
        self.norm = nn.LayerNorm(width)
        nn.init.normal_(self.embedding.weight, std=0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits of the next token at every place."""
        hidden = self.dropout(self.embedding(tokens) + self.position)
        return self.norm(self.blocks(hidden)) @ self.embedding.weight.T


def gpt_dropout(seed: int) -> Problem:
    """Text by a decoder with dropout."""
    return _next_token(seed, Decoder(), 16)


@cache
def skipgrams() -> tuple[Tensor, Tensor]:
    """Pairs of words near each other, from texts of ten topics, and the distribution of negative samples."""
    random, topics = np.random.default_rng(15), 10
    frequency = 1 / np.arange(1, WORDS + 1)
    topic_of = random.integers(0, topics, WORDS)
    weights = [frequency * np.where(topic_of == topic, 8.0, 1.0) for topic in range(topics)]
    shares = [weight / weight.sum() for weight in weights]
    texts = [random.choice(WORDS, 50, p=shares[random.integers(topics)]) for _ in range(600)]
    words = np.concatenate(texts)
    pairs = np.concatenate([np.stack([words[:-gap], words[gap:]], 1) for gap in (1, 2)])
    random.shuffle(pairs)
    noise = np.bincount(words, minlength=WORDS) ** 0.75
    return torch.from_numpy(pairs), torch.from_numpy(noise / noise.sum())


def word2vec(seed: int) -> Problem:
    """Skip-grams with five negative samples (Mikolov et al., 2013)."""
    pairs, noise = skipgrams()
    train, test = pairs[:50000], pairs[50000:]
    words, contexts = nn.Embedding(WORDS, 32), nn.Embedding(WORDS, 32)
    nn.init.uniform_(words.weight, -0.5 / 32, 0.5 / 32)
    nn.init.zeros_(contexts.weight)

    def loss(pairs: Tensor) -> Tensor:
        word = words(pairs[:, 0])
        others = torch.multinomial(noise, len(pairs) * 5, replacement=True).view(-1, 5)
        near = F.logsigmoid((word * contexts(pairs[:, 1])).sum(1))
        far = F.logsigmoid(-(contexts(others) * word[:, None]).sum(2)).sum(1)
        return -(near + far).mean()

    return Problem(
        seed,
        nn.ModuleList([words, contexts]),
        draw=lambda: loss(pick(train, 256)),
        training=lambda: loss(train[:20000]),
        held_out=lambda: loss(test),
    )


class Encoder(nn.Module):
    """Tokens (rows, length) to logits (rows, answers, tokens), read off the last places; norms come last."""

    def __init__(self, tokens: int, length: int, answers: int, width: int = 48) -> None:
        super().__init__()
        self.answers = answers
        self.embedding = nn.Embedding(tokens, width)
        self.position = nn.Parameter(0.02 * torch.randn(length, width))
        layer = nn.TransformerEncoderLayer(width, 4, 2 * width, dropout=0.0, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(width, tokens)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits."""
        return self.head(self.layers(self.embedding(tokens) + self.position)[:, -self.answers :])


def addition(seed: int) -> Problem:
    """The three digits of the sum of two numbers of two, by an encoder that normalises after each layer."""

    def decimals(numbers: Tensor, count: int) -> list[Tensor]:
        return [numbers // 10**place % 10 for place in reversed(range(count))]

    def sample(count: int, random: torch.Generator | None = None) -> Rows:
        first, second = torch.randint(100, (2, count), generator=random)
        plus, blank = torch.full_like(first, 10), torch.full_like(first, 11)
        tokens = [*decimals(first, 2), plus, *decimals(second, 2), blank, blank, blank]
        return torch.stack(tokens, 1), torch.stack(decimals(first + second, 3), 1)

    fixed = Split(*sample(1000, generator(21)), *sample(500, generator(22)))
    return streamed(seed, Encoder(12, 8, 3), fixed, token_loss, sample, 64)


def copying(seed: int) -> Problem:
    """Six tokens, to be said again after they have been read."""
    length, tokens = 6, 8

    def sample(count: int, random: torch.Generator | None = None) -> Rows:
        said = torch.randint(tokens, (count, length), generator=random)
        read = torch.cat([said, torch.full_like(said, tokens)], 1)
        ignored = torch.full_like(said, -100)  # cross-entropy's own sign for a place that does not count
        return read, torch.cat([ignored, said], 1)

    embedding = nn.Embedding(tokens + 1, 24)
    model = Recurrent(embedding, nn.LSTM(24, 64, batch_first=True), tokens + 1, last=False)
    fixed = Split(*sample(500, generator(23)), *sample(500, generator(24)))
    return streamed(seed, model, fixed, token_loss, sample, 64)
