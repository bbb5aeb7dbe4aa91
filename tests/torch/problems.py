"""Small deterministic problems, and ways to feed them to an optimizer, shared by the tests of pfopt.torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ROWS = 24
BATCH = 8
FEEDS = ("gradients", "loss", "closure")

# Between frameworks: exact gradients ride the edge of stability in the long run, where rounding errors grow.
NOISE = {"practical": 0.03, "certified": 0.0}


class Regression(nn.Module):
    """Least squares in float32, whatever the parameters' dtype: 4 inputs, 3 outputs, fixed data."""

    def __init__(
        self, *, dtype: torch.dtype = torch.float32, batch_norm: bool = False, seed: int = 0
    ) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(seed)
        self.inputs = torch.randn(ROWS, 4, generator=draw)
        weight, bias = torch.randn(3, 4, generator=draw), torch.randn(3, generator=draw)
        self.targets = F.linear(self.inputs, weight, bias) + 0.1 * torch.randn(ROWS, 3, generator=draw)
        self.weight = nn.Parameter(torch.randn(3, 4, generator=draw).to(dtype))
        self.bias = nn.Parameter(torch.zeros(3, dtype=dtype))
        self.norm = nn.BatchNorm1d(3) if batch_norm else None

    def forward(self, inputs: Tensor) -> Tensor:
        outputs = F.linear(inputs, self.weight.float(), self.bias.float())
        return outputs if self.norm is None else self.norm(outputs)

    def loss(self, step: int | None = None) -> Tensor:
        """The loss of mini-batch `step` of a fixed cycle, or (None) of all rows."""
        rows = slice(None)
        if step is not None:
            start = BATCH * step % ROWS
            rows = slice(start, start + BATCH)
        return (self(self.inputs[rows]) - self.targets[rows]).square().mean()

    def full_loss(self) -> float:
        with torch.no_grad():
            return float(self.loss())


def feed_step(model: Regression, optimizer: Any, step: int | None, feed: str = "gradients") -> None:
    """One training step on mini-batch `step`, telling the optimizer as much as `feed` says."""

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = model.loss(step)
        loss.backward()
        return loss

    if feed == "closure":
        optimizer.step(closure)
    elif feed == "loss":
        optimizer.step(loss=closure())
    else:
        closure()
        optimizer.step()


def run(
    model: Regression,
    optimizer: Any,
    steps: int,
    *,
    first: int = 0,
    feed: str = "gradients",
    full_batch: bool = False,
    after_step: Callable[[int], None] | None = None,
) -> None:
    """Steps `first` to `first + steps - 1`; `after_step(step)` is called after each."""
    for step in range(first, first + steps):
        feed_step(model, optimizer, None if full_batch else step, feed)
        if after_step is not None:
            after_step(step)


def until_done(optimizer: Any, budget: int) -> Iterator[int]:
    """0, 1, … for as long as there is something left to do, which must not be longer than the budget."""
    step = 0
    while optimizer.status().phase != "done":
        assert step < budget, f"not done after {budget} steps: {optimizer.status()}"
        yield step
        step += 1


def snapshot(model: nn.Module) -> dict[str, Tensor]:
    """Copies of all parameters and buffers."""
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def assert_same(one: Any, other: Any, where: str = "") -> None:
    """Equal bit for bit, through dicts, lists and tuples; NaN equals nothing."""
    if isinstance(one, Tensor) or isinstance(other, Tensor):
        assert isinstance(one, Tensor), where
        assert isinstance(other, Tensor), where
        assert one.dtype == other.dtype, f"{where}: {one.dtype}, {other.dtype}"
        assert torch.equal(one, other), f"{where}: {one}, {other}"
    elif isinstance(one, Mapping):
        assert one.keys() == other.keys(), f"{where}: {list(one)}, {list(other)}"
        for key in one:
            assert_same(one[key], other[key], f"{where}[{key!r}]")
    elif isinstance(one, Sequence) and not isinstance(one, str):
        assert len(one) == len(other), f"{where}: {one}, {other}"
        for index, (item, item_of_other) in enumerate(zip(one, other, strict=True)):
            assert_same(item, item_of_other, f"{where}[{index}]")
    else:
        assert one == other, where


def all_finite(model: nn.Module) -> bool:
    return all(bool(torch.isfinite(value).all()) for value in model.state_dict().values())
