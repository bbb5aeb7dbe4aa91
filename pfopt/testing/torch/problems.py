"""The small problems on which optimizers of torch are checked, and how they are trained."""
# pyright: reportPrivateImportUsage=false

import copy
import io
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from pfopt.testing.findings import STEPS, demand

Make = Callable[[Any], Any]
"""Builds the optimizer over parameters or groups."""

ROWS, BATCH = 64, 16


class Regression:
    """A network of two layers on a noiseless target: batches are drawn by the number of the step."""

    def __init__(self, dtype: torch.dtype = torch.float32, scale: float = 1.0) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.inputs = torch.randn(ROWS, 4)
            self.targets = (self.inputs @ torch.randn(4, 1) + 0.5).to(dtype)
            self.model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 1)).to(dtype)
        self.inputs, self.scale = self.inputs.to(dtype), scale

    @property
    def params(self) -> list[nn.Parameter]:
        """All parameters, in the model's order."""
        return list(self.model.parameters())

    def loss(self, step: int | None = None) -> Tensor:
        """Half the mean squared error of a batch, or of all rows."""
        rows = slice(None)
        if step is not None:
            rows = torch.arange(step * BATCH, (step + 1) * BATCH) % ROWS
        return self.scale * (self.model(self.inputs[rows]) - self.targets[rows]).square().mean() / 2

    @torch.no_grad()
    def value(self) -> float:
        """The loss of all rows in float64, so that it is not what is tested, and without the scale."""
        model = copy.deepcopy(self.model).double()
        return float((model(self.inputs.double()) - self.targets.double()).square().mean() / 2)

    def backward(self, step: int) -> Tensor:
        """Leave the gradients of a batch in the parameters."""
        for param in self.params:
            param.grad = None
        loss = self.loss(step)
        loss.backward()
        return loss


def ready(make: Make, params: Any) -> Any:
    """The optimizer; one that tells training from evaluation is told, as trainers do."""
    optimizer = make(params)
    _mode(optimizer, "train")
    return optimizer


@contextmanager
def deployed(optimizer: Any) -> Iterator[None]:
    """The point that an optimizer with ``eval()`` hands out, for as long as this lasts."""
    _mode(optimizer, "eval")
    try:
        yield
    finally:
        _mode(optimizer, "train")


def _mode(optimizer: Any, name: str) -> None:
    switch = getattr(optimizer, name, None)
    if callable(switch):
        switch()


def train(problem: Regression, optimizer: Any, steps: Iterable[int] = range(STEPS)) -> None:
    """Take the gradients of these steps."""
    for step in steps:
        problem.backward(step)
        optimizer.step()


def snapshot(params: Iterable[Tensor]) -> list[Tensor]:
    """Copies that no step reaches."""
    return [param.detach().clone() for param in params]


def same(one: Iterable[Tensor], other: Iterable[Tensor]) -> bool:
    """Equal bit for bit; NaN equals nothing."""
    return all(torch.equal(a.detach(), b.detach()) for a, b in zip(one, other, strict=True))


def finite(params: Iterable[Tensor]) -> bool:
    """No NaN and no infinity."""
    return all(bool(torch.isfinite(param.detach()).all()) for param in params)


def apart(one: Iterable[Tensor], other: Iterable[Tensor], start: Iterable[Tensor]) -> float:
    """The distance between two points, relative to how far the second has come."""
    one, other, start = map(_flat, (one, other, start))
    return float((one - other).norm() / (other - start).norm())


def _flat(params: Iterable[Tensor]) -> Tensor:
    values = [param.detach() for param in params]
    reals = [torch.view_as_real(value) if value.is_complex() else value for value in values]
    return torch.cat([value.double().reshape(-1) for value in reals])


def on_disk(value: Any) -> Any:
    """What is read back of a file, by the loader that runs no code."""
    file = io.BytesIO()
    torch.save(value, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def demand_descent(problem: Regression, optimizer: Any, before: float, where: str) -> None:
    """What is handed out is finite, and better than the start."""
    with deployed(optimizer):
        demand(finite(problem.params), f"{where}: a parameter is not finite.")
        after = problem.value()
    demand(after < before, f"{where}: the loss went from {before:.4g} to {after:.4g} in {STEPS} steps.")
