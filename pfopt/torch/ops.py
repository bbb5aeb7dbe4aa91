"""Operations on tensors and lists of them: they decide nothing, and none of them waits for a device."""
# pyright: reportPrivateImportUsage=false

from collections.abc import Sequence
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor
from torch._utils import _flatten_dense_tensors, _unflatten_dense_tensors

from pfopt.core.arrays import Flag
from pfopt.core.update import Arithmetic

HALF = (torch.float16, torch.bfloat16)


# ---------------------------------------------------------------- several tensors as one vector


def concat(tensors: Sequence[Tensor]) -> Tensor:
    """All entries as one vector; a single tensor as it is."""
    return tensors[0] if len(tensors) == 1 else _flatten_dense_tensors(tensors)


def split(vector: Tensor, sizes: Sequence[int]) -> Sequence[Tensor]:
    """The entries of each tensor of these sizes; views."""
    return [vector] if len(sizes) == 1 else vector.split(list(sizes))


def store(vector: Tensor, tensors: Sequence[Tensor]) -> None:
    """Write what ``concat`` has read back into the tensors."""
    if len(tensors) > 1:
        copy(_unflatten_dense_tensors(vector, tensors), tensors)
    elif vector is not tensors[0]:
        tensors[0].copy_(vector)


# ---------------------------------------------------------------- lists of tensors


def copy(sources: Sequence[Tensor], targets: Sequence[Tensor]) -> None:
    """Write each source into its target."""
    if len(targets) == 1:
        targets[0].copy_(sources[0])  # the only way that a DTensor knows
    elif targets:
        torch._foreach_copy_(list(targets), list(sources))


def copy_where(condition: Flag, sources: Sequence[Tensor], targets: Sequence[Tensor]) -> None:
    """Write each source into its target where the flag holds; otherwise no NaN of a source can leak."""
    if not isinstance(condition, Tensor):
        if condition:
            copy(sources, targets)
        return
    for source, target in zip(sources, targets, strict=True):
        torch.where(condition.to(target.device), source, target, out=target)


def swap(ones: Sequence[Tensor], others: Sequence[Tensor]) -> None:
    """Exchange the entries of two lists."""
    held = [one.clone() for one in ones]
    copy(others, ones)
    copy(held, others)


def dense(gradient: Tensor) -> Tensor:
    """A gradient as this package computes with it: dense and real."""
    return as_real(gradient.to_dense() if gradient.is_sparse else gradient)


def as_real(tensor: Tensor) -> Tensor:
    """A complex tensor seen as pairs of real numbers; any other as it is."""
    return torch.view_as_real(tensor) if tensor.is_complex() else tensor


# ---------------------------------------------------------------- sums


def statistics_dtype(device: torch.device) -> torch.dtype:
    """Float64 where the device knows it."""
    return torch.float32 if device.type == "mps" else torch.float64


def norms_sq(tensors: Sequence[Tensor]) -> Tensor:
    """‖x‖² of each tensor, shape=(tensors,), in the dtype of the statistics."""
    return _norms(tensors, 2).square()


def inner(vector: Tensor, other: Tensor, sizes: Sequence[int]) -> Tensor:
    """⟨a, b⟩ of each tensor, shape=(tensors,), in the dtype of the statistics."""
    return torch.stack([total(part) for part in split(vector * other, sizes)])


def total(vector: Tensor) -> Tensor:
    """The sum of all entries, shape=(), in the dtype of the statistics."""
    return _gathered(vector.sum()).to(statistics_dtype(vector.device))


def arithmetic(sizes: Sequence[int]) -> Arithmetic:
    """What ``pfopt.core.update`` computes with, on tensors of these sizes that are one vector."""
    return ALONE if len(sizes) == 1 else _joint(tuple(sizes))


ALONE = Arithmetic(total, torch.lerp)


@cache
def _joint(sizes: tuple[int, ...]) -> Arithmetic:
    lengths = torch.tensor(sizes)
    return Arithmetic(total, torch.lerp, partial(_totals, sizes, lengths), partial(_spread, sizes, lengths))


def _totals(sizes: Sequence[int], lengths: Tensor, vector: Tensor) -> Tensor:
    """The sum of each tensor's entries, which are not negative."""
    if vector.device.type != "cpu":
        return _norms(split(vector, sizes), 1)  # one kernel for all of them
    sums = torch.segment_reduce(vector, "sum", lengths=lengths, unsafe=True)
    return sums.to(statistics_dtype(vector.device))


def _spread(sizes: Sequence[int], lengths: Tensor, numbers: Tensor) -> Tensor:
    """The number of each tensor at all of its entries; one number for all of them as it is."""
    if numbers.ndim == 0:
        return numbers
    if numbers.device.type == "cpu":
        return torch.repeat_interleave(numbers, lengths, output_size=sum(sizes))
    return torch.cat([number.expand(size) for number, size in zip(numbers.unbind(), sizes, strict=True)])


def _norms(tensors: Sequence[Tensor], order: int) -> Tensor:
    norms = torch._foreach_norm(list(tensors), order)
    whole = [_gathered(norms[0])] if len(norms) == 1 else norms
    return torch.stack(whole).to(statistics_dtype(whole[0].device))


def _gathered(number: Any) -> Tensor:
    """The number over all shards, where the tensor was a DTensor."""
    return number.full_tensor() if hasattr(number, "full_tensor") else number
