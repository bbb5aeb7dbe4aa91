"""Parameters that are split over processes (DTensor): each process moves its shard, and sums are over all of them.

Elementwise work never goes through the dispatch of DTensors. What it measures is one vector, and one reduction.
"""

import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Split(NamedTuple):
    """How a parameter is split."""

    mesh: Any  # DeviceMesh
    sharded: tuple[bool, ...]  # along each dimension of the mesh; otherwise it is replicated there


def split_of(param: Tensor) -> Split | None:
    """How a parameter is split; None where it is whole."""
    if not hasattr(param, "placements"):
        return None
    placements: Any = param.placements  # pyright: ignore[reportAttributeAccessIssue]
    return Split(param.device_mesh, tuple(each.is_shard() for each in placements))  # type: ignore[attr-defined]


def local(tensor: Tensor, like: Tensor | None = None) -> Tensor:
    """The shard of this process, which shares its memory; a whole tensor as it is.

    Args:
        tensor: whole or split.
        like: the parameter whose gradient it is, which may be split in another way.
    """
    if not hasattr(tensor, "to_local"):
        return tensor
    placements = getattr(like, "placements", None)
    if placements is not None and tensor.placements != placements:  # type: ignore[attr-defined]
        tensor = tensor.redistribute(placements=placements)  # type: ignore[operator]
    return tensor.to_local()  # type: ignore[operator]


def are_several() -> bool:
    """Whether other processes train with this one."""
    group = torch.distributed
    return group.is_available() and group.is_initialized() and group.get_world_size() > 1


def summed(splits: Sequence[Split | None], values: Sequence[Any]) -> list[Any]:
    """The values, which are sums over a shard each, over all shards; those of whole tensors as they are.

    Args:
        splits: of each value.
        values: a number, or shape=(n,).

    Returns:
        Tensors in place of the values that are reduced.
    """
    found = list(values)
    for split in {split for split in splits if split is not None and any(split.sharded)}:
        places = [place for place, each in enumerate(splits) if each == split]
        parts = [torch.as_tensor(values[place], dtype=torch.float64).reshape(-1) for place in places]
        vector = torch.cat(parts).to(split.mesh.device_type)
        dtensor: Any = sys.modules["torch.distributed.tensor"]  # loaded, where there is one
        kinds = [dtensor.Partial() if sharded else dtensor.Replicate() for sharded in split.sharded]
        whole = dtensor.DTensor.from_local(vector, split.mesh, kinds, run_check=False).full_tensor()
        for place, part in zip(places, whole.split([part.numel() for part in parts]), strict=True):
            found[place] = part
    return found
