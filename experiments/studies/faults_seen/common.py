"""A small network, and how it is trained; shared by all rows."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW

from pfopt.torch import ParameterFree, ParameterFreeSGD

STEPS = 400
MAKES: dict[str, Callable[..., Any]] = {
    "ParameterFreeSGD": lambda params, steps=STEPS: ParameterFreeSGD(params, steps),
    "around AdamW": lambda params, steps=STEPS: ParameterFree(AdamW(params), steps),
}


def network(seed: int = 0) -> tuple[Any, Callable[[int], Tensor]]:
    """A network, and the loss of a step's batch."""
    torch.manual_seed(seed)
    inputs, model = torch.randn(256, 8), nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 1))
    targets = (inputs @ torch.randn(8)).tanh() + 0.1 * torch.randn(256)

    def loss(step: int) -> Tensor:
        rows = torch.randint(256, (32,), generator=torch.Generator().manual_seed(step))
        return (model(inputs[rows])[:, 0] - targets[rows]).square().mean()

    return model, loss


def train(optimizer: Any, loss: Callable[[int], Tensor], first: int, last: int, factor: float = 1.0) -> None:
    """Steps, from one to before another; the loss times a number."""
    for step in range(first, last):
        optimizer.zero_grad()
        (factor * loss(step)).backward()
        optimizer.step()


def mean_loss(loss: Callable[[int], Tensor]) -> float:
    """The mean loss of batches that no step has."""
    with torch.no_grad():
        return float(torch.stack([loss(step) for step in range(1000, 1040)]).mean())


def sentences(call: Callable[[], Any]) -> list[str]:
    """The warnings of a call, or its error."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            call()
        except (ValueError, TypeError, RuntimeError) as error:
            return [f"{type(error).__name__}: {error}"]
    return [str(each.message) for each in caught]
