"""Checks of what only the torch front end takes; ``pfopt.options`` has those that all front ends share.

Every message names the argument, what is allowed and what came.
"""

from collections.abc import Iterable
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.parameter import is_lazy

from pfopt import options
from pfopt.torch import compilers
from pfopt.torch.slots import COMPUTED

PER_GROUP = ("lr", "momentum", "nesterov", "weight_decay")


def flags(defaults: dict[str, Any]) -> None:
    """The switches that hold for all groups."""
    for name in ("maximize", "capturable"):
        options.flag(name, defaults[name])
    for name in ("foreach", "fused"):
        if not (defaults[name] is None or isinstance(defaults[name], bool)):
            raise TypeError(f"{name} must be True, False or None, got {defaults[name]!r}")
    if defaults["foreach"] and defaults["fused"]:
        raise ValueError("fused must not be True where foreach is, got foreach=True and fused=True")


@cache
def compiler(device: torch.device) -> None:
    """The compiler of ``fused=True`` works on the device, with whatever it needs itself."""
    try:
        compilers.check(device)
    except Exception as error:
        raise RuntimeError(
            f"fused=True needs {compilers.on(device)}, which does not work here on {device}: {error}"
        ) from error


def group(given: dict[str, Any], defaults: dict[str, Any]) -> None:
    """The hyper-parameters and parameters of one group; the options of the optimizer are not a group's."""
    learning_rate(given["lr"])
    options.hyperparameters(given.get("momentum", 0.0), given.get("nesterov", False), given["weight_decay"])
    for name, value in defaults.items():
        if name not in PER_GROUP and given[name] != value:
            raise ValueError(
                f"{name} must be that of the constructor in every group, {value!r}, got {given[name]!r}"
            )
    params(given["params"])


def learning_rate(lr: Any) -> None:
    """A number, at least 0."""
    if isinstance(lr, Tensor):
        if lr.numel() != 1:
            raise ValueError(f"Tensor lr must be 1-element, got shape {tuple(lr.shape)}")
        raise ValueError(f"lr as a Tensor is not supported: lr must be a number, got {lr!r}")
    options.at_least_zero("lr", lr)


def params(given: Iterable[Tensor]) -> None:
    """Parameters that take a gradient are finite; what is frozen is nobody's business."""
    for index, param in enumerate(given):
        if not param.requires_grad or param.dtype not in COMPUTED:
            continue
        if not (param.is_meta or is_lazy(param) or torch.isfinite(param.detach()).all()):
            raise ValueError(f"params must be finite, got NaN or infinity in parameter {index} of its group")


def saved_buffers(saved: list[Tensor], own: list[Tensor]) -> None:
    """A checkpoint belongs to an optimizer with the same buffers."""
    shapes, own_shapes = ([tuple(buffer.shape) for buffer in tensors] for tensors in (saved, own))
    if shapes != own_shapes:
        raise ValueError(
            f"buffers must be those of the optimizer that was saved, of shapes {shapes}, got {own_shapes}"
        )


def saved_state(given: dict[str, Any], groups: list[dict[str, Any]], *, based: bool) -> None:
    """A checkpoint is that of this optimizer, of parameters of these shapes."""
    if not all("total_steps" in group for group in given["param_groups"]):
        raise ValueError(
            "state_dict must be that of an optimizer of pfopt.torch: its groups have no total_steps"
        )
    if any("base" in group for group in given["param_groups"]) != based:
        raise ValueError(
            "state_dict must be that of a ParameterFree, which holds the state of a base, got one that does not"
            if based
            else "state_dict must be that of a ParameterFreeSGD, got one that holds the state of a base"
        )
    own = [param for group in groups for param in group["params"]]
    keys = [key for group in given["param_groups"] for key in group["params"]]  # places, or names
    for key, param in zip(keys, own, strict=False):
        anchor = given["state"].get(key, {}).get("anchor")
        if anchor is not None and anchor.shape != param.shape:
            raise ValueError(
                f"params must have the shapes that were saved: {key} {tuple(anchor.shape)}, got {tuple(param.shape)}"
            )


def closure(given: Any) -> None:
    """What ``step`` takes first is a function."""
    if not callable(given):
        raise TypeError(
            f"closure must be callable (a loss goes as step(loss=loss)), got {type(given).__name__}"
        )


def loss(given: Any) -> Tensor | float | None:
    """A scalar loss, a number or a one-element tensor; never read here."""
    if given is None:
        return None
    if isinstance(given, Tensor):
        if given.numel() != 1:
            raise ValueError(f"loss must be a scalar, got shape {tuple(given.shape)}")
        if given.is_complex():
            raise TypeError(f"loss must be real, got dtype {given.dtype}")
        return given.detach().reshape(())
    if isinstance(given, (bool, str)) or not isinstance(given, (int, float, np.number)):
        raise TypeError(f"loss must be a scalar tensor or a number, got {type(given).__name__}")
    return float(given)
