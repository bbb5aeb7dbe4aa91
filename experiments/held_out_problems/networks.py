"""Networks of more than one group of problems."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import AdamW


def perceptron(*widths: int, activation: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    """Linear layers with an activation between them: (rows, widths[0]) to (rows, widths[-1])."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), activation()]
    return nn.Sequential(*layers[:-1])


def pretrain(parameters: Iterable[nn.Parameter], loss: Callable[[], Tensor], steps: int) -> None:
    """Minimise a loss whose batches are drawn from torch's global generator, by AdamW at a constant rate of 0.001."""
    optimizer = AdamW(parameters, 1e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()


class Block(nn.Module):
    """Attention and a perceptron, each normalised before and added to its input, with dropout."""

    def __init__(self, width: int, *, causal: bool, dropout: float = 0.0, heads: int = 4) -> None:
        super().__init__()
        self.causal, self.dropout, self.heads = causal, dropout, heads
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(rows, length, width) to the same shape."""
        x = x + F.dropout(self.out(self._attended(self.norm1(x))), self.dropout, self.training)
        return x + F.dropout(self.down(F.gelu(self.up(self.norm2(x)))), self.dropout, self.training)

    def _attended(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        dropout = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal, dropout_p=dropout)
        return mixed.transpose(1, 2).reshape(x.shape)
