"""Transformers of torch's own layers: a vision transformer, an encoder that fills gaps, a decoder with dropout."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from experiments.tasks import texts
from experiments.tasks.data import DataDir
from experiments.tasks.networks import DeepTask, Split, token_loss
from experiments.tasks.seeded import SeededTask
from experiments.tasks.vision import mnist

LENGTH = 48  # characters of a text
PATCH, SIDE, CLASSES = 7, 28, 10
DEVIATION, FULL_WIDTH = (
    0.02,
    768,
)  # of the weights of BERT, GPT-2 and ViT-Base; narrower ones are drawn larger


class Transformer(nn.Module):
    """Embedded places through layers, to logits at every place, or of the mean of all places.

    Args:
        embedding: Makes (rows, length, width) of the inputs.
        length: Places.
        outputs: Logits.
        width: Of the hidden states.
        layers: Number of layers.
        causal: Whether a place sees the earlier ones only.
        pooled: Whether the logits are those of the mean, (rows, outputs), or of every place, (rows, length, outputs).
        norm_first: Whether layers normalise their inputs (GPT-2, ViT) or their sums (BERT).
        dropout: Of the layers.
    """

    def __init__(
        self,
        embedding: nn.Module,
        length: int,
        outputs: int,
        *,
        width: int,
        layers: int = 2,
        causal: bool = False,
        pooled: bool = False,
        norm_first: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.causal, self.pooled = causal, pooled
        self.embedding = embedding
        deviation = DEVIATION * (FULL_WIDTH / width) ** 0.5
        self.position = nn.Parameter(deviation * torch.randn(length, width))
        layer = nn.TransformerEncoderLayer(
            width, 4, 4 * width, dropout, F.gelu, batch_first=True, norm_first=norm_first
        )
        self.layers = nn.TransformerEncoder(layer, layers, nn.LayerNorm(width), enable_nested_tensor=False)
        self.head = nn.Linear(width, outputs)
        for name, weight in self.named_parameters():
            if weight.dim() > 1 and name != "position":
                nn.init.trunc_normal_(weight, std=deviation)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        hidden = self.embedding(x) + self.position
        mask = nn.Transformer.generate_square_subsequent_mask(hidden.shape[1]) if self.causal else None
        hidden = self.layers(hidden, None if mask is None else mask.to(x.device), is_causal=self.causal)
        return self.head(hidden.mean(1) if self.pooled else hidden)


def vision(width: int, layers: int, classes: int = CLASSES) -> Transformer:
    """A vision transformer on 16 patches of 7 by 7: (rows, 1, 28, 28) to (rows, classes)."""
    count = SIDE // PATCH
    patches = nn.Sequential(Patches(), nn.Linear(PATCH * PATCH, width))
    return Transformer(patches, count**2, classes, width=width, layers=layers, pooled=True)


class Patches(nn.Module):
    """Pictures to patches: (rows, 1, 28, 28) to (rows, 16, 49)."""

    def forward(self, x: Tensor) -> Tensor:
        """The patches, row by row."""
        return (
            x[:, 0]
            .unflatten(2, (-1, PATCH))
            .unflatten(1, (-1, PATCH))
            .transpose(2, 3)
            .flatten(3)
            .flatten(1, 2)
        )


def characters(width: int, outputs: int = texts.CODES, **choices: Any) -> Transformer:
    """A transformer on the codes of ``LENGTH`` characters."""
    return Transformer(nn.Embedding(texts.CODES, width), LENGTH, outputs, width=width, **choices)


def vision_task(
    name: str, data_dir: DataDir, device: torch.device, *, width: int, layers: int, rows: int
) -> DeepTask:
    """MNIST by a vision transformer, of the first ``rows`` pictures."""
    build = partial(vision, width, layers)
    return DeepTask(name, partial(_first, rows, data_dir), build, eval_rows=1000, device=device)


def _first(rows: int, data_dir: DataDir) -> Split:
    split = mnist(data_dir)
    return split._replace(inputs=split.inputs[:rows], targets=split.targets[:rows])


def gaps_task(name: str, data_dir: DataDir, device: torch.device, *, width: int, layers: int) -> SeededTask:
    """Gaps in Shakespeare, filled in by an encoder that normalises last, as BERT; a tenth of the text is held out."""
    build = partial(characters, width, layers=layers, norm_first=False, dropout=0.1)
    return SeededTask(name, partial(_gaps, data_dir), build, token_loss, "loss", 200, device)


def _gaps(data_dir: DataDir) -> Split:
    text = texts.codes(texts.read(texts.SHAKESPEARE, data_dir))
    cut = len(text) * 9 // 10
    train, test = text[:cut].unfold(0, LENGTH, LENGTH // 2), text[cut:].unfold(0, LENGTH, LENGTH)
    return Split(*texts.with_gaps(train, 1), *texts.with_gaps(test, 2))


def decoder_task(
    name: str, data_dir: DataDir, device: torch.device, *, width: int, layers: int, share: int
) -> SeededTask:
    """The next characters of a small part of Shakespeare, one in ``share``, by a decoder with dropout as GPT-2's."""
    build = partial(characters, width, layers=layers, causal=True, dropout=0.1)
    return SeededTask(name, partial(_small, share, data_dir), build, token_loss, "loss", 200, device)


def _small(share: int, data_dir: DataDir) -> Split:
    text = texts.codes(texts.read(texts.SHAKESPEARE, data_dir))
    cut = len(text) * 9 // 10
    return texts.next_characters(text[: cut // share], text[cut:], LENGTH)
