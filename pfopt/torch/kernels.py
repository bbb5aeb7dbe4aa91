"""All tensors of a parameter group, device and dtype in one launch: Triton kernels over a table of addresses.

``_norms`` measures gradients, and ``_move`` is ``pfopt.core.update`` with what stands around it in ``moves``: the eager
move is its oracle. Every block of entries writes its sums, and ``_total`` adds up those of a tensor in a fixed order, so
that a run gives the same numbers again.

Nothing here waits for the device: what changes from step to step is read there, or passed as a number that no compilation
depends on. So launches may be captured in a CUDA graph, but only with a table that an earlier step has made; a graph
whose gradients are elsewhere is given eager moves (``zero_grad(set_to_none=False)`` leaves them where they are).
"""
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportIndexIssue=false, reportOperatorIssue=false

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
import triton
import triton.language as tl
from torch import Tensor

from pfopt.core.main_run import Decision
from pfopt.core.step_size import COORDINATE_RANGE
from pfopt.core.update import Sums
from pfopt.torch.bundles import Bundle
from pfopt.torch.moves import GroupRule, Result

BLOCK = 2048  # entries that one program reads
WARPS = 8
ALIGNMENT = 16  # bytes that a thread reads at once
STATE = ("iterate", "anchor", "average", "mean_square", "momentum_buffer")
COLUMNS = ("param", "gradient", *STATE, "size", "step", "least")  # of a table, in which a row is a tensor
KINDS = {torch.float64: tl.float64, torch.float32: tl.float32}
KINDS |= {torch.float16: tl.float16, torch.bfloat16: tl.bfloat16}

WIDTH = tl.constexpr(len(COLUMNS))
PARAM, GRADIENT, ITERATE, ANCHOR, AVERAGE = map(tl.constexpr, range(5))
MEAN_SQUARE, VELOCITY, SIZE, STEP, LEAST = map(tl.constexpr, range(5, 10))
RANGE = tl.constexpr(COORDINATE_RANGE)


class LaunchError(Exception):
    """A kernel could not be compiled or launched; no tensor was written."""


class Form(NamedTuple):
    """What a compilation is made for."""

    param: tl.dtype
    gradient: tl.dtype
    wide: tl.dtype  # of what is computed and remembered
    tiny: float  # its smallest normal number
    aligned: bool  # whether all addresses are
    half: bool  # whether parameters have less precision than their iterates
    maximize: bool
    decays: bool
    by_coordinate: bool = False
    momentum: bool = False
    nesterov: bool = False
    guards: bool = False  # whether a parameter may overflow
    averages: bool = False
    interpolates: bool = False


class Numbers(NamedTuple):
    """A decision on a device, shape=() each: flags, and numbers in float64."""

    taken: Any
    restart: Any
    moving: Any
    average_weight: Any
    beta: Any
    next_beta: Any
    square_weight: Any
    scale_sq: Any
    least: Any
    most: Any
    product: Any


class Rates(NamedTuple):
    """Numbers of a group, in float64 on the device or of the host; they may change from step to step."""

    rate: Any
    momentum: Any
    weight_decay: Any
    largest: Any
    size: Any


# ---------------------------------------------------------------- the kernels


@triton.jit
def _place(table, owners, firsts, BLOCK: tl.constexpr):
    """The row of the tensor of this program's block, where that starts, and what is left of tensor and gradient."""
    block = tl.program_id(0)
    owner = tl.load(owners + block)
    row = table + owner * WIDTH
    start = (block - tl.load(firsts + owner)).to(tl.int64) * BLOCK
    rest = tl.load(row + SIZE) - start
    return row, start, rest, tl.where(tl.load(row + GRADIENT) != 0, rest, 0)


@triton.jit
def _at(row, start, COLUMN: tl.constexpr, KIND: tl.constexpr, FORM: tl.constexpr, BLOCK: tl.constexpr):
    """The addresses of the entries of a block."""
    pointer = tl.load(row + COLUMN).to(tl.pointer_type(KIND))
    if FORM.aligned:
        pointer = tl.multiple_of(pointer, 16)
    return pointer + start + tl.arange(0, BLOCK)


@triton.jit
def _sum(values, mask):
    if mask is not None:
        values = tl.where(mask, values, 0.0)
    return tl.sum(values.to(tl.float64))


@triton.jit
def _lerp(one, other, weight):
    """As ``torch.lerp``: exactly the other one at a weight of 1."""
    gap = other - one
    return tl.where(tl.abs(weight) < 0.5, one + weight * gap, other - gap * (1.0 - weight))


@triton.jit
def _points(row, start, mask, FORM: tl.constexpr, BLOCK: tl.constexpr):
    """As ``Bundle.points``."""
    points = tl.load(_at(row, start, PARAM, FORM.param, FORM, BLOCK), mask=mask).to(FORM.wide)
    if FORM.half:  # others may have changed the parameter since
        held = tl.load(_at(row, start, ITERATE, FORM.wide, FORM, BLOCK), mask=mask)
        points = tl.where(held.to(FORM.param).to(FORM.wide) == points, held, points)
    return points


@triton.jit
def _direction(gradient, points, given, decay, FORM: tl.constexpr):
    """As ``moves.direction_of``."""
    direction = -gradient if FORM.maximize else gradient
    if FORM.decays:
        direction += tl.full((), decay, FORM.wide) * points
    return tl.where(given > 0, direction, 0.0)


@triton.jit
def _steps(numbers, gap, mean_square, step, size, FORM: tl.constexpr):
    """As ``step_size.coordinate_steps``, and at least the step of the tensor."""
    scale_sq, size = tl.load(numbers.scale_sq).to(FORM.wide), tl.full((), size, FORM.wide)
    inverse = tl.minimum(scale_sq / mean_square, 1.0 / FORM.tiny)
    others_sq = inverse * (tl.load(numbers.product).to(FORM.wide) / size)
    others_sq = tl.maximum(others_sq, tl.load(numbers.least).to(FORM.wide) / size)
    others_sq = tl.minimum(others_sq, tl.load(numbers.most).to(FORM.wide) / size)
    own = tl.sqrt(tl.maximum(gap * gap, others_sq) * inverse)
    return tl.minimum(tl.maximum(own, step), RANGE * step)


@triton.jit
def _velocity(row, start, mask, direction, numbers, momentum, given, FORM: tl.constexpr, BLOCK: tl.constexpr):
    """Keep the velocity; the direction with momentum, as ``update`` has it."""
    place = _at(row, start, VELOCITY, FORM.wide, FORM, BLOCK)
    before, share = tl.load(place, mask=mask), tl.full((), momentum, FORM.wide)
    fresh = tl.full((), 1.0 - momentum, FORM.wide) * direction
    velocity = share * tl.load(numbers.moving).to(FORM.wide) * before + fresh
    velocity = tl.where(tl.load(numbers.taken) & (given > 0), velocity, before)
    tl.store(place, velocity, mask=mask)
    return tl.where(given > 0, fresh + share * velocity if FORM.nesterov else velocity, 0.0)


@triton.jit
def _norms_of_block(row, start, given, partials, decay, FORM: tl.constexpr, MASKED: tl.constexpr, BLOCK: tl.constexpr):
    mask = tl.arange(0, BLOCK) < given if MASKED else None
    gradient = tl.load(_at(row, start, GRADIENT, FORM.gradient, FORM, BLOCK), mask=mask)
    wide = gradient.to(tl.float64)
    tl.store(partials, _sum(wide * wide, mask))
    if FORM.decays:
        points = _points(row, start, mask, FORM, BLOCK)
        wide = _direction(gradient.to(FORM.wide), points, given, decay, FORM).to(tl.float64)
        tl.store(partials + tl.num_programs(0), _sum(wide * wide, mask))


@triton.jit
def _norms(table, owners, firsts, partials, decay: tl.float64, FORM: tl.constexpr, BLOCK: tl.constexpr):
    row, start, rest, given = _place(table, owners, firsts, BLOCK)
    partials += tl.program_id(0)
    if given >= BLOCK:  # without masks a thread reads several entries at once
        _norms_of_block(row, start, given, partials, decay, FORM, False, BLOCK)
    else:
        _norms_of_block(row, start, given, partials, decay, FORM, True, BLOCK)


@triton.jit
def _move_block(row, start, rest, given, partials, steps, numbers, rates, FORM: tl.constexpr, MASKED: tl.constexpr, BLOCK: tl.constexpr):
    mask = tl.arange(0, BLOCK) < rest if MASKED else None
    points, taken = _points(row, start, mask, FORM, BLOCK), tl.load(numbers.taken)
    gradient = tl.load(_at(row, start, GRADIENT, FORM.gradient, FORM, BLOCK), mask=tl.arange(0, BLOCK) < given if MASKED else None)
    gradient = _direction(gradient.to(FORM.wide), points, given, rates.weight_decay, FORM)
    anchor = tl.load(_at(row, start, ANCHOR, FORM.wide, FORM, BLOCK), mask=mask)
    step = tl.maximum(tl.load(steps + tl.load(row + STEP)), tl.load(steps + tl.load(row + LEAST)))
    step = tl.maximum(step.to(FORM.wide), FORM.tiny)
    beta, next_beta = tl.load(numbers.beta), tl.load(numbers.next_beta)

    iterate, direction, moves, blocks = points, gradient, step, tl.num_programs(0)
    if FORM.averages:
        average_place = _at(row, start, AVERAGE, FORM.wide, FORM, BLOCK)
        average = tl.load(average_place, mask=mask)
        if FORM.interpolates:
            iterate = _lerp(points, average, beta.to(FORM.wide) / (beta.to(FORM.wide) - 1.0))
    if FORM.momentum:
        direction = _velocity(row, start, mask, gradient, numbers, rates.momentum, given, FORM, BLOCK)
    if FORM.by_coordinate:
        place = _at(row, start, MEAN_SQUARE, FORM.wide, FORM, BLOCK)
        before, square = tl.load(place, mask=mask), gradient * gradient
        mean_square = _lerp(before, square, tl.load(numbers.square_weight).to(FORM.wide))
        mean_square = tl.where(taken & (given > 0), mean_square, before)
        tl.store(place, mean_square, mask=mask)
        moves = _steps(numbers, iterate - anchor, mean_square, step, rates.size, FORM)
        tl.store(partials + 3 * blocks, _sum(moves * square, mask) / step.to(tl.float64))

    new, kept = iterate - moves * (tl.full((), rates.rate, FORM.wide) * direction), taken
    if FORM.guards:
        kept = taken & (tl.abs(new) <= tl.full((), rates.largest, FORM.wide))
    restart = tl.load(numbers.restart)
    iterate = tl.where(restart, anchor, tl.where(kept, new, iterate))
    new = iterate
    if FORM.averages:
        average = _lerp(average, iterate, tl.load(numbers.average_weight).to(FORM.wide))
        tl.store(average_place, average, mask=mask)
        if FORM.interpolates:
            new = _lerp(iterate, average, next_beta.to(FORM.wide))
    points = tl.where(taken | restart | (beta != next_beta), new, points)
    if FORM.half:
        tl.store(_at(row, start, ITERATE, FORM.wide, FORM, BLOCK), points, mask=mask)
    tl.store(_at(row, start, PARAM, FORM.param, FORM, BLOCK), points.to(FORM.param), mask=mask)

    gap = iterate - anchor
    in_metric = gap
    if FORM.by_coordinate:
        in_metric = gap * (step / _steps(numbers, gap, mean_square, step, rates.size, FORM))
        tl.store(partials + blocks, _sum(gap * gap, mask))
        tl.store(partials + 2 * blocks, _sum(gap * gap * mean_square, mask))
    tl.store(partials, _sum(gap * in_metric, mask))


@triton.jit(do_not_specialize_on_alignment=["steps", "numbers"])
def _move(
    table, owners, firsts, partials, steps, numbers,
    rate: tl.float64, momentum: tl.float64, weight_decay: tl.float64, largest: tl.float64, size: tl.float64,
    FORM: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row, start, rest, given = _place(table, owners, firsts, BLOCK)
    partials += tl.program_id(0)
    rates = Rates(rate, momentum, weight_decay, largest, size)
    if given >= BLOCK:
        _move_block(row, start, rest, given, partials, steps, numbers, rates, FORM, False, BLOCK)
    else:
        _move_block(row, start, rest, given, partials, steps, numbers, rates, FORM, True, BLOCK)


@triton.jit
def _total(partials, firsts, sums, BLOCK: tl.constexpr):
    """Column by column, the sum over the blocks of each tensor."""
    tensor, column, tensors = tl.program_id(0), tl.program_id(1), tl.num_programs(0)
    partials += column * tl.load(firsts + tensors).to(tl.int64)
    last, lanes = tl.load(firsts + tensor + 1), tl.arange(0, BLOCK)
    total = tl.zeros((BLOCK,), tl.float64)
    for first in range(tl.load(firsts + tensor), last, BLOCK):
        total += tl.load(partials + first + lanes, mask=lanes < last - first, other=0.0)
    tl.store(sums + column * tensors + tensor, tl.sum(total))


# ---------------------------------------------------------------- their tables


class Table:
    """Where the tensors of some bundles of one group, device and dtype lie."""

    def __init__(self, bundles: Sequence[Bundle], steps: Sequence[tuple[int, int]]) -> None:
        """Look up all but the gradients.

        Args:
            bundles: of which the tensors have all of their entries in one order in memory.
            steps: for each tensor the places, among all step sizes, of the two of which the larger one moves it.
        """
        self.places = [place for bundle in bundles for place in bundle.places]
        self.device, (_, self.wide) = bundles[0].params[0].device, bundles[0].kind
        self.param = bundles[0].params[0].dtype
        sizes = np.array([size for bundle in bundles for size in bundle.sizes], dtype=np.int64)
        self.rows = np.zeros((len(sizes), len(COLUMNS)), dtype=np.int64)
        self.rows[:, SIZE.value], self.rows[:, STEP.value :] = sizes, steps
        start = 0
        for bundle in bundles:
            rows = self.rows[start : (start := start + len(bundle.params))]
            rows[:, PARAM.value] = [param.data_ptr() for param in bundle.params]
            for name in bundle.state.keys() & set(STATE):
                vector, before = bundle.state[name], np.cumsum([0, *bundle.sizes[:-1]])
                rows[:, COLUMNS.index(name)] = vector.data_ptr() + before * vector.element_size()
        blocks = -(-sizes // BLOCK)
        self.blocks = int(blocks.sum())
        self.owners = self._placed(np.repeat(np.arange(len(sizes)), blocks).astype(np.int32))
        self.firsts = self._placed(np.append(0, np.cumsum(blocks)).astype(np.int32))
        self.on_device, self.is_captured = self._placed(self.rows), False

    def _placed(self, array: np.ndarray) -> Tensor:
        tensor = torch.from_numpy(array.copy())
        if self.device.type == "cuda":
            tensor = tensor.pin_memory()  # or the host would wait
        return tensor.to(self.device, non_blocking=True)

    def find(self, bundles: Sequence[Bundle], *, capturing: bool) -> bool:
        """Look up the gradients; whether the table on the device has them: in a capture it cannot be made anew."""
        given: list[int] = []
        for bundle in bundles:
            absent = [0] * len(bundle.params)
            given += [gradient.data_ptr() for gradient in bundle.directions] or absent
        self.gradient = next((b.directions[0].dtype for b in bundles if b.directions), self.param)
        if self.rows[:, GRADIENT.value].tolist() != given:
            if capturing:
                return False
            self.rows[:, GRADIENT.value] = given
            self.on_device, self.is_captured = self._placed(self.rows), False
        if capturing and not self.is_captured:
            _CAPTURED.extend([self.on_device, self.owners, self.firsts])
            self.is_captured = True
        return True

    def form(self, **flags: bool) -> Form:
        """What kernels are compiled for."""
        aligned = not (self.rows[:, : SIZE.value] % ALIGNMENT).any()
        kinds = (KINDS[self.param], KINDS[self.gradient], KINDS[self.wide])
        return Form(*kinds, torch.finfo(self.wide).tiny, aligned, self.param != self.wide, **flags)

    def launch(self, kernel: Any, columns: int, *arguments: Any) -> Tensor:
        """Run a kernel on every block; the sums of every tensor, shape=(columns, tensors), float64."""
        partials = torch.empty((columns, self.blocks), dtype=torch.float64, device=self.device)
        sums = partials.new_empty((columns, len(self.rows)))
        tables = self.on_device, self.owners, self.firsts
        try:
            with torch.cuda.device_of(partials):
                options = {"num_warps": WARPS, "enable_fp_fusion": True}
                if self.blocks:
                    kernel[(self.blocks,)](*tables, partials, *arguments, BLOCK, **options)
                _total[(len(self.rows), columns)](partials, self.firsts, sums, BLOCK, **options)
        except Exception as error:
            raise LaunchError(f"{type(error).__name__}: {error}") from error
        return sums


_CAPTURED: list[Tensor] = []  # what CUDA graphs read: they may be replayed as long as the process lives


def table(
    known: dict[Any, Table], bundles: Sequence[Bundle], steps: Sequence[tuple[int, int]]
) -> Table | None:
    """The table of these bundles, made anew where there is none; None where a capture forbids that.

    Args:
        known: those of earlier steps.
        bundles: with their gradients.
        steps: see ``Table``.
    """
    key = bundles[0].group, bundles[0].kind, bundles[0].params[0].dtype
    capturing = bundles[0].params[0].is_cuda and torch.cuda.is_current_stream_capturing()
    places = [place for bundle in bundles for place in bundle.places]
    if key not in known or known[key].places != places:
        if capturing:
            return None
        known[key] = Table(bundles, steps)
    return known[key] if known[key].find(bundles, capturing=capturing) else None


# ---------------------------------------------------------------- what they are for


def norms_sq(table: Table, weight_decay: float, *, maximize: bool) -> Tensor:
    """‖g‖² of each tensor and, where weights decay, with their decay too, shape=(1 or 2, tensors)."""
    form = table.form(maximize=maximize, decays=bool(weight_decay))
    return table.launch(_norms, 1 + form.decays, float(weight_decay), form)


def move(table: Table, group: GroupRule, numbers: Numbers, step_sizes: Tensor) -> Result:
    """Move all tensors of a table in the main run, as ``moves.in_main_run`` does.

    Args:
        table: of tensors that are written in place.
        group: what holds for their parameter group.
        numbers: what was decided.
        step_sizes: of the whole and of each scope, shape=(1 + scopes,), float64.
    """
    rule, largest = group.rule, group.rule.largest
    form = table.form(
        maximize=group.maximize,
        decays=bool(group.weight_decay),
        by_coordinate=bool(rule.size),
        momentum=bool(rule.momentum),
        nesterov=rule.nesterov,
        guards=largest is not None,
        averages=group.averages,
        interpolates=group.averages and group.interpolates,
    )
    rates = Rates(rule.rate, rule.momentum, group.weight_decay, largest or 0.0, rule.size)
    sums = table.launch(_move, 4 if rule.size else 1, step_sizes, numbers, *map(float, rates), form)
    return Result(sums[3], Sums(*sums[:3])) if rule.size else Result(None, Sums(sums[0]))


def numbers(decision: Decision, device: torch.device) -> Numbers:
    """A decision of the main run on a device; one transfer for numbers of the host."""
    assert decision.coordinate_rule is not None
    flags = [decision.taken, decision.restart, decision.moving]
    reals = [decision.average_weight, decision.beta, decision.next_beta, *decision.coordinate_rule]
    if not isinstance(decision.taken, Tensor):
        flags = torch.tensor(flags, dtype=torch.bool).to(device).unbind()
        reals = torch.tensor(reals, dtype=torch.float64).to(device).unbind()
    return Numbers(*(value.to(device) for value in (*flags, *reals)))


@cache
def check(device: torch.device) -> None:
    """Run the smaller kernels once on a device.

    Raises:
        LaunchError: it has no compiler, or none that works.
    """
    one = torch.ones(1, device=device)
    bundle = Bundle(0, [0], [one], {"anchor": one}, [one], [one])
    found = table({}, [bundle], [(0, 0)])
    if found is not None:
        norms_sq(found, 0.0, maximize=False)
