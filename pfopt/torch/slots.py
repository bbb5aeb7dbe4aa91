"""What is remembered of one parameter, in ``state[p]``: its anchor, the average, and what the plan needs besides."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pfopt.torch import ops
from pfopt.torch.state import Setting

POINTS = ("anchor", "average", "lo", "hi", "iterate", "base_anchor")  # what hangs on where a parameter began
COMPUTED = (*ops.HALF, torch.float32, torch.float64, torch.complex64, torch.complex128)


def names(setting: Setting, *, momentum: bool) -> list[str]:
    """What is remembered of a parameter, from its first gradient on.

    The search needs the anchor alone, but distributed checkpoints are loaded into what a first step has made.
    """
    config = setting.config
    found = ["anchor", "average"] if config.returns_average else ["anchor"]
    if config.certified:
        found += ["lo", "hi"] if config.returns_average else ["lo", "hi", "grad_sum"]
    if momentum:
        found.append("momentum_buffer")
    if setting.by_coordinate:
        found.append("mean_square")
    return found


def fill(state: dict[str, Any], param: Tensor, names: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Make the tensors of one parameter that are not there yet; float32 where it has half precision.

    Returns:
        The state, and the names in it of what belongs to this optimizer.

    Raises:
        TypeError: nobody can compute with numbers of this dtype.
    """
    if param.dtype not in COMPUTED:
        raise TypeError(f"params with a gradient must be floating-point or complex, got dtype {param.dtype}")
    half = param.dtype in ops.HALF
    every = [*names, "iterate"] if half else list(names)
    for name in every:
        if name not in state:
            make = torch.zeros_like if name in ("grad_sum", "momentum_buffer", "mean_square") else torch.clone
            wide = param.detach().float() if half else param.detach()
            state[name] = make(wide, memory_format=torch.preserve_format)
    return state, every
