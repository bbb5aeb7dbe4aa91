"""``find_lr``: the search alone, on a model that is left as it was."""

import copy
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import Module
from torch.optim import Optimizer

from pfopt import options
from pfopt.card import Card
from pfopt.core import budget
from pfopt.options import Practical
from pfopt.torch.base import ParameterFreeOptimizer
from pfopt.torch.sgd import ParameterFreeSGD
from pfopt.torch.wrapper import ParameterFree


def find_lr(
    model: Module,
    loss: Callable[[Any, Any], Tensor],
    batches: Iterable[Any],
    base: Optimizer | Sequence[Optimizer] | None = None,
    *,
    total_steps: int | None,
) -> Card:
    """Search the learning rate of a plain optimizer, and leave the model as it was.

    Parameters, gradients, buffers, the state of ``base`` and the random numbers of torch, numpy and Python are
    afterwards what they were. It takes some dozens or hundreds of gradients, and one copy of the parameters more than
    ``ParameterFreeSGD`` or ``ParameterFree`` does.

    Args:
        model: what is to be trained, in the mode (``train()``) in which it will be.
        loss: of the model and a batch to a scalar tensor.
        batches: what ``loss`` takes; begun again where they end, as a ``DataLoader`` can be.
        base: the optimizer that is to train it, such as ``torch.optim.AdamW(model.parameters())``, of whose learning
            rates only the groups' ratio counts, or a list of several; None for ``torch.optim.SGD``.
        total_steps: gradients of the training to come, which the length of a probe depends on; None where unknown. The
            search takes a quarter of so many at most, or of 1024 where they are fewer.

    Returns:
        The card: ``torch.optim.SGD(model.parameters(), **card.arguments())`` is the optimizer to train with.

    Raises:
        TypeError, ValueError: an argument is wrong; the batches end before the search does; or no gradient of theirs is
            finite and other than zero.

    Example:
        >>> import torch, pfopt.torch
        >>> model, rows = torch.nn.Linear(3, 1), torch.randn(64, 3)
        >>> def loss(model, batch):
        ...     return (model(batch) - batch.sum(1, keepdim=True)).square().mean()
        >>> card = pfopt.torch.find_lr(model, loss, rows.split(8), total_steps=1000)
        >>> optimizer = torch.optim.SGD(model.parameters(), **card.arguments())
    """
    options.function("loss", loss)
    given = budget.FIRST_STAGE if total_steps is None else options.total_steps(total_steps, Practical())
    steps = max(given, budget.FIRST_STAGE)
    several = list(base) if isinstance(base, (list, tuple)) else [base]
    with _left_alone(model, [each for each in several if isinstance(each, Optimizer)]):
        if base is None:
            found: ParameterFreeOptimizer = ParameterFreeSGD(model.parameters(), steps, buffers=model)
        else:
            found = ParameterFree(base, steps, buffers=model)
        _search(found, model, loss, batches, steps)
        return found.card()


def _search(
    optimizer: ParameterFreeOptimizer,
    model: Module,
    loss: Callable[..., Tensor],
    batches: Iterable[Any],
    most: int,
) -> None:
    params = [param for group in optimizer.param_groups for param in group["params"]]
    for batch in _again(batches, most):
        optimizer.zero_grad()
        value = loss(model, batch)
        value.backward()
        if all(param.grad is None for param in params):
            raise ValueError("loss must depend on the parameters: none has a gradient")
        optimizer.step(loss=value)
        if optimizer.status().phase != "search":
            return
    raise ValueError(f"batches must have gradients that are finite and not zero, got none in {most} of them")


def _again(batches: Iterable[Any], count: int) -> Iterator[Any]:
    """So many batches, from the first one again where they end."""
    taken = 0
    while taken < count:
        before = taken
        for batch in batches:
            yield batch
            taken += 1
            if taken == count:
                return
        if taken == before:
            raise ValueError(f"batches must last for the search, or be iterable again, got {taken} of them")


@contextmanager
def _left_alone(model: Module, bases: Sequence[Optimizer]) -> Iterator[None]:
    """Put everything back that a search changes."""
    params = {*model.parameters()}
    params.update(param for base in bases for group in base.param_groups for param in group["params"])
    buffers = [(owner, *named) for owner in model.modules() for named in owner.named_buffers(recurse=False)]
    tensors = params.union(buffer for _, _, buffer in buffers)
    copies = [(tensor, tensor.detach().clone()) for tensor in tensors]
    gradients = [(param, param.grad) for param in params]
    for param in params:
        param.grad = None
    try:
        with _random_numbers_kept({param.device for param in params}), ExitStack() as kept_bases:
            for base in bases:
                kept_bases.enter_context(_base_kept(base))
            yield
    finally:
        for owner, name, buffer in buffers:  # which the model may have replaced
            setattr(owner, name, buffer)
        with torch.no_grad():
            for tensor, kept in copies:
                tensor.copy_(kept)
        for param, gradient in gradients:
            param.grad = gradient


@contextmanager
def _random_numbers_kept(devices: set[torch.device]) -> Iterator[None]:
    of_python, of_numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 (of whoever draws from it)
    try:
        with torch.random.fork_rng(devices=[device for device in devices if device.type == "cuda"]):
            yield
    finally:
        random.setstate(of_python)
        np.random.set_state(of_numpy)  # noqa: NPY002


@contextmanager
def _base_kept(base: Optimizer) -> Iterator[None]:
    state, groups = base.state, [dict(group) for group in base.param_groups]
    base.state = copy.copy(state)  # of which every step changes the entries
    base.state.update({param: copy.deepcopy(kept) for param, kept in state.items()})
    try:
        yield
    finally:
        base.state = state
        for group, kept in zip(base.param_groups, groups, strict=True):
            group.clear()
            group.update(kept)
