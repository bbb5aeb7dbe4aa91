"""Over what displacement and gradients are measured: all parameters, then every group or tensor.

Groups may move at different rates. Where rho is a group's lr over the largest one, its step size is rho times
that of the others, which is plain SGD in the metric ‖x‖²/rho: there a gradient has the norm rho ‖g‖².
"""

from typing import Any

import torch
from torch import Tensor

from pfopt.torch.kernels import Bundle

SCOPES = ("auto", "global", "group", "tensor")


def count(groups: list[dict[str, Any]]) -> int:
    """How many scopes there are beside the whole parameter vector."""
    options = groups[0]
    if options["plan"] == "certified" or options["scope"] == "global":
        return 0
    if options["scope"] == "group":
        return len(groups)
    return sum(len(group["params"]) for group in groups)


def ratios(groups: list[dict[str, Any]]) -> list[float]:
    """Rho of every group, from ``initial_lr`` where a scheduler holds every lr at 0; empty if unknown."""
    for name in ("lr", "initial_lr"):
        rates = [float(group.get(name, 0.0)) for group in groups]
        if any(rates):
            return [rate / max(rates) for rate in rates]
    return []


def by_scope(
    groups: list[dict[str, Any]], bundles: list[Bundle], rho: list[float], squares: list[Tensor], power: int
) -> Tensor:
    """Weighted sums of the squares of each tensor, shape=(1 + scopes,): of all, then of each scope.

    The weight is rho**power: 1 for gradients and −1 for displacements in the metric. A group with rho = 0
    does not count.
    """
    weights = [rho[b.group] ** power if rho[b.group] > 0 else 0.0 for b in bundles]
    weighted = [square * weight for square, weight in zip(squares, weights, strict=True)]
    sums = torch.stack([square.sum() for square in weighted])
    whole = sums.sum().reshape(1)
    scopes = count(groups)
    if scopes == 0:
        return whole
    if groups[0]["scope"] == "group":
        group_of = [b.group for b in bundles]
        parts = [[s for s, group in zip(sums, group_of, strict=True) if group == g] for g in range(scopes)]
        return torch.cat([whole, torch.stack([torch.stack(part).sum() for part in parts])])
    return torch.cat([whole, *weighted])


def step_sizes(scope: str, steps: Tensor, bundle: Bundle, place: int) -> Tensor | list[Tensor]:
    """The entries of ``steps``, shape=(1 + scopes,), that move ``bundle``; ``place`` is its first one's."""
    if scope == "global":
        return steps[0]
    if scope == "group":
        return steps[1 + bundle.group]
    own = list(steps[place : place + len(bundle.params)])
    return own if scope == "tensor" else [torch.maximum(steps[0], each) for each in own]
