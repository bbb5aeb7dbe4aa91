"""Triton kernels that measure and move all tensors of a group, device and dtype at once; ``launch`` starts them.

``norms`` measures gradients. ``move`` is ``pfopt.core.update`` with what stands around it in ``torch.moves``, and the
eager move is its oracle. Every program does one block of a tensor and writes the sums over it; ``total`` adds up those
of a tensor in a fixed order, so that a run gives the same numbers again. What changes from step to step is read on the
device, or is a number that no compilation depends on.
"""
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportIndexIssue=false, reportInvalidTypeForm=false
# pyright: reportOperatorIssue=false, reportPossiblyUnboundVariable=false

from typing import Any, NamedTuple

import triton
import triton.language as tl

from pfopt.core.step_size import COORDINATE_RANGE

# what a table holds of a tensor: addresses, its size, the places of two step sizes, of which the larger moves it, and
# whether all addresses are multiples of what a thread reads at once
COLUMNS = (
    "param", "gradient", "iterate", "anchor", "average", "mean_square", "momentum_buffer",
    "size", "step", "least", "aligned",
)  # fmt: skip
PARAM, GRADIENT, ITERATE, ANCHOR, AVERAGE = map(tl.constexpr, range(5))
MEAN_SQUARE, VELOCITY, SIZE, STEP, LEAST, ALIGNED = map(tl.constexpr, range(5, 11))
WIDTH = tl.constexpr(len(COLUMNS))
BLOCK = tl.constexpr(2048)  # entries
ALIGNMENT = tl.constexpr(16)  # bytes
RANGE = tl.constexpr(COORDINATE_RANGE)


class Form(NamedTuple):
    """What a kernel is compiled for."""

    param: tl.dtype
    gradient: tl.dtype
    wide: tl.dtype  # of what is computed and remembered
    tiny: float  # its smallest normal number
    half: bool  # whether parameters have less precision than their iterates
    maximize: bool = False
    decays: bool = False
    by_coordinate: bool = False
    momentum: bool = False
    nesterov: bool = False
    guards: bool = False  # whether a parameter may overflow
    averages: bool = False
    interpolates: bool = False


class Numbers(NamedTuple):
    """A decision on the device, shape=() each: three flags, and float64."""

    taken: Any
    restart: Any
    moving: Any
    average_weight: Any
    beta: Any
    next_beta: Any
    share_of_run: Any
    square_weight: Any
    scale_sq: Any
    least: Any
    most: Any
    product: Any


class Rates(NamedTuple):
    """What holds for a group, float64; it may change from step to step."""

    rate: Any
    momentum: Any
    weight_decay: Any
    largest: Any
    size: Any


class Place(NamedTuple):
    """Where the block of a program is."""

    row: Any  # of its tensor in the table
    start: Any  # in the tensor
    rest: Any  # entries from there on
    given: Any  # of the gradient; 0 without one
    whole: Any  # whether masks are needless, so that a thread reads several entries at once


# ---------------------------------------------------------------- entries of a block


@triton.jit
def _place(table, owners, firsts):
    block = tl.program_id(0)
    owner = tl.load(owners + block)
    row = table + owner * WIDTH
    start = (block - tl.load(firsts + owner)).to(tl.int64) * BLOCK
    rest = tl.load(row + SIZE) - start
    given = tl.where(tl.load(row + GRADIENT) != 0, rest, 0)
    return Place(row, start, rest, given, (given >= BLOCK) & (tl.load(row + ALIGNED) != 0))


@triton.jit
def _at(place, mask, COLUMN: tl.constexpr, FORM: tl.constexpr):
    """The addresses of the entries."""
    kind: tl.constexpr = FORM.param if COLUMN == 0 else FORM.gradient if COLUMN == 1 else FORM.wide
    pointer = tl.load(place.row + COLUMN).to(tl.pointer_type(kind))
    if mask is None:
        pointer = tl.multiple_of(pointer, ALIGNMENT)
    return pointer + place.start + tl.arange(0, BLOCK)


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
def _points(place, mask, FORM: tl.constexpr):
    """As ``Bundle.points``."""
    points = tl.load(_at(place, mask, PARAM, FORM), mask=mask).to(FORM.wide)
    if FORM.half:  # others may have changed the parameter since
        held = tl.load(_at(place, mask, ITERATE, FORM), mask=mask)
        points = tl.where(held.to(FORM.param).to(FORM.wide) == points, held, points)
    return points


@triton.jit
def _direction(gradient, place, FORM: tl.constexpr):
    """As ``moves.direction_of``."""
    direction = gradient.to(FORM.wide)
    if FORM.maximize:
        direction = -direction
    return tl.where(place.given > 0, direction, 0.0)


@triton.jit
def _with_momentum(place, mask, gradient, numbers, momentum, FORM: tl.constexpr):
    """As ``update`` has it; without a gradient a tensor keeps its velocity and does not move by it."""
    here, share = _at(place, mask, VELOCITY, FORM), tl.full((), momentum, FORM.wide)
    before, fresh = tl.load(here, mask=mask), tl.full((), 1.0 - momentum, FORM.wide) * gradient
    velocity = share * tl.load(numbers.moving).to(FORM.wide) * before + fresh
    velocity = tl.where(tl.load(numbers.taken) & (place.given > 0), velocity, before)
    tl.store(here, velocity, mask=mask)
    direction = fresh + share * velocity if FORM.nesterov else velocity
    return tl.where(place.given > 0, direction, 0.0)


@triton.jit
def _mean_square(place, mask, square, numbers, FORM: tl.constexpr):
    """As ``update`` has it; without a gradient a tensor keeps its own."""
    here = _at(place, mask, MEAN_SQUARE, FORM)
    before = tl.load(here, mask=mask)
    mean_square = _lerp(before, square, tl.load(numbers.square_weight).to(FORM.wide))
    mean_square = tl.where(tl.load(numbers.taken) & (place.given > 0), mean_square, before)
    tl.store(here, mean_square, mask=mask)
    return mean_square


@triton.jit
def _steps(gap, mean_square, step, numbers, size, FORM: tl.constexpr):
    """As ``step_size.coordinate_steps``, and at least the step of the tensor."""
    size = tl.full((), size, FORM.wide)
    inverse = tl.minimum(tl.load(numbers.scale_sq).to(FORM.wide) / mean_square, 1.0 / FORM.tiny)
    others_sq = inverse * (tl.load(numbers.product).to(FORM.wide) / size)
    others_sq = tl.maximum(others_sq, tl.load(numbers.least).to(FORM.wide) / size)
    others_sq = tl.minimum(others_sq, tl.load(numbers.most).to(FORM.wide) / size)
    own = tl.sqrt(tl.maximum(gap * gap, others_sq) * inverse)
    return tl.minimum(tl.maximum(own, step), RANGE * step)


# ---------------------------------------------------------------- kernels


@triton.jit
def _norms_of_block(place, partials, FORM: tl.constexpr, MASKED: tl.constexpr):
    mask = tl.arange(0, BLOCK) < place.given if MASKED else None
    gradient = tl.load(_at(place, mask, GRADIENT, FORM), mask=mask)
    wide = gradient.to(tl.float64)
    tl.store(partials, _sum(wide * wide, mask))


@triton.jit
def norms(table, owners, firsts, partials, FORM: tl.constexpr):
    """Over blocks: Σ g²."""
    place = _place(table, owners, firsts)
    partials += tl.program_id(0)
    if place.whole:
        _norms_of_block(place, partials, FORM, False)
    else:
        _norms_of_block(place, partials, FORM, True)


@triton.jit
def _move_block(place, partials, steps, numbers, rates, FORM: tl.constexpr, MASKED: tl.constexpr):
    mask = tl.arange(0, BLOCK) < place.rest if MASKED else None
    given = tl.arange(0, BLOCK) < place.given if MASKED else None
    points = _points(place, mask, FORM)
    gradient = tl.load(_at(place, mask, GRADIENT, FORM), mask=given)
    gradient = _direction(gradient, place, FORM)
    anchor = tl.load(_at(place, mask, ANCHOR, FORM), mask=mask)
    taken, restart = tl.load(numbers.taken), tl.load(numbers.restart)
    beta, next_beta = tl.load(numbers.beta), tl.load(numbers.next_beta)
    step, least = tl.load(steps + tl.load(place.row + STEP)), tl.load(steps + tl.load(place.row + LEAST))
    step = tl.maximum(tl.maximum(step, least).to(FORM.wide), FORM.tiny)

    iterate = points
    if FORM.averages:
        average = tl.load(_at(place, mask, AVERAGE, FORM), mask=mask)
    if FORM.interpolates:
        iterate = _lerp(points, average, beta.to(FORM.wide) / (beta.to(FORM.wide) - 1.0))
    direction = gradient
    if FORM.momentum:
        direction = _with_momentum(place, mask, gradient, numbers, rates.momentum, FORM)
    moves, blocks = step, tl.num_programs(0)
    if FORM.by_coordinate:
        mean_square = _mean_square(place, mask, gradient * gradient, numbers, FORM)
        moves = _steps(iterate - anchor, mean_square, step, numbers, rates.size, FORM)
        grad_sq = _sum(moves * (gradient * gradient), mask) / step.to(tl.float64)
        tl.store(partials + 3 * blocks, grad_sq)

    start = iterate
    if FORM.decays:
        share = rates.weight_decay * rates.rate * tl.load(numbers.share_of_run)
        start = tl.where(place.given > 0, tl.exp(-share).to(FORM.wide) * iterate, iterate)
    new = start - moves * (tl.full((), rates.rate, FORM.wide) * direction)
    kept = taken
    if FORM.guards:
        kept = taken & (tl.abs(new) <= tl.full((), rates.largest, FORM.wide))
    iterate = tl.where(restart, anchor, tl.where(kept, new, iterate))
    new = iterate
    if FORM.averages:
        average = _lerp(average, iterate, tl.load(numbers.average_weight).to(FORM.wide))
        tl.store(_at(place, mask, AVERAGE, FORM), average, mask=mask)
    if FORM.interpolates:
        new = _lerp(iterate, average, next_beta.to(FORM.wide))
    points = tl.where(taken | restart | (beta != next_beta), new, points)
    if FORM.half:
        tl.store(_at(place, mask, ITERATE, FORM), points, mask=mask)
    tl.store(_at(place, mask, PARAM, FORM), points.to(FORM.param), mask=mask)

    gap = iterate - anchor
    in_metric = gap
    if FORM.by_coordinate:
        in_metric = gap * (step / _steps(gap, mean_square, step, numbers, rates.size, FORM))
        tl.store(partials + blocks, _sum(gap * gap, mask))
        tl.store(partials + 2 * blocks, _sum(gap * gap * mean_square, mask))
    tl.store(partials, _sum(gap * in_metric, mask))


@triton.jit(
    do_not_specialize=["steps", *Numbers._fields]
)  # which may be anywhere, and only their values count
def move(
    table, owners, firsts, partials, steps,
    taken, restart, moving, average_weight, beta, next_beta, share_of_run,
    square_weight, scale_sq, least, most, product,
    rate: tl.float64, momentum: tl.float64, weight_decay: tl.float64, largest: tl.float64, size: tl.float64,
    FORM: tl.constexpr,
):  # fmt: skip
    """Move the blocks; over each the ``update.Sums``, and ‖g‖² in the metric of the move."""
    place = _place(table, owners, firsts)
    partials += tl.program_id(0)
    rule = square_weight, scale_sq, least, most, product
    numbers = Numbers(taken, restart, moving, average_weight, beta, next_beta, share_of_run, *rule)
    rates = Rates(rate, momentum, weight_decay, largest, size)
    if place.whole:
        _move_block(place, partials, steps, numbers, rates, FORM, False)
    else:
        _move_block(place, partials, steps, numbers, rates, FORM, True)


@triton.jit
def total(partials, firsts, sums):
    """Column by column, the sum over the blocks of each tensor."""
    tensor, column, tensors = tl.program_id(0), tl.program_id(1), tl.num_programs(0)
    partials += column * tl.load(firsts + tensors).to(tl.int64)
    last, lanes = tl.load(firsts + tensor + 1), tl.arange(0, BLOCK)
    found = tl.zeros((BLOCK,), tl.float64)
    for first in range(tl.load(firsts + tensor), last, BLOCK):
        found += tl.load(partials + first + lanes, mask=lanes < last - first, other=0.0)
    tl.store(sums + column * tensors + tensor, tl.sum(found))
