"""Over what norms are measured, and in which metric: all parameters, then every group or tensor ("scopes").

Groups may move at different rates. Where rho is a group's lr over the largest one, its step size is rho times that of
the others, which is plain SGD in the metric ‖x‖²/rho: there a gradient has the norm rho ‖g‖².
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from pfopt.core.arrays import whole
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
        weighted = []
        for bundle, square in zip(bundles, squares, strict=True):
            rho = self.rho[bundle.group]
            weight = rho**power if rho > 0 else 0.0
            weighted.append((square if weight == 1 else square * weight).reshape(-1).to(like))
        each = weighted[0] if len(weighted) == 1 else torch.cat(weighted)
        total = each.sum(0, keepdim=True)
        if self.scope == "global":
            return total
        if self.scope == "group":
            of_group: list[list[Tensor]] = [[] for _ in self.sizes]
            for bundle, square in zip(bundles, weighted, strict=True):
                of_group[bundle.group].append(square.sum())
            none = total.new_zeros(())
            return torch.cat([total, torch.stack([sum(squares, none) for squares in of_group])])
        return torch.cat([total, _by_place(each, [place for bundle in bundles for place in bundle.places])])

    def step_sizes(self, steps: Any, bundles: Sequence[Bundle]) -> list[Any]:
        """The step sizes that move each bundle: one for all of its tensors, or one of each, shape=(tensors,).

        Args:
            steps: those of the whole and of each scope; in the scope "auto" the larger of the whole's and the tensor's
                moves. Numbers of the host, or a tensor.
            bundles: of all parameters.
        """
        if self.scope == "global":
            return [whole(steps)] * len(bundles)
        if self.scope == "group":
            return [steps[1 + bundle.group] for bundle in bundles]
        if isinstance(steps, Tensor):
            steps = torch.maximum(steps[0], steps[1:]) if self.scope == "auto" else steps[1:]
            return [_at(steps, bundle.places) for bundle in bundles]
        steps = np.maximum(steps[0], steps[1:]) if self.scope == "auto" else steps[1:]
        found = []
        for bundle in bundles:
            own = steps[list(bundle.places)]
            found.append(float(own[0]) if (own == own[0]).all() else torch.from_numpy(own))
        return found


def ratios(groups: list[dict[str, Any]]) -> list[float]:
    """Rho of every group, from ``initial_lr`` where a scheduler holds every lr at 0; empty if unknown."""
    for name in ("lr", "initial_lr"):
        rates = [float(group.get(name, 0.0)) for group in groups]
        if any(rates):
            return [rate / max(rates) for rate in rates]
    return []


def _by_place(values: Tensor, places: list[int]) -> Tensor:
    """In the order of the parameters, each of which is in one bundle."""
    if places == sorted(places):
        return values
    order = sorted(range(len(places)), key=places.__getitem__)
    if values.device.type == "cpu":
        return values[order]
    return torch.stack([values[place] for place in order])


def _at(values: Tensor, places: Sequence[int]) -> Tensor:
    """Some of the values, and shape=() for a single one; an index made on the host would make a device wait."""
    first, last = places[0], places[-1]
    if len(places) == 1:
        return values[first]
    if list(places) == list(range(first, last + 1)):
        return values[first : last + 1]
    return torch.stack([values[place] for place in places])
