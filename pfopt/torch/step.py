"""One gradient: measure it, let ``pfopt.core`` decide, move the parameters, record the move, and keep what came back.

On the host nothing here has to be waited for. On an accelerator nothing here waits for it.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from pfopt.core import preconditioned, step
from pfopt.core.arrays import Flag, Real, negated, whole
from pfopt.core.config import Config
from pfopt.core.main_run import Decision
from pfopt.core.preconditioned import Metric
from pfopt.core.records import Phase, State
from pfopt.core.step import Measured, Moved
from pfopt.core.update import Sums
from pfopt.torch import moves, ops
from pfopt.torch.bundles import Bundle, flattened
from pfopt.torch.norms import Scopes
from pfopt.torch.state import Controller, Memory


class Work(NamedTuple):
    """What a step works on."""

    config: Config
    groups: list[dict[str, Any]]
    memory: Memory
    scopes: Scopes
    bundles: list[Bundle]
    buffers: list[Tensor]  # the caller's
    size: int  # coordinates of all parameters together; 0 where none has a step of its own

    def sums(self, squares: Sequence[Any], power: int) -> Any:
        """Sums over all bundles, shape=(1 + scopes,), see ``Scopes.sums``; as the controller computes with them."""
        return self.memory.tell(self.scopes.sums(self.bundles, squares, power, self.memory.like))


class Products(NamedTuple):
    """Of a gradient, around a base; of the tensors of each bundle."""

    inner: list[Tensor]  # ⟨g, d⟩ with the base's direction d
    ahead: list[Tensor]  # ⟨g, x_0 − x⟩


@np.errstate(all="ignore")
def take_gradient(work: Work, loss: Tensor | float | None) -> Flag:
    """Take one gradient; the end of the run is for ``transition`` to see.

    Returns:
        Whether the main run goes back to the anchor.
    """
    memory, old = work.memory, work.memory.controller
    if old.state.has_initial_step is not True:
        _set_anchor(work, negated(old.state.has_initial_step))
    products = None if old.metric is None else _products(work, old.state)
    metric, measured = _measure(work, old, products, loss)
    state, run, decision = step.decide(work.config, old.state, old.run, measured)
    if state.phase == Phase.SEARCH:
        rates, sums = _move_in_probe(work, state, decision)
    else:
        rates, sums = _move_in_main_run(work, decision)
    ops.copy_where(decision.restart, memory.buffers, work.buffers)
    moved = _add_up(work, sums)
    if metric is not None and products is not None:
        gained = work.sums(list(map(preconditioned.gain, rates, products.ahead, products.inner)), -1)
        metric, distance_sq = preconditioned.advance(metric, gained, decision.taken, moved.distance_sq)
        moved = moved._replace(distance_sq=distance_sq)
    run, _ = step.record(run, decision, measured, moved)
    memory.keep(Controller(state, run, metric, whole(decision.step_sizes)))
    memory.due -= 1
    return decision.restart


def _set_anchor(work: Work, waiting: Flag) -> None:
    """Until the first gradient with signal the anchor is where the parameters are, whoever moves them."""
    for bundle in work.bundles:
        ops.copy_where(waiting, bundle.points, bundle.slot("anchor"))
    ops.copy_where(waiting, work.buffers, work.memory.buffers)


# ---------------------------------------------------------------- before the move


def _measure(
    work: Work, old: Controller, products: Products | None, loss: Tensor | float | None
) -> tuple[Metric | None, Measured]:
    like, metric = work.memory.like, old.metric
    raw_sq = grad_sq = work.sums([bundle.norms_sq(like) for bundle in work.bundles], 1)
    if any(group["weight_decay"] for group in work.groups):
        grad_sq = work.sums([_decayed_norms_sq(work, bundle) for bundle in work.bundles], 1)
    if metric is not None and products is not None:
        inner, starts = work.sums(products.inner, 1), old.run.step == old.run.restart_step
        metric, grad_sq = preconditioned.measure(metric, inner, grad_sq, starts)
    anchor_sq: Any = 0.0
    if old.state.has_initial_step is not True:
        squares = [ops.norms_sq(ops.split(ops.concat(b.points), b.sizes)) for b in work.bundles]
        anchor_sq = whole(work.sums(squares, 1))
    signal = whole(raw_sq) != 0
    signal = signal if isinstance(signal, Tensor) else bool(signal)
    return metric, Measured(grad_sq, _minimised(work, loss), signal, anchor_sq)


def _decayed_norms_sq(work: Work, bundle: Bundle) -> Tensor:
    """‖g‖² of each tensor, weight decay included."""
    if not bundle.directions:
        return bundle.norms_sq(work.memory.like)
    group, points = work.groups[bundle.group], ops.concat(bundle.points)
    gradient = bundle.direction(points, group["weight_decay"], group["maximize"])
    return ops.norms_sq(ops.split(gradient, bundle.sizes))


def _minimised(work: Work, loss: Tensor | float | None) -> Real | None:
    """The loss that is minimised, as the controller computes with it."""
    if loss is None:
        return None
    if work.memory.device is None:
        value: Any = float(loss)
    elif isinstance(loss, Tensor):
        value = loss.to(work.memory.like)
    else:
        value = work.memory.like.new_full((), loss)
    return -value if work.groups[0]["maximize"] else value


def _products(work: Work, state: State) -> Products:
    """Around a base; a probe that returns its last iterate is measured by its dual sequence x_0 − η Σ d."""
    inner, ahead = [], []
    for bundle in work.bundles:
        points = ops.concat(bundle.points)
        gradient = ops.concat(bundle.gradients or [torch.zeros_like(points)]).to(points.dtype)
        direction = bundle.direction(points, 0.0, maximize=False)
        if work.config.certified and not work.config.returns_average:
            rate = step.probe_step_size(state) * work.scopes.rho[bundle.group]
            back = bundle.concat("grad_sum") * torch.as_tensor(rate).to(points)
        else:
            back = bundle.concat("anchor") - points
        inner.append(ops.inner(gradient, direction, bundle.sizes))
        ahead.append(ops.inner(gradient, back, bundle.sizes))
    return Products(inner, ahead)


# ---------------------------------------------------------------- the move


def _move_in_probe(work: Work, state: State, decision: Decision) -> tuple[list[Real], list[Sums]]:
    """Move all bundles; the step size of each by which its displacement is told, and what it measured."""
    step_size, full_step = whole(decision.step_sizes), step.probe_step_size(state)
    by_last = work.config.certified and not work.config.returns_average
    rates, sums = [], []
    for bundle in work.bundles:
        group, rho = work.groups[bundle.group], work.scopes.rho[bundle.group]
        sums.append(moves.in_probe(bundle, group, work.config, decision, step_size * rho, full_step * rho))
        rates.append((full_step if by_last else step_size) * rho)
    return rates, sums


def _move_in_main_run(work: Work, decision: Decision) -> tuple[list[Tensor], list[Sums]]:
    """Move all bundles; the step sizes of each one's tensors, and what it measured."""
    steps = torch.as_tensor(decision.step_sizes, dtype=work.memory.like.dtype).reshape(-1)
    orders: dict[Any, tuple[Decision, Flag]] = {}
    rates, sums = [], []
    for bundle, step_size in zip(work.bundles, work.scopes.step_sizes(steps, work.bundles), strict=True):
        group, point = work.groups[bundle.group], bundle.points[0]
        flat = flattened(bundle) if group["fused"] else None
        key = point.device, point.dtype, flat is None
        if key not in orders:
            orders[key] = moves.order(decision, point, traced=flat is not None)
        rule = moves.GroupRule.of(work.config, group, bundle.params[0].dtype, work.size)
        move = moves.in_main_run if flat is None else moves.compiled()
        sums.append(move(flat or bundle, rule, *orders[key], step_size.to(point)))
        rates.append(step_size * group["lr"])
    return rates, sums


def _add_up(work: Work, sums: Sequence[Sums]) -> Moved:
    """What all bundles measured together."""
    distance_sq = work.sums([each.distance_sq for each in sums], -1)
    if sums[0].grad_sq is None:
        return Moved(distance_sq)

    def total(parts: list[Any]) -> Any:
        return work.memory.tell(torch.stack([part.to(work.memory.like) for part in parts]).sum())

    return Moved(
        distance_sq,
        grad_sq=work.sums([each.grad_sq for each in sums], 1),
        displacement_sq=total([each.displacement_sq for each in sums]),
        displacement_product=total([each.displacement_product for each in sums]),
    )
