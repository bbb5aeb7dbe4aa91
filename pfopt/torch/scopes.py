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
    weighted = [
        square if weight == 1 else square * weight for square, weight in zip(squares, weights, strict=True)
    ]
    if count(groups) == 0:
        return torch.cat(weighted).sum().reshape(1)
    values = by_place(bundles, weighted)
    whole = values.sum().reshape(1)
    if groups[0]["scope"] == "group":
        parts = values.split([len(group["params"]) for group in groups])
        return torch.cat([whole, torch.stack([part.sum() for part in parts])])
    return torch.cat([whole, values])


def by_place(bundles: list[Bundle], values: list[Tensor]) -> Tensor:
    """What each bundle has of its tensors, summed up by parameter: shape=(parameters,), in their order."""
    places = [place for bundle in bundles for place in bundle.places]
    if places == list(range(len(places))):
        return torch.cat(values)
    found: dict[int, Tensor] = {}
    for place, value in zip(places, torch.cat(values).unbind(), strict=True):
        found[place] = found[place] + value if place in found else value
    return torch.stack([found[place] for place in sorted(found)])


def step_sizes(scope: str, steps: Tensor, bundles: list[Bundle]) -> list[Tensor]:
    """The step sizes that move each bundle: one for all of its tensors, shape=(), or shape=(tensors,).

    Args:
        scope: one of ``SCOPES``.
        steps: shape=(1 + scopes,), those of the whole and of each scope.
        bundles: of all parameters.
    """
    if scope == "global":
        return [steps[0]] * len(bundles)
    if scope == "group":
        return [steps[1 + bundle.group] for bundle in bundles]
    steps = steps[1:] if scope == "tensor" else torch.maximum(steps[0], steps[1:])
    return [_at(steps, bundle.places) for bundle in bundles]


def _at(values: Tensor, places: list[int]) -> Tensor:
    """Some of the values; an index made on the host would make the device wait."""
    first, last = places[0], places[-1]
    if places == list(range(first, last + 1)):
        return values[first : last + 1]
    return torch.stack([values[place] for place in places])
