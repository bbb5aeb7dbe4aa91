"""Transformers whose weights begin small, as those of BERT, GPT-2 and timm."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from experiments.held_out_problems.networks import Block

_DEVIATION = 0.02  # of the weights, as BERT, GPT-2 and timm draw them


def drawn_small(model: nn.Module) -> nn.Module:
    """The model with weights of a truncated normal distribution and no biases."""
    for module in model.modules():
        if isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.trunc_normal_(module.weight, std=_DEVIATION)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
    return model


class Transformer(nn.Module):
    """Embedded places (rows, length, width) through blocks; read off at the first place, or at every one."""

    def __init__(
        self,
        embedding: nn.Module,
        length: int,
        outputs: int,
        *,
        width: int,
        causal: bool,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.causal = causal
        self.embedding = embedding
        self.position = nn.Parameter(_DEVIATION * torch.randn(length, width))
        self.blocks = nn.Sequential(*(Block(width, causal=causal, dropout=dropout) for _ in range(3)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, outputs)
        drawn_small(self)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (rows, outputs), or (rows, length, outputs) where it is causal."""
        hidden = self.norm(self.blocks(self.embedding(x) + self.position))
        return self.head(hidden if self.causal else hidden[:, 0])


class PostNorm(nn.Module):
    """Codes (rows, length) to logits (rows, outputs): BERT's layers, which normalise last (Devlin et al., 2019)."""

    def __init__(self, outputs: int, length: int, width: int = 64) -> None:
        super().__init__()
        self.embedding = nn.Embedding(128, width)
        self.position = nn.Parameter(_DEVIATION * torch.randn(length, width))
        self.norm = nn.LayerNorm(width)
        layer = nn.TransformerEncoderLayer(width, 4, 2 * width, 0.1, F.gelu, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.pooler, self.head = nn.Linear(width, width), nn.Linear(width, outputs)
        drawn_small(self)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits."""
        hidden = self.layers(self.norm(self.embedding(tokens) + self.position))
        return self.head(torch.tanh(self.pooler(hidden[:, 0])))
