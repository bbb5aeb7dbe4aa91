"""How the tensors of a parameter group are packed, so that a call into torch is worth while.

A ``Bundle`` is many small tensors of one group, device and dtype, or a single large one. What is remembered of it is
one vector of each kind, of which the tensors in ``state[p]`` are views, so that a step computes on one vector and its
calls do not grow with the number of tensors.
"""

import operator
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import Parameter

from pfopt.torch import ops
from pfopt.torch.shards import Split, local, split_of

FULL = {"cpu": 2**16, "cuda": 2**24}  # entries of a full bundle: what a cache holds; what a call is worth
LARGE = {"cpu": 2**16, "cuda": 2**20}  # entries of a tensor for which a compiled call is worth while
PLAIN = (Tensor, Parameter)  # what is joined; a shard of a DTensor is a bundle of its own
ORDERS = (
    torch.contiguous_format,
    torch.channels_last,
    torch.channels_last_3d,
)  # of entries in memory, without gaps

StateOf = Callable[[Tensor], tuple[dict[str, Any], Sequence[str]]]  # the state, and which names of it


class Member(NamedTuple):
    """A parameter that takes part."""

    group: int  # index of its parameter group
    place: int  # among the parameters of all groups
    param: Tensor


class Piece(NamedTuple):
    """A vector of parameters and what belongs to it, or a tensor that cannot be one; real, written in place."""

    points: Tensor  # the parameters, or float32 copies of half-precision ones
    direction: Tensor | None  # what moves them, as it came; None without a gradient
    state: dict[str, Tensor]
    sizes: Sequence[int]  # of the tensors in it


@dataclass(slots=True)
class Bundle:
    """Tensors that share group, device and dtype; complex ones seen as real."""

    group: int  # index of the parameter group
    places: Sequence[int]  # of each tensor's parameter among those of all groups
    params: list[Tensor]  # the parameters, as real
    state: dict[str, Tensor]  # what is remembered, a vector of all of them each; of a single tensor, as it is
    gradients: list[Tensor]  # dense and real; empty where there are none, of any of the tensors
    directions: list[Tensor]  # what moves them: the gradients, or what a base makes of them
    split: Split | None = None  # over processes; then the parameters are the shards of this one
    left: dict[int, Any] = field(default_factory=dict)  # checksum of each piece as the last move left it

    def apart_from(self, places: Collection[int]) -> list["Bundle"]:
        """The tensors whose parameters are not at these places; the bundle itself where none of them is."""
        if not any(place in places for place in self.places):
            return [self]
        found, start = [], 0
        for index, (place, param) in enumerate(zip(self.places, self.params, strict=True)):
            stop = start + param.numel()
            if place not in places:
                state = {k: v.view(-1)[start:stop].view(param.shape) for k, v in self.state.items()}
                own = slice(index, index + 1)
                found.append(
                    Bundle(self.group, [place], [param], state, self.gradients[own], self.directions[own])
                )
            start = stop
        return found

    @property
    def sizes(self) -> list[int]:
        """The number of entries of each tensor."""
        return [param.numel() for param in self.params]

    @property
    def is_half(self) -> bool:
        """Whether the parameters have less precision than what is remembered."""
        return self.params[0].dtype in ops.HALF

    @property
    def is_large(self) -> bool:
        """Whether this is one large plain tensor with a gradient, which a compiled call is worth."""
        return len(self.params) == 1 and bool(self.directions) and is_large(self.params[0])

    @property
    def is_in_one_order(self) -> bool:
        """Whether address and size say where the entries are, of every parameter and of what belongs to it."""
        tensors, vectors = [*self.params, *self.directions], self.state.values()
        wide = ops.computed(self.params[0].dtype)
        if not all(type(each) in PLAIN for each in tensors) or any(each.dtype != wide for each in vectors):
            return False
        return any(
            all(each.is_contiguous(memory_format=order) for each in (*tensors, *vectors)) for order in ORDERS
        )

    @property
    def kind(self) -> tuple[torch.device, torch.dtype]:
        """Where it is computed, and in which dtype."""
        return self.params[0].device, self.state["anchor"].dtype

    def points(self) -> Tensor:
        """Where the parameters are, as one vector, to be read; a single tensor is the parameter itself."""
        if not self.is_half:
            return ops.concat(self.params)
        point, param = self.state["iterate"], ops.concat(self.params)  # which others may have changed since
        return torch.where(point.to(param.dtype) == param, point, param.float(), out=point)

    def place(self, points: Tensor) -> None:
        """Put the parameters there."""
        if self.is_half and points is not self.state["iterate"]:
            self.state["iterate"].copy_(points)
        ops.store(points, self.params)

    def pieces(self, along: list[Tensor], *, written: bool = True) -> Iterator[Piece]:
        """What is moved at once; afterwards the parameters are where the points of the pieces are, if written.

        Args:
            along: the directions of the pieces, or the gradients; empty where there are none.
            written: whether anything is written into the points.
        """
        points, direction = self.points(), ops.concat(along) if along else None
        full, entries = _by_device(FULL, points), points.numel()
        held = [points, *self.state.values(), *([] if direction is None else [direction])]
        cuts = len(self.params) == 1 and entries > full
        if cuts and all(tensor.is_contiguous() for tensor in held):
            sizes = [min(full, entries - start) for start in range(0, entries, full)]
            for size, point, *values in zip(sizes, *(x.view(-1).split(full) for x in held), strict=True):
                yield Piece(
                    point,
                    values[-1] if direction is not None else None,
                    dict(zip(self.state, values, strict=False)),
                    (size,),
                )
        else:
            yield Piece(points, direction, self.state, self.sizes)
        if written and (self.is_half or len(self.params) > 1):
            ops.store(points, self.params)

    def norms_sq(self, *, on_host: bool) -> Any:
        """‖d‖² of each tensor's direction as it came, shape=(tensors,), see ``ops.norms_sq``; 0 without one."""
        if self.directions:
            return ops.norms_sq(self.directions, on_host=on_host)
        return torch.zeros(len(self.params), dtype=torch.float32, device=self.params[0].device)


class Layout:
    """The bundles of all parameters; made anew where parameters, or what is remembered of them, were exchanged."""

    def __init__(self, members: Sequence[Member], state_of: StateOf, *, together: bool, large_apart: bool):
        """Pack all parameters.

        Args:
            members: all of them.
            state_of: the state tensors of a parameter that are packed; several tensors' become views of one vector.
            together: whether tensors may share a bundle; otherwise each is a bundle of its own.
            large_apart: whether a large tensor is a bundle of its own all the same, see ``is_large``.
        """
        self.members, self.params = members, [member.param for member in members]
        self.states, self.names = zip(*map(state_of, self.params), strict=True) if members else ((), ())
        self.packs: list[list[int]] = []  # of each bundle, which members are in it
        room: dict[Any, tuple[list[int], int]] = {}
        for index, (group, _, param) in enumerate(members):
            entries, full = param.numel(), _by_device(FULL, param)
            packed = together and type(param) in PLAIN and not (large_apart and is_large(param))
            joins = packed and 0 < entries <= full // 4 and all(x.is_contiguous() for x in self._held(index))
            key = (group, param.device, param.dtype) if joins else index
            pack, taken = room.get(key, ([], full))
            if taken + entries > full:
                pack, taken = [], 0
                self.packs.append(pack)
            pack.append(index)
            room[key] = pack, taken + entries
        self.vectors = list(map(self._vectors, self.packs))
        self.real = [ops.as_real(local(param.detach())) for param in self.params]
        self.splits = list(map(split_of, self.params))
        self.pointers = list(map(_address, self.params))
        self.coordinates = coordinates(self.params)
        self.tensors = [self._held(index)[1:] for index in range(len(members))]
        self.left: dict[Any, dict[int, Any]] = {}  # of each bundle, see there
        self.tables: dict[Any, Any] = {}  # of addresses, for as long as they hold; see launch.py

    def is_current(self, members: Sequence[Member], state: Mapping[Tensor, dict[str, Any]]) -> bool:
        """Whether nothing was exchanged since."""
        if len(members) != len(self.members):
            return False
        own = zip(self.members, self.states, self.names, self.tensors, self.pointers, strict=True)
        for given, (member, held, names, tensors, pointer) in zip(members, own, strict=True):
            param = given.param
            if param is not member.param or given[:2] != member[:2] or _address(param) != pointer:
                return False
            if state.get(param) is not held or not all(
                map(operator.is_, map(held.get, names), tensors)  # type: ignore[arg-type]
            ):
                return False
        return True

    def bundles(self, gradients: bool = True) -> list[Bundle]:
        """The bundles, with the parameters' gradients; those that have none are apart from those that have one."""
        made: list[Bundle] = []
        known: dict[Any, dict[int, Any]] = {}  # other cuts than this gradient's have not seen its move
        for pack, vectors in zip(self.packs, self.vectors, strict=True):
            given = [self._gradient(index) if gradients else None for index in pack]
            ends, start = list(_runs(given)), 0
            for stop in ends:
                params, state = [self.real[index] for index in pack[start:stop]], vectors
                if len(ends) > 1:
                    first = sum(self.real[index].numel() for index in pack[:start])
                    entries = sum(param.numel() for param in params)
                    shape = params[0].shape if len(params) == 1 else (entries,)
                    state = {k: v[first : first + entries].view(shape) for k, v in vectors.items()}
                held = [ops.dense(gradient) for gradient in given[start:stop] if gradient is not None]
                group, split = self.members[pack[start]].group, self.splits[pack[start]]
                places = [self.members[index].place for index in pack[start:stop]]
                left = known.setdefault((pack[start], stop), self.left.get((pack[start], stop), {}))
                made.append(Bundle(group, places, params, state, held, held, split, left))
                start = stop
        self.left = known if gradients else self.left
        return made

    def _gradient(self, index: int) -> Tensor | None:
        gradient = self.params[index].grad
        return None if gradient is None else local(gradient, self.params[index])

    def _held(self, index: int) -> list[Tensor]:
        return [self.params[index], *(self.states[index][name] for name in self.names[index])]

    def _vectors(self, pack: list[int]) -> dict[str, Tensor]:
        """What is remembered of these parameters; of several of them as one vector."""
        states, names = [self.states[index] for index in pack], self.names[pack[0]]
        if len(pack) == 1:
            return {name: ops.as_real(local(states[0][name])) for name in names}
        vectors = {}
        for name in names:
            tensors = [state[name] for state in states]
            whole = torch.cat([tensor.reshape(-1) for tensor in tensors])
            vectors[name] = ops.as_real(whole).reshape(-1)
            for state, view in zip(states, whole.split([x.numel() for x in tensors]), strict=True):
                state[name] = view.view(state[name].shape)
        return vectors


def members(
    groups: list[dict[str, Any]], state: Mapping[Tensor, dict[str, Any]], *, gradients: bool
) -> list[Member]:
    """The parameters that have had a gradient; with ``gradients`` also those that have their first one now."""
    found, place = [], 0
    for index, group in enumerate(groups):
        for param in group["params"]:
            if (gradients and param.grad is not None) or "anchor" in state.get(param, ()):
                found.append(Member(index, place, param))
            place += 1
    return found


def coordinates(params: Iterable[Tensor]) -> int:
    """The real numbers of all of them, on all processes."""
    return sum(param.numel() * (1 + param.is_complex()) for param in params)


def is_large(tensor: Tensor) -> bool:
    """Whether a compiled call for this tensor alone is worth while."""
    return type(tensor) in PLAIN and tensor.numel() >= _by_device(LARGE, tensor)


def flattened(bundle: Bundle) -> Piece:
    """A bundle of one tensor with a gradient, as a vector where it can be one.

    What differs between two of them is their size alone, so that a compiled function need not be compiled again.
    """
    held = [bundle.points(), bundle.directions[0], *bundle.state.values()]
    if all(tensor.is_contiguous() for tensor in held):
        held = [tensor.detach().view(-1) for tensor in held]
        for tensor in held:
            torch._dynamo.maybe_mark_dynamic(tensor, 0)
    point, direction, *state = held
    return Piece(point, direction, dict(zip(bundle.state, state, strict=True)), (point.numel(),))


def _runs(given: list[Tensor | None]) -> Iterator[int]:
    """The ends of the runs of parameters that have a gradient, or that have none."""
    for place, each in enumerate(given, 1):
        if place == len(given) or (given[place] is None) != (each is None):
            yield place


def _address(param: Tensor) -> int:
    """Where its numbers are: ``param.data`` may be exchanged. A DTensor keeps its shard."""
    return param.data_ptr() if type(param) in PLAIN else 0


def _by_device(sizes: dict[str, int], tensor: Tensor) -> int:
    return sizes.get(tensor.device.type, sizes["cuda"])
