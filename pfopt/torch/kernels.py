"""The mathematics of a step; decides nothing and never waits for the device.

A ``Bundle`` is what one parameter group holds on one device in one dtype, as much as makes a call worth while: many
small tensors, or a piece of a large one. A step computes on it as on one vector. So the calls of a step do not grow
with the number of tensors, nor the memory on the way to it with their size.
"""
# pyright: reportPrivateImportUsage=false

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import Parameter

HALF = (torch.float16, torch.bfloat16)
FULL = {"cpu": 2**18, "cuda": 2**24}  # entries of a full bundle: what a cache holds; what a call is worth
LARGE = {"cpu": 2**16, "cuda": 2**20}  # entries of a tensor for which a compiled call is worth while
PLAIN = (Tensor, Parameter)  # a DTensor is neither joined nor cut, nor compiled for


class Bundle(NamedTuple):
    """Tensors, or a piece of one, that share group, device and dtype; complex ones seen as real."""

    group: int  # index of the parameter group
    places: list[int]  # of each tensor's parameter among those of all groups
    params: list[Tensor]  # what the user sees
    points: list[Tensor]  # the iterate: the parameters themselves, or float32 copies of half-precision ones
    grads: list[Tensor]  # dense; empty where there are none, as of all or of none of the tensors
    states: list[dict[str, Tensor]]

    @property
    def kind(self) -> tuple[torch.device, torch.dtype]:
        """Where the points are, and what."""
        return self.points[0].device, self.points[0].dtype

    def slot(self, name: str) -> list[Tensor]:
        """The state tensors of that name."""
        return [state[name] for state in self.states]

    def whole(self, name: str) -> Tensor:
        """The state tensors of that name as one vector."""
        return joined(self.slot(name))


class Piece(NamedTuple):
    """What a bundle holds of one tensor."""

    param: Tensor
    point: Tensor
    grads: list[Tensor]  # one or none
    state: dict[str, Tensor]


def gather(
    groups: list[dict[str, Any]],
    state_of: Callable[[Tensor], dict[str, Tensor]],
    grad_of: Callable[[Tensor], Tensor | None],
    *,
    together: bool,
    large_apart: bool = False,
) -> list[Bundle]:
    """The bundles of all parameters.

    Args:
        groups: of parameters.
        state_of: the state tensors of one.
        grad_of: its gradient, if it has one.
        together: whether tensors may share a bundle or be cut; otherwise each is a bundle of its own.
        large_apart: whether a large tensor is a bundle of its own all the same, see ``is_large``.
    """
    bundles: list[Bundle] = []
    params = [(index, param) for index, group in enumerate(groups) for param in group["params"]]
    room: dict[Any, tuple[Bundle, int]] = {}
    for place, (index, param) in enumerate(params):
        plain = together and type(param) in PLAIN and not (large_apart and is_large(param))
        full = _by_device(FULL, param) if plain else param.numel()
        for piece in _pieces(param, grad_of(param), state_of(param), full):
            key = (index, param.device, param.dtype, not piece.grads) if plain else place
            bundle, entries = room.get(key, (None, 0))
            if bundle is None or entries + piece.point.numel() > full:
                bundle, entries = Bundle(index, [], [], [], [], []), 0
                bundles.append(bundle)
            room[key] = bundle, entries + piece.point.numel()
            bundle.places.append(place)
            bundle.params.append(piece.param)
            bundle.points.append(piece.point)
            bundle.grads.extend(piece.grads)
            bundle.states.append(piece.state)
    return bundles


def is_large(tensor: Tensor) -> bool:
    """Whether a compiled call for this tensor alone is worth while."""
    return type(tensor) in PLAIN and tensor.numel() >= _by_device(LARGE, tensor)


def alone(bundle: Bundle) -> Bundle | None:
    """A bundle of one large plain tensor, as a vector where it can be one and without its place; None for any other.

    What differs between two of them is their size alone, so that a compiled function need not be compiled again.
    """
    if len(bundle.points) > 1 or not bundle.grads or not is_large(bundle.params[0]):
        return None
    held = [bundle.params[0], bundle.points[0], bundle.grads[0], *bundle.states[0].values()]
    if all(tensor.is_contiguous() for tensor in held):
        held = [tensor.detach().view(-1) for tensor in held]
        for tensor in held:
            torch._dynamo.maybe_mark_dynamic(tensor, 0)
    param, point, grad, *state = held
    return Bundle(0, [], [param], [point], [grad], [dict(zip(bundle.states[0], state, strict=True))])


def _by_device(sizes: dict[str, int], tensor: Tensor) -> int:
    return sizes.get(tensor.device.type, sizes["cuda"])


def _pieces(param: Tensor, grad: Tensor | None, state: dict[str, Tensor], full: int) -> Iterator[Piece]:
    """The tensor as it is or, where it has more than ``full`` entries that lie side by side, cut."""
    grads = [] if grad is None else [dense(grad)]
    point, state = _iterate(param, state), {name: _as_real(value) for name, value in state.items()}
    held = [_as_real(param), point, *state.values(), *grads]
    if point.numel() <= full or not all(tensor.is_contiguous() for tensor in held):
        yield Piece(held[0], point, grads, state)
        return
    for param, point, *rest in zip(*(tensor.view(-1).split(full) for tensor in held), strict=True):
        yield Piece(param, point, rest[len(state) :], dict(zip(state, rest, strict=False)))


# ---------------------------------------------------------------- one vector


def joined(tensors: Sequence[Tensor]) -> Tensor:
    """All entries as one vector; a single tensor as it is."""
    if len(tensors) == 1:
        return tensors[0]
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


def parted(vector: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """The inverse of ``joined``, without a copy."""
    if len(like) == 1:
        return [vector]
    return [part.view(tensor.shape) for part, tensor in zip(_split(vector, like), like, strict=True)]


def store(vector: Tensor, tensors: list[Tensor]) -> None:
    """Tensors = vector."""
    if vector is not tensors[0]:
        copy(parted(vector, tensors), tensors)


def direction(bundle: Bundle, points: Tensor, weight_decay: float = 0.0, maximize: bool = False) -> Tensor:
    """The gradient of what is minimised, as ``torch.optim.SGD`` has it; zero where there is none."""
    if not bundle.grads:
        return torch.zeros_like(points)
    grad = joined(bundle.grads).to(points.dtype)
    grad = -grad if maximize else grad
    return grad.add(points, alpha=weight_decay) if weight_decay else grad


def lerp(average: Tensor, points: Tensor, weight: Tensor) -> Tensor:
    """The average x̄ + w (x − x̄); exactly x̄ at w = 0 and exactly x at w = 1, all being finite."""
    return torch.lerp(average, points, weight.to(average))


def stepped(points: Tensor, moves: Tensor, rate: float) -> Tensor:
    """The points x − rate · move."""
    return points.sub(moves, alpha=rate)


def scaled(vector: Tensor, factors: Tensor, like: Sequence[Tensor]) -> Tensor:
    """Each tensor of the vector times its factor, or all of it times one; shape=(tensors,) or ()."""
    if len(like) == 1 or factors.ndim == 0:
        return vector * factors.reshape(())
    return joined(
        [part * factor for part, factor in zip(_split(vector, like), factors.unbind(), strict=True)]
    )


def bounded(vector: Tensor, least: Tensor, span: float, like: Sequence[Tensor]) -> Tensor:
    """Each entry between ``least`` of its tensor, or of all, and ``span`` times that; shape=(tensors,) or ()."""
    if len(like) == 1 or least.ndim == 0:
        return torch.clamp(vector, least.reshape(()), span * least.reshape(()))
    bounds = zip(_split(vector, like), least.unbind(), (span * least).unbind(), strict=True)
    return joined([torch.clamp(part, lower, upper) for part, lower, upper in bounds])


def norms_sq(vector: Tensor, like: Sequence[Tensor], scalar: Tensor) -> Tensor:
    """‖x‖² of each tensor, in the dtype of ``scalar``."""
    return _norms(_split(vector, like), 2, scalar).square()


def sums(vector: Tensor, like: Sequence[Tensor], scalar: Tensor) -> Tensor:
    """The sums of entries >= 0 of each tensor, in the dtype of ``scalar``."""
    if len(like) == 1:
        return total(vector, scalar).reshape(1)
    return _norms(_split(vector, like), 1, scalar)


def total(vector: Tensor, scalar: Tensor) -> Tensor:
    """The sum of all entries, shape=(), in the dtype of ``scalar``."""
    return _whole(vector.sum()).to(scalar)


def inner(vector: Tensor, other: Tensor, like: Sequence[Tensor], scalar: Tensor) -> Tensor:
    """⟨a, b⟩ of each tensor, in the dtype of ``scalar``."""
    return torch.stack([_whole(part.sum()) for part in _split(vector * other, like)]).to(scalar.dtype)


def raw_norms_sq(bundle: Bundle, scalar: Tensor) -> Tensor:
    """‖p.grad‖² of each tensor as it came, in the dtype of ``scalar``; 0 where there is none."""
    if not bundle.grads:
        return scalar.new_zeros(len(bundle.params))
    grads = bundle.grads
    if grads[0].dtype in HALF:
        grads = parted(joined(grads).float(), grads)
    return _norms(grads, 2, scalar).square()


# ---------------------------------------------------------------- lists of tensors


def copy(new: list[Tensor], old: list[Tensor]) -> None:
    """Old = new."""
    if len(old) == 1:
        old[0].copy_(new[0])  # a DTensor knows no more
    elif old:
        torch._foreach_copy_(old, new)


def zero(tensors: list[Tensor]) -> None:
    """All entries 0."""
    torch._foreach_zero_(tensors)


def swap(bundle: Bundle, slot: str) -> None:
    """Exchange the iterate with a slot of the state."""
    kept = bundle.slot(slot)
    held = [point.clone() for point in bundle.points]
    copy(kept, bundle.points)
    copy(held, kept)
    write_back(bundle)


def select(condition: Tensor, new: list[Tensor], old: list[Tensor]) -> None:
    """Old = new where the 0-dim ``condition`` holds; what is not finite in ``new`` cannot leak otherwise."""
    for a, b in zip(new, old, strict=True):
        torch.where(condition.to(b.device), a, b, out=b)


def write_back(bundle: Bundle) -> None:
    """Round the float32 iterates into half-precision parameters; others are their own iterate."""
    if bundle.params[0].dtype in HALF:
        copy(bundle.points, bundle.params)


def dense(grad: Tensor) -> Tensor:
    """A gradient as the functions above take it: dense and real."""
    return _as_real(grad.to_dense() if grad.is_sparse else grad)


# ---------------------------------------------------------------- inside


def _iterate(param: Tensor, state: dict[str, Tensor]) -> Tensor:
    """What moves: the parameter itself, or the float32 iterate behind a half-precision one.

    The iterate counts where it still rounds to the parameter, which others may have changed since.
    """
    if param.dtype not in HALF:
        return _as_real(param)
    iterate = state["iterate"]
    return torch.where(iterate.to(param.dtype) == param, iterate, param.float(), out=iterate)


def _norms(tensors: Sequence[Tensor], order: int, scalar: Tensor) -> Tensor:
    """Norms in the dtype and on the device of ``scalar``."""
    return torch.stack([_whole(norm) for norm in torch._foreach_norm(list(tensors), order)]).to(scalar)


def _split(vector: Tensor, like: Sequence[Tensor]) -> Sequence[Tensor]:
    """The entries of each tensor."""
    return [vector] if len(like) == 1 else vector.split([tensor.numel() for tensor in like])


def _as_real(tensor: Tensor) -> Tensor:
    return torch.view_as_real(tensor) if tensor.is_complex() else tensor


def _whole(norm: Tensor) -> Tensor:
    """The norm over all shards, where the tensor was a DTensor."""
    full_tensor = getattr(norm, "full_tensor", None)
    return norm if full_tensor is None else full_tensor()
