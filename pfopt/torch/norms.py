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
from pfopt.torch import ops
from pfopt.torch.bundles import Bundle


class Scopes(NamedTuple):
    """What is measured beside the whole parameter vector."""

    scope: str  # "auto" | "global" | "group" | "tensor"
    sizes: list[int]  # parameters of each group
    rho: list[float]  # of each group
    together: bool = False  # whether all move at the whole's step size, whatever is measured

    @property
    def number(self) -> int:
        """How many scopes there are beside the whole."""
        if self.scope == "global":
            return 0
        return len(self.sizes) if self.scope == "group" else sum(self.sizes)

    def sums(self, bundles: Sequence[Bundle], squares: Sequence[Any], power: int, like: Tensor | None) -> Any:
        """Sums of squares in the metric of the groups' rates: of all, then of each scope, shape=(1 + scopes,).

        Args:
            bundles: of all parameters.
            squares: plain ones, of the tensors of each bundle and over all shards, shape=(tensors,) or ().
            power: of rho: 1 for gradients, −1 for displacements. A group with rho = 0 does not count.
            like: dtype and device of the sums; None for numbers of the host, a single one where there are no scopes.
        """
        weights = [rho**power if rho > 0 else 0.0 for rho in self.rho]
        if like is None:
            squares = ops.numbers(squares)
        weighted = [
            square if weights[bundle.group] == 1 else square * weights[bundle.group]
            for bundle, square in zip(bundles, squares, strict=True)
        ]
        by_tensor = self.scope not in ("global", "group")
        places = [each for bundle in bundles for each in (bundle.places if by_tensor else [bundle.group])]
        if like is None:
            each = np.hstack(weighted if by_tensor else [np.sum(square) for square in weighted])
            return (
                each.sum() if self.scope == "global" else np.append(each.sum(), self._by_place(places, each))
            )
        parts = [square.to(like) if by_tensor else square.sum().to(like) for square in weighted]
        each = torch.cat([part.reshape(-1) for part in parts])
        total = each.sum(0, keepdim=True)
        return total if self.scope == "global" else torch.cat([total, self._by_place(places, each)])

    def _by_place(self, places: list[int], values: Any) -> Any:
        """Summed up by scope."""
        if places == list(range(self.number)):
            return values
        if not isinstance(values, Tensor):
            summed = np.zeros(self.number)
            np.add.at(summed, places, values)
            return summed
        found = [0.0 * values[0]] * self.number
        for place, value in zip(places, values, strict=True):
            found[place] = found[place] + value
        return torch.stack(found)

    def step_sizes(self, steps: Any, bundles: Sequence[Bundle]) -> list[Any]:
        """The step sizes that move each bundle: one for all of its tensors, or one of each, shape=(tensors,).

        Args:
            steps: those of the whole and of each scope; in the scope "auto" the larger of the whole's and the tensor's
                moves. Numbers of the host, or a tensor.
            bundles: of all parameters.
        """
        if self.together or self.scope == "global":
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
            found.append(own[0].item() if (own == own[0]).all() else torch.from_numpy(own))
        return found

    def step_places(self, bundle: Bundle) -> list[tuple[int, int]]:
        """For each tensor the places of two of all step sizes, the larger of which moves it; see ``step_sizes``."""
        if self.scope in ("global", "group"):
            place = 0 if self.scope == "global" else 1 + bundle.group
            return [(place, place)] * len(bundle.params)
        return [(1 + place, 0 if self.scope == "auto" else 1 + place) for place in bundle.places]


def origins(scope: str, old: Sequence[Sequence[Tensor]], new: Sequence[Sequence[Tensor]]) -> list[int | None]:
    """Of each scope its place before; None where it is new.

    Args:
        scope: of ``Scopes``.
        old: the parameters of each group before.
        new: now. A group is the one before with which it shares a parameter.
    """
    if scope == "global":
        return []
    if scope == "group":
        of_group = {id(param): index for index, params in enumerate(old) for param in params}
        found = ([of_group[id(param)] for param in params if id(param) in of_group] for params in new)
        return [places[0] if places else None for places in found]
    of_param = {id(param): place for place, param in enumerate(param for params in old for param in params)}
    return [of_param.get(id(param)) for params in new for param in params]


def ratios(groups: list[dict[str, Any]]) -> list[float]:
    """Rho of every group, from ``initial_lr`` where a scheduler holds every lr at 0; empty if unknown."""
    for name in ("lr", "initial_lr"):
        rates = [float(group.get(name, 0.0)) for group in groups]
        if any(rates):
            return [rate / max(rates) for rate in rates]
    return []


def _at(values: Tensor, places: Sequence[int]) -> Tensor:
    """Some of the values, and shape=() for a single one; an index made on the host would make a device wait."""
    first, last = places[0], places[-1]
    if len(places) == 1:
        return values[first]
    if list(places) == list(range(first, last + 1)):
        return values[first : last + 1]
    return torch.stack([values[place] for place in places])
