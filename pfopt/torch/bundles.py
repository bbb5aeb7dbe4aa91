"""How the tensors of a parameter group are packed, so that a call into torch is worth while.

A ``Bundle`` is what one group holds on one device in one dtype: many small tensors, or a piece of a large one. A step
computes on it as on one vector, so that the calls of a step do not grow with the number of tensors, nor the memory on
the way to it with their size.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import Parameter

from pfopt.torch import ops

FULL = {"cpu": 2**18, "cuda": 2**24}  # entries of a full bundle: what a cache holds; what a call is worth
LARGE = {"cpu": 2**16, "cuda": 2**20}  # entries of a tensor for which a compiled call is worth while
PLAIN = (Tensor, Parameter)  # a DTensor is neither joined nor cut, nor compiled for

GradientOf = Callable[[Tensor], Tensor | None]


class Bundle(NamedTuple):
    """Tensors, or a piece of one, that share group, device and dtype; complex ones seen as real."""

    group: int  # index of the parameter group
    places: list[int]  # of each tensor's parameter among those of all groups
    params: list[Tensor]  # what the user sees
    points: list[Tensor]  # the parameters themselves, or float32 copies of half-precision ones
    gradients: list[Tensor]  # dense; empty where there are none, as of all or of none of the tensors
    directions: list[Tensor]  # what a base makes of the gradients; without one, the gradients
    states: list[dict[str, Tensor]]

    @property
    def sizes(self) -> list[int]:
        """The number of entries of each tensor."""
        return [point.numel() for point in self.points]

    @property
    def kind(self) -> tuple[torch.device, torch.dtype]:
        """Where the points are, and what."""
        return self.points[0].device, self.points[0].dtype

    def add(self, place: int, param: Tensor, gradients: list[Tensor], state: dict[str, Tensor]) -> None:
        """Add a parameter: with no gradient, with one, or with one and the direction that a base made of it."""
        if param.is_complex():
            state = {name: ops.as_real(value) for name, value in state.items()}
        self.places.append(place)
        self.params.append(ops.as_real(param))
        self.points.append(_point(param, state))
        self.gradients.extend(map(ops.dense, gradients[:1]))
        self.directions.extend(map(ops.dense, gradients[-1:]))
        self.states.append(state)

    def slot(self, name: str) -> list[Tensor]:
        """The state tensors of that name."""
        return [state[name] for state in self.states]

    def concat(self, name: str) -> Tensor:
        """The state tensors of that name as one vector."""
        return ops.concat(self.slot(name))

    def direction(self, points: Tensor, weight_decay: float, maximize: bool) -> Tensor:
        """What moves the points: a gradient as ``torch.optim.SGD`` has it, or a base's direction; zero without one."""
        if not self.directions:
            return torch.zeros_like(points)
        direction = ops.concat(self.directions).to(points.dtype)
        direction = -direction if maximize else direction
        return direction.add(points, alpha=weight_decay) if weight_decay else direction

    def norms_sq(self, like: Tensor) -> Tensor:
        """‖d‖² of each tensor's direction as it came, shape=(tensors,); 0, in the dtype of ``like``, without one."""
        if not self.directions:
            return like.new_zeros(len(self.params))
        if self.directions[0].dtype in ops.HALF:
            return ops.norms_sq(ops.split(ops.concat(self.directions).float(), self.sizes))
        return ops.norms_sq(self.directions)

    def round_points(self) -> None:
        """Round the float32 copies into half-precision parameters; other parameters are the points."""
        if self.params[0].dtype in ops.HALF:
            ops.copy(self.points, self.params)


def gather(
    groups: list[dict[str, Any]],
    state_of: Callable[[Tensor], dict[str, Tensor]],
    gradients_of: Callable[[Tensor], list[Tensor]],
    *,
    together: bool,
    large_apart: bool = False,
) -> list[Bundle]:
    """The bundles of all parameters.

    Args:
        groups: of parameters.
        state_of: the state tensors of a parameter.
        gradients_of: its gradient and, around a base, the direction that the base makes of it; nothing without one.
        together: whether tensors may share a bundle or be cut; otherwise each is a bundle of its own.
        large_apart: whether a large tensor is a bundle of its own all the same, see ``is_large``.
    """
    bundles: list[Bundle] = []
    room: dict[Any, tuple[Bundle, int]] = {}
    params = [(index, param) for index, group in enumerate(groups) for param in group["params"]]
    for place, (index, param) in enumerate(params):
        gradients, entries, full = gradients_of(param), param.numel(), _by_device(FULL, param)
        packed = together and type(param) in PLAIN and not (large_apart and is_large(param))
        key = (index, param.device, param.dtype, len(gradients)) if packed and entries <= full else place
        bundle, taken = room.get(key, (None, 0))
        if bundle is None or taken + entries > full:
            bundle, taken = Bundle(index, [], [], [], [], [], []), 0
            bundles.append(bundle)
        room[key] = bundle, taken + entries
        bundle.add(place, param, gradients, state_of(param))
        if packed and entries > full:
            bundles[-1:] = _cut(bundle, full)
    return bundles


def is_large(tensor: Tensor) -> bool:
    """Whether a compiled call for this tensor alone is worth while."""
    return type(tensor) in PLAIN and tensor.numel() >= _by_device(LARGE, tensor)


def flattened(bundle: Bundle) -> Bundle | None:
    """A bundle of one large plain tensor, as a vector where it can be one and without its place; None for any other.

    What differs between two of them is their size alone, so that a compiled function need not be compiled again.
    """
    if len(bundle.points) > 1 or not bundle.gradients or not is_large(bundle.params[0]):
        return None
    held = [bundle.params[0], bundle.points[0], bundle.directions[0], *bundle.states[0].values()]
    if all(tensor.is_contiguous() for tensor in held):
        held = [tensor.detach().view(-1) for tensor in held]
        for tensor in held:
            torch._dynamo.maybe_mark_dynamic(tensor, 0)
    param, point, direction, *state = held
    names = zip(bundle.states[0], state, strict=True)
    return Bundle(0, [], [param], [point], [direction], [direction], [dict(names)])


def _by_device(sizes: dict[str, int], tensor: Tensor) -> int:
    return sizes.get(tensor.device.type, sizes["cuda"])


def _cut(bundle: Bundle, full: int) -> list[Bundle]:
    """A bundle of one tensor, in pieces of no more than ``full`` entries where these lie side by side."""
    (state,), has_gradient = bundle.states, bool(bundle.gradients)
    held = [*bundle.params, *bundle.points, *bundle.gradients, *bundle.directions, *state.values()]
    if not all(tensor.is_contiguous() for tensor in held):
        return [bundle]
    pieces = []
    for param, point, *rest in zip(*(tensor.view(-1).split(full) for tensor in held), strict=True):
        gradients, values = (([rest[0]], [rest[1]]), rest[2:]) if has_gradient else (([], []), rest)
        piece = dict(zip(state, values, strict=True))
        pieces.append(Bundle(bundle.group, bundle.places, [param], [point], *gradients, [piece]))
    return pieces


def _point(param: Tensor, state: dict[str, Tensor]) -> Tensor:
    """What moves: the parameter itself, or the float32 copy of a half-precision one.

    The copy counts where it still rounds to the parameter, which others may have changed since.
    """
    if param.dtype not in ops.HALF:
        return ops.as_real(param)
    point = state["iterate"]
    return torch.where(point.to(param.dtype) == param, point, param.float(), out=point)
