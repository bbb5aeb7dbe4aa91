"""Operations on tensors and lists of them: they decide nothing, and none of them waits for a device."""
# pyright: reportPrivateImportUsage=false

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
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


def store(vector: Tensor, tensors: Sequence[Tensor]) -> None:
    """Write what ``concat`` has read, or its like, back into the tensors."""
    if len(tensors) > 1:
        copy(_unflatten_dense_tensors(vector, tensors), tensors)
    elif vector is not tensors[0]:
        tensors[0].copy_(vector)


# ---------------------------------------------------------------- lists of tensors


def copy(sources: Sequence[Tensor], targets: Sequence[Tensor]) -> None:
    """Write each source into its target."""
    if targets:
        torch._foreach_copy_(list(targets), list(sources))


def copy_where(condition: Flag, sources: Sequence[Tensor], targets: Sequence[Tensor]) -> None:
    """Write each source into its target where the flag holds; otherwise no NaN of a source can leak."""
    if not isinstance(condition, Tensor):
        if condition:
            copy(sources, targets)
        return
    for source, target in zip(sources, targets, strict=True):
        torch.where(condition.to(target.device), source, target, out=target)


def dense(gradient: Tensor) -> Tensor:
    """A gradient as this package computes with it: dense and real."""
    return as_real(gradient.to_dense() if gradient.is_sparse else gradient)


def as_real(tensor: Tensor) -> Tensor:
    """A complex tensor seen as pairs of real numbers; any other as it is."""
    return torch.view_as_real(tensor) if tensor.is_complex() else tensor


def checksum(vector: Tensor) -> Tensor:
    """The sum of the entries' bits, shape=(), int64, which wraps around: another one where anything was written.

    No order of summation changes it. Float32 numbers are summed in pairs, which is seven times as fast on a CPU.
    """
    flat = vector.detach().reshape(-1).contiguous()
    pairs = vector.element_size() == 4 and flat.numel() % 2 == 0 and flat.storage_offset() % 2 == 0
    words = torch.int64 if pairs else torch.int16 if vector.element_size() == 2 else torch.int32
    return flat.view(words).sum()


# ---------------------------------------------------------------- sums


def computed(dtype: torch.dtype) -> torch.dtype:
    """The dtype in which parameters of a dtype are computed."""
    return torch.float32 if dtype in HALF else dtype.to_real()


def statistics_dtype(device: torch.device) -> torch.dtype:
    """Float64 where the device knows it."""
    return torch.float32 if device.type == "mps" else torch.float64


def norms_sq(tensors: Sequence[Tensor], *, on_host: bool) -> Any:
    """‖x‖² of each tensor, shape=(tensors,), in the dtype of the statistics; on the host where that is asked."""
    dtype = torch.float32 if tensors[0].dtype in HALF else None
    norms = torch._foreach_norm(list(tensors), 2, dtype=dtype)
    whole = torch.stack(norms)
    if on_host and whole.device.type == "cpu":
        return np.square(whole.numpy(), dtype=np.float64)
    return whole.to(statistics_dtype(whole.device)).square_()


def inner(one: Tensor, other: Tensor, sizes: Sequence[int], *, on_host: bool) -> Any:
    """⟨a, b⟩ of each tensor, shape=(tensors,), or () for one; likewise."""
    return arithmetic(sizes, on_host=on_host).dot(one, other)


def numbers(values: Sequence[Any]) -> list[Any]:
    """Numbers of the host; those on a device are read all at once."""
    tensors = [value.reshape(-1) for value in values if isinstance(value, Tensor)]
    if not tensors:
        return list(values)
    read = iter(
        torch.cat([tensor.to(tensors[0]) for tensor in tensors]).cpu().double().split([*map(len, tensors)])
    )
    return [next(read).numpy() if isinstance(value, Tensor) else value for value in values]


# ---------------------------------------------------------------- what ``pfopt.core.update`` computes with


def arithmetic(sizes: Sequence[int], *, on_host: bool) -> Arithmetic:
    """For tensors of these sizes that are one vector.

    Args:
        sizes: the number of entries of each tensor.
        on_host: whether the controller is: then sums on a CPU are read at once, and averages are written where they
            are. A flag on a device may yet refuse them.
    """
    one = ALONE_ON_HOST if on_host else ALONE
    if len(sizes) == 1:
        return one
    dots, clip, spread = partial(_dots, sizes, on_host), partial(_clip, sizes), partial(_spread, sizes)
    return one._replace(dot=dots, clip=clip, spread=spread)


def _dot(one: Tensor, other: Tensor) -> Tensor:
    if one.is_contiguous() and other.is_contiguous() and one.dtype == other.dtype:
        product = torch.dot(one.view(-1), other.view(-1))  # no pass over memory for the products
    else:
        product = (one * other).sum()
    return product.to(statistics_dtype(product.device))


def _dot_on_host(one: Tensor, other: Tensor) -> Any:
    product = _dot(one, other)
    return product.item() if product.device.type == "cpu" else product


def _dots(sizes: Sequence[int], on_host: bool, one: Tensor, other: Tensor) -> Any:
    """⟨a, b⟩ of each tensor."""
    if one.device.type == "cpu":
        parts = zip(one.split(list(sizes)), other.split(list(sizes)), strict=True)
        products = [torch.dot(*pair) for pair in parts]
        if on_host:
            return torch.tensor([product.item() for product in products], dtype=torch.float64)
    else:
        products = [part.sum() for part in (one * other).split(list(sizes))]
    return torch.stack(products).to(statistics_dtype(one.device))


def _move(point: Tensor, step: Any, direction: Tensor) -> Tensor:
    """The point x − η d, in one pass."""
    if isinstance(step, Tensor):
        return torch.addcmul(point, step, direction, value=-1)
    if step > torch.finfo(point.dtype).max:  # which torch refuses as alpha
        return point - step * direction
    return torch.sub(point, direction, alpha=step)


def _spread(sizes: Sequence[int], numbers: Any) -> Any:
    """The number of each tensor at all of its entries; one number for all of them as it is."""
    if not isinstance(numbers, Tensor) or numbers.ndim == 0:
        return numbers
    if numbers.device.type == "cpu":
        return torch.repeat_interleave(numbers, torch.tensor(sizes), output_size=sum(sizes))
    return torch.cat([number.expand(size) for number, size in zip(numbers.unbind(), sizes, strict=True)])


def _clip_alone(vector: Tensor, least: Any, most: Any) -> Tensor:
    """The entries clipped to numbers, which torch refuses beyond the range of the entries' dtype."""
    if not isinstance(most, Tensor):
        largest = torch.finfo(vector.dtype).max
        least, most = min(least, largest), min(most, largest)
    return torch.clip(vector, least, most)


def _clip(sizes: Sequence[int], vector: Tensor, least: Any, most: Any) -> Tensor:
    """The entries clipped to what is allowed for their tensor; may write into the vector."""
    if not isinstance(least, Tensor) or least.ndim == 0:
        return _clip_alone(vector, least, most)
    if vector.device.type != "cpu":
        return torch.clip(vector, _spread(sizes, least), _spread(sizes, most))
    parts = vector.split(list(sizes))
    torch._foreach_clamp_min_(parts, least.tolist())
    torch._foreach_clamp_max_(parts, most.tolist())
    return vector


ALONE = Arithmetic(_dot, torch.lerp, _move, _clip_alone)
ALONE_ON_HOST = Arithmetic(_dot_on_host, Tensor.lerp_, _move, _clip_alone)
