"""Stepping inside the backward pass around a base: it steps in place, one parameter alone, at a rate that is known.

What ``based`` measures of all parameters before and after a step of the base is measured of each as it comes. Only the
first gradient of all has no rate yet: its directions are read off, and the base is as it was.
"""

from math import inf, isfinite, nan
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from pfopt.core import step
from pfopt.core.arrays import Flag, negated, whole, zeros_like
from pfopt.core.main_run import Decision
from pfopt.core.records import Phase
from pfopt.torch import based, early, moves, ops, proportional
from pfopt.torch.base_state import BaseState
from pfopt.torch.bundles import Bundle
from pfopt.torch.early import Early
from pfopt.torch.state import Controller
from pfopt.torch.step import Work, minimised


class Told(NamedTuple):
    """What one parameter has measured, not read yet; see ``based.Products``."""

    ahead: Any
    products: tuple[Any, Any]  # of ``based.tell``
    rate: float = 0.0  # at which it has moved
    is_read: bool = True  # its direction was read off
    result: moves.Result | None = None  # of the move along a direction that was read off
    reading_rate: float = inf  # that was found for it, if any was


def move(work: Work, keeper: BaseState, param: Tensor, decision: Decision, finite: Flag) -> Told:
    """Let the base step the parameter of the one bundle of ``work``, or look where it would go."""
    (bundle,), state = work.bundles, work.memory.controller.state
    if finite is not True:
        _drop(param, bundle, finite)
    ahead, nothing = based.displaced(work, bundle, keeper.base), based.zeros(bundle)
    stays = Told(ahead, (nothing, nothing))
    if not bundle.gradients or decision.restart:
        return stays
    if np.max(decision.step_sizes) > based.LARGEST_RATE:
        return stays._replace(products=(nothing + inf, nothing))
    rate = float(based.learning_rates(work, state, decision.step_sizes)[0])
    is_read, reading_rate = bundle.is_half or not decision.taken, inf
    with keeper.alone(bundle.group, param) as lone:
        lone.adopt()
        if not state.has_initial_step:
            reading_rate = _first_look(work, lone)
        elif not is_read:
            lone.step([rate])
            bundle.directions = []
        else:
            unit = min(work.memory.reading_rate, based.reading([bundle]).most)
            based.read_off([bundle], unit, lambda: lone.step([unit]))
    products = based.tell(work, bundle, keeper.base)
    result = early.move(work, decision, finite=True) if is_read else None
    if not is_read and state.phase == Phase.MAIN and "average" in bundle.state:
        bundle.state["average"].lerp_(bundle.points(), float(decision.average_weight))
    return Told(ahead, products, rate, is_read, result, reading_rate)


def _drop(param: Tensor, bundle: Bundle, finite: Flag) -> None:
    """Let a gradient that cannot be squared be zero for the base, which nobody can ask on an accelerator."""
    if param.grad is not None:
        gradient = param.grad._values() if param.grad.is_sparse else param.grad
        fault = torch.as_tensor(negated(finite), device=gradient.device)
        for each in (gradient, *bundle.gradients):
            each.masked_fill_(fault, 0)


def _first_look(work: Work, lone: BaseState) -> float:
    """Read off the direction at the first gradient of all, at the rate returned; the base is as before afterwards."""
    (bundle,) = work.bundles
    lone.begin_anew()
    if not work.total([bundle.norms_sq(on_host=True)]):
        if not any(group["lr"] for group in work.groups):
            lone.step([0.0])  # as distributed checkpoints make the state that they load
        return inf
    unit = based.find_reading_rate(work, lone)
    lone.require_splits()
    proportional.require(work, lone, unit)
    based.read_off([bundle], unit, lambda: lone.step([unit]))
    lone.begin_anew()
    return unit


@np.errstate(all="ignore")
def take_gradient(work: Work, tensors: list[Early], foreseen: Decision, loss: Tensor | float | None) -> bool:
    """Take one gradient that has moved the parameters already; the end of the run is for ``transition`` to see.

    Returns:
        As ``based.take_gradient``.
    """
    memory, old = work.memory, work.memory.controller
    told: list[Told] = [each.told for each in tensors]
    if not memory.reading_rate:
        found = min(each.reading_rate for each in told)
        memory.reading_rate = found if isfinite(found) else 0.0
    value = minimised(work, loss)
    norms_sq, ahead = work.over_shards([each.norm_sq for each in tensors], [each.ahead for each in told])
    grad_sq, rates = work.total(norms_sq), [each.rate for each in told]
    products = based.found_products(
        work, ops.numbers(ahead), [each.products for each in told], rates, [each.is_read for each in told]
    )
    finite = isfinite(grad_sq) and (value is None or isfinite(value))
    lost = finite and not isfinite(work.total(products.inner))
    if lost or not finite:
        inner = [0 * each if lost else nan * each for each in map(np.ones_like, products.inner)]
        products = products._replace(inner=inner)
    signal = bool(old.state.has_initial_step or grad_sq != 0)
    metric, measured = based.measure(work, products, value, signal=signal)
    state, run, decision = step.decide(work.config, old.state, old.run, measured)

    moved = early.add_up(work, [(each.bundle, each.told.result) for each in tensors])
    distance_sq = zeros_like(measured.grad_sq) if moved.distance_sq is None else moved.distance_sq
    moved = moved._replace(distance_sq=distance_sq + inf if lost else distance_sq)
    after = Controller(state, run, metric, whole(foreseen.step_sizes))
    based.record(work, after, decision, measured, moved, rates, products)
    early.go_back(work, decision.restart | memory.controller.run.frozen)
    return bool(decision.restart) and state.phase == Phase.MAIN  # a probe's end sees to the base
