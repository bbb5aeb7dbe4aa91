"""Over what norms are measured, and in which metric: all parameters, then every group or tensor ("scopes").

Groups may move at different rates. Where rho is a group's lr over the largest one, its step size is rho times that of
the others, which is plain SGD in the metric ‖x‖²/rho: there a gradient has the norm rho ‖g‖².
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pfopt.torch.bundles import Bundle


class Scopes(NamedTuple):
    """What is measured beside the whole parameter vector."""

    scope: str  # "auto" | "global" | "group" | "tensor"
    sizes: list[int]  # parameters of each group
    rho: list[float]  # of each group

    @property
    def number(self) -> int:
        """How many scopes there are beside the whole."""
        if self.scope == "global":
            return 0
        return len(self.sizes) if self.scope == "group" else sum(self.sizes)

    def sums(self, bundles: Sequence[Bundle], squares: Sequence[Tensor], power: int, like: Tensor) -> Tensor:
        """Sums of squares in the metric of the groups' rates: of all, then of each scope, shape=(1 + scopes,).

        Args:
            bundles: of all parameters.
            squares: plain ones, of the tensors of each bundle, shape=(tensors,) or ().
            power: of rho: 1 for gradients, −1 for displacements. A group with rho = 0 does not count.
            like: dtype and device of the sums.
        """
        rho = [self.rho[bundle.group] for bundle in bundles]
        weights = [ratio**power if ratio > 0 else 0.0 for ratio in rho]
        weighted = [
            (square if weight == 1 else square * weight).reshape(-1).to(like)
            for square, weight in zip(squares, weights, strict=True)
        ]
        each = weighted[0] if len(weighted) == 1 else torch.cat(weighted)
        if self.scope == "global":
            return each.sum(0, keepdim=True)
        each = _by_place(each, [place for bundle in bundles for place in bundle.places])
        whole = each.sum(0, keepdim=True)
        if self.scope == "group":
            each = torch.stack([part.sum() for part in each.split(self.sizes)])
        return torch.cat([whole, each])

    def step_sizes(self, steps: Tensor, bundles: Sequence[Bundle]) -> list[Tensor]:
        """The step sizes that move each bundle: one for all of its tensors, shape=(), or shape=(tensors,).

        Args:
            steps: those of the whole and of each scope; in the scope "auto" the larger of the whole's and the tensor's
                moves.
            bundles: of all parameters.
        """
        if self.scope == "global":
            return [steps[0]] * len(bundles)
        if self.scope == "group":
            return [steps[1 + bundle.group] for bundle in bundles]
        steps = steps[1:] if self.scope == "tensor" else torch.maximum(steps[0], steps[1:])
        return [_at(steps, bundle.places) for bundle in bundles]


def ratios(groups: list[dict[str, Any]]) -> list[float]:
    """Rho of every group, from ``initial_lr`` where a scheduler holds every lr at 0; empty if unknown."""
    for name in ("lr", "initial_lr"):
        rates = [float(group.get(name, 0.0)) for group in groups]
        if any(rates):
            return [rate / max(rates) for rate in rates]
    return []


def _by_place(values: Tensor, places: Sequence[int]) -> Tensor:
    """Summed up by parameter, in their order: pieces of one tensor may be in several bundles."""
    if list(places) == list(range(len(places))):
        return values
    found: dict[int, Tensor] = {}
    for place, value in zip(places, values.unbind(), strict=True):
        found[place] = found[place] + value if place in found else value
    return torch.stack([found[place] for place in sorted(found)])


def _at(values: Tensor, places: Sequence[int]) -> Tensor:
    """Some of the values, and shape=() for a single one; an index made on the host would make a device wait."""
    first, last = places[0], places[-1]
    if len(places) == 1:
        return values[first]
    if list(places) == list(range(first, last + 1)):
        return values[first : last + 1]
    return torch.stack([values[place] for place in places])
