"""One gradient around a base: the base steps in place, at a step size that was decided before.

What the core asks of a direction d are ⟨g, d⟩ and ⟨g, x_0 − x⟩ (``pfopt.core.preconditioned``). A step of the base in
place, x' = x − η d, changes the second by η ⟨g, d⟩: two passes over parameters, anchor and gradients measure both, and
no direction is ever held. Where the step size hangs on the gradient itself, as at the first one of all and of the main
run, and for parameters in half precision, which a small step would not move, the direction is read off instead: the
base steps at a power of two so large that it costs no digits.

The controller computes on numbers of the host, since the base takes its learning rate from there: on an accelerator
``step()`` waits for it once.
"""

import itertools
from collections.abc import Callable, Sequence
from math import frexp, inf, isfinite, nan
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from pfopt.core import preconditioned, probe, step
from pfopt.core.arrays import Vector, whole, zeros_like
from pfopt.core.main_run import Decision
from pfopt.core.preconditioned import Metric
from pfopt.core.records import Phase, State
from pfopt.core.step import Measured, Moved
from pfopt.torch import moves, ops, proportional
from pfopt.torch.base_state import BaseState
from pfopt.torch.bundles import Bundle
from pfopt.torch.state import Controller
from pfopt.torch.step import (
    Work,
    anchor_sq,
    largest_entry,
    minimised,
    move_in_main_run,
    move_in_probe,
    set_anchor,
)

LARGEST_RATE = 2.0**96  # beyond, every move overflows, and so may what a base makes of its learning rate


class Reading(NamedTuple):
    """At which learning rate directions are read off."""

    usual: float  # for a direction of which the largest entry is 1 or so
    least: float  # it must lead as far at least; otherwise the rate is the one
    length: float  # at which it leads as far as this,
    most: float  # or the largest one


WIDE = Reading(usual=2.0**20, least=2.0**10, length=2.0**20, most=LARGEST_RATE)
HALF = Reading(
    usual=1.0, least=2.0**7, length=2.0**8, most=2.0**13
)  # float16 ends at 65504, and four times the rate is tried


class Products(NamedTuple):
    """Of a gradient and the base's step; of each bundle the numbers of its tensors."""

    ahead: list[Any]  # ⟨g, x_0 − x⟩ before the step
    inner: list[Any]  # ⟨g, d⟩
    direction_sq: list[Any]  # ‖d‖²; 0 where it was not read off


@np.errstate(all="ignore")
def take_gradient(work: Work, keeper: BaseState, loss: Tensor | float | None) -> bool:
    """Take one gradient; the end of the run is for ``transition`` to see.

    Returns:
        Whether the main run goes back to the anchor, and the base to the state that it had there.

    Raises:
        ValueError: the first gradient shows that the base's steps are not proportional to its learning rate.
    """
    memory, old, base = work.memory, work.memory.controller, keeper.base
    assert old.metric is not None
    if not old.state.has_initial_step:
        set_anchor(work, True)
        keeper.begin_anew()
    value = minimised(work, loss)
    (ahead,) = work.over_shards([work.poisoned(displaced(work, bundle, base)) for bundle in work.bundles])
    ahead = ops.numbers(ahead)
    finite = isfinite(work.total(ahead)) and (value is None or isfinite(value))
    signal = old.state.has_initial_step or _has_signal(work)
    goes_on = not (old.run.frozen and old.state.has_initial_step) and old.run.step < old.state.run_length

    known = step.known_step_sizes(work.config, old.state, old.run)
    known = None if work.config.certified else known
    nothing = list(map(zeros, work.bundles))
    products, lost = Products(ahead, nothing, nothing), False
    if not signal and not any(group["lr"] for group in work.groups):
        keeper.step([0.0] * len(work.groups))  # as distributed checkpoints make the state that they load
    if finite and signal and not old.state.has_initial_step:
        memory.reading_rate = find_reading_rate(work, keeper)
        proportional.require(work, keeper, memory.reading_rate)
    if not finite:
        products = products._replace(inner=[nan + each for each in nothing])
    elif signal and goes_on and known is not None and np.max(known) > LARGEST_RATE:
        lost = True
    elif signal and goes_on:
        products = _step_base(work, keeper, ahead, known)
        if lost := not isfinite(work.total(products.inner)):
            products = Products(ahead, nothing, nothing)
    metric, measured = measure(work, products, value, signal=bool(signal))
    state, run, decision = step.decide(work.config, old.state, old.run, measured)

    moved = _move(work, state, decision, lost=lost)
    steps = (
        step.probe_step_size(state) + zeros_like(measured.grad_sq)
        if probe.returns_last(work.config)
        else decision.step_sizes
    )
    after = Controller(state, run, metric, whole(decision.step_sizes))
    record(work, after, decision, measured, moved, learning_rates(work, state, steps), products)
    return bool(decision.restart) and state.phase == Phase.MAIN  # a probe's end sees to the base


def measure(work: Work, products: Products, value: Any, *, signal: bool) -> tuple[Metric, Measured]:
    """What a gradient measures, in the metric that the base's directions tell."""
    old = work.memory.controller
    assert old.metric is not None
    starts = old.run.step == old.run.restart_step
    inner, direction_sq = work.sums(products.inner, 1), work.sums(products.direction_sq, 1)
    metric, grad_sq = preconditioned.measure(old.metric, inner, direction_sq, starts)
    return metric, Measured(grad_sq, value, signal, anchor_sq(work, old.state))


def record(
    work: Work,
    after: Controller,
    decision: Decision,
    measured: Measured,
    moved: Moved,
    rates: Sequence[Any],
    products: Products,
) -> None:
    """Keep what a gradient has changed.

    Args:
        work: what it was taken on.
        after: what ``decide`` made of it.
        decision: likewise.
        measured: before its move.
        moved: by it; of the distance, whether it is finite.
        rates: of each bundle, at which the base has stepped, see ``learning_rates``.
        products: of each bundle.
    """
    gained = work.sums(list(map(preconditioned.gain, rates, *products[:2])), -1)
    assert after.metric is not None
    metric, distance_sq = preconditioned.advance(after.metric, gained, decision.taken, moved.distance_sq)
    run, _ = step.record(after.run, decision, measured, moved._replace(distance_sq=distance_sq))
    work.memory.keep(after._replace(run=run, metric=metric))
    work.memory.due -= 1


def _has_signal(work: Work) -> bool:
    (squares,) = work.over_shards([bundle.norms_sq(on_host=True) for bundle in work.bundles])
    return bool(work.total(squares) != 0)


def displaced(work: Work, bundle: Bundle, base: Optimizer) -> Any:
    """⟨g, x_0 − x⟩ of each tensor; of a probe that returns its last iterate, with the dual sequence x_0 − η Σ d."""
    state, found = work.memory.controller.state, []
    if not bundle.gradients:
        return zeros(bundle)
    for piece in bundle.pieces(bundle.gradients, written=False):
        assert piece.direction is not None
        if "grad_sum" in piece.state:
            rate = step.probe_step_size(state) * work.scopes.rho[bundle.group]
            back = piece.state["grad_sum"] * float(rate)
        else:
            back = piece.state["anchor"] - piece.points
        found.append(ops.inner(piece.direction.to(back.dtype), back, piece.sizes, on_host=True))
    return _minimised(base, bundle, moves.joined(found))


# ---------------------------------------------------------------- the step of the base


def reading(bundles: Sequence[Bundle]) -> Reading:
    """For bundles of which one may be in float16."""
    return HALF if any(bundle.params[0].dtype == torch.float16 for bundle in bundles) else WIDE


def find_reading_rate(work: Work, keeper: BaseState) -> float:
    """A rate so large that a direction like the first one costs no digits; the base is as before afterwards."""
    usual, least, length, most = reading(work.bundles)
    for rate in (usual, most):  # at the first one, small directions are not seen
        largest = _largest_step(work, keeper, rate)
        if least <= largest < inf:
            break
    if not 0 < largest < inf or (rate == usual and largest >= least):
        return usual
    return min(rate * 2.0 ** (frexp(length / largest)[1] - 1), most)


def _largest_step(work: Work, keeper: BaseState, rate: float) -> float:
    """The largest entry of a step of the base, which leaves no trace."""
    bundles = [bundle for bundle in work.bundles if bundle.gradients]
    before = [[param.clone() for param in bundle.params] for bundle in bundles]
    keeper.step([rate] * len(keeper.base.param_groups))
    found = []
    for bundle, olds in zip(bundles, before, strict=True):
        dtype = ops.computed(bundle.params[0].dtype)
        gaps = [(old - new).to(dtype) for old, new in zip(olds, bundle.params, strict=True)]
        found.append(largest_entry(gaps))
        ops.copy(olds, bundle.params)
    keeper.begin_anew()
    (found,) = work._replace(bundles=bundles).over_shards(found)
    return float(max(map(np.max, ops.numbers(found)), default=0.0))


def _step_base(work: Work, keeper: BaseState, ahead: list[Any], known: Vector | None) -> Products:
    """Let the base step; in place where the step sizes are known, otherwise its directions are read off.

    Args:
        work: its bundles get the directions that were read off, and none where the base has moved them.
        keeper: of the base, of which the learning rates are as before afterwards.
        ahead: of the bundles.
        known: the step sizes, or None.
    """
    base = keeper.base
    held = {bundle.group for bundle in work.bundles if known is None or bundle.is_half}
    bundles = [bundle for bundle in work.bundles if bundle.gradients and bundle.group in held]
    unit = min(work.memory.reading_rate, reading(bundles).most)
    state = work.memory.controller.state
    per_bundle = list(map(zeros, work.bundles)) if known is None else learning_rates(work, state, known)
    by_place: dict[int, float] = {}
    for bundle, own in zip(work.bundles, per_bundle, strict=True):
        own = np.broadcast_to(unit if bundle.group in held else own, len(bundle.places))
        by_place.update(zip(bundle.places, own.tolist(), strict=True))
    places = itertools.count()
    sizes = [len(group["params"]) for group in base.param_groups]
    nested = [[by_place.get(next(places), 0.0) for _ in range(size)] for size in sizes]
    read_off(bundles, unit, lambda: keeper.step_by_tensor(nested))
    is_read = [bundle.group in held for bundle in work.bundles]
    for bundle, read in zip(work.bundles, is_read, strict=True):
        if not read:
            bundle.directions = []
    told = [tell(work, bundle, base) for bundle in work.bundles]
    return found_products(work, ahead, told, per_bundle, is_read)


def read_off(bundles: Sequence[Bundle], unit: float, step_base: Callable[[], None]) -> None:
    """Let the base step at a rate, make the directions of bundles of that, and put their parameters back."""
    before = [[param.clone() for param in bundle.params] for bundle in bundles]
    step_base()
    for bundle, olds in zip(bundles, before, strict=True):
        bundle.directions = [
            (old - param).to(ops.computed(param.dtype)) / unit
            for old, param in zip(olds, bundle.params, strict=True)
        ]
        ops.copy(olds, bundle.params)


def tell(work: Work, bundle: Bundle, base: Optimizer) -> tuple[Any, Any]:
    """After the base has stepped: ⟨g, d⟩ and ‖d‖² of directions that were read off, otherwise ⟨g, x_0 − x⟩ and 0."""
    if not bundle.gradients:
        return zeros(bundle), zeros(bundle)
    if not bundle.directions:
        return displaced(work, bundle, base), zeros(bundle)
    return _inner(bundle, base), bundle.norms_sq(on_host=True)


def found_products(
    work: Work,
    ahead: Sequence[Any],
    told: Sequence[tuple[Any, Any]],
    rates: Sequence[Any],
    is_read: Sequence[bool],
) -> Products:
    """What ``tell`` has told of each bundle, read.

    Args:
        work: of all bundles.
        ahead: ⟨g, x_0 − x⟩ before the step.
        told: of each bundle.
        rates: at which the base has moved each of them.
        is_read: whether it has not, since its direction was read off.
    """
    inner, direction_sq = map(ops.numbers, work.over_shards(*zip(*told, strict=True)))
    inner = [
        each if read else (each - first) / np.where(rate > 0, rate, inf)
        for read, each, first, rate in zip(is_read, inner, ahead, rates, strict=True)
    ]
    return Products(list(ahead), inner, direction_sq)


def _inner(bundle: Bundle, base: Optimizer) -> Any:
    """⟨g, d⟩ of each tensor, with directions that were read off."""
    pairs = zip(bundle.gradients, bundle.directions, strict=True)
    found = [ops.inner(one.to(other.dtype), other, (0,), on_host=True) for one, other in pairs]
    product = torch.stack(found) if isinstance(found[0], Tensor) else np.hstack(found)
    return _minimised(base, bundle, product)


def zeros(bundle: Bundle) -> Any:
    """A zero of each tensor."""
    return np.zeros(len(bundle.params))


def _minimised(base: Optimizer, bundle: Bundle, product: Any) -> Any:
    """A product with the gradient of what is minimised, which is −g where the base maximises."""
    return -product if base.param_groups[bundle.group].get("maximize") else product


def learning_rates(work: Work, state: State, steps: Vector) -> list[Any]:
    """The learning rates of each bundle: one for all of its tensors, or one of each."""
    if state.phase == Phase.SEARCH:
        return [float(whole(steps)) * work.scopes.rho[bundle.group] for bundle in work.bundles]
    pairs = zip(work.step_sizes(steps), work.bundles, strict=True)
    return [np.asarray(step_size) * work.groups[bundle.group]["lr"] for step_size, bundle in pairs]


# ---------------------------------------------------------------- the move


def _move(work: Work, state: State, decision: Decision, *, lost: bool) -> Moved:
    """Move what the base has not moved, and see to what it has: averages, restarts, and numbers that overflowed."""
    apart = [bundle for bundle in work.bundles if bundle.directions]
    rest = [bundle for bundle in work.bundles if not bundle.directions]
    moved = Moved(zeros_like(decision.step_sizes))
    if apart:
        move = move_in_probe if state.phase == Phase.SEARCH else move_in_main_run
        told = move(work._replace(bundles=apart), state, decision)
        moved = moved if told.distance_sq is None else told
    for bundle in rest:
        if decision.restart or lost:
            bundle.place(bundle.state["anchor"])
        if state.phase == Phase.MAIN and "average" in bundle.state:
            bundle.state["average"].lerp_(bundle.points(), float(decision.average_weight))
    if decision.restart:
        ops.copy(work.memory.buffers, work.buffers)
    return Moved(zeros_like(decision.step_sizes) + np.inf) if lost else moved
