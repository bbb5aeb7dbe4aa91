"""One gradient: measure it, let ``pfopt.core`` decide, move the parameters, record the move, and keep what came back.

On the host nothing here has to be waited for. On an accelerator only the first gradient is: it fixes their unit.
"""
# pyright: reportPrivateImportUsage=false

from collections.abc import Sequence
from functools import partial
from math import inf
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from pfopt.core import scale, step
from pfopt.core.arrays import Flag, Real, Vector, negated, whole
from pfopt.core.config import Config
from pfopt.core.main_run import Decision
from pfopt.core.records import Phase, State
from pfopt.core.step import Measured, Moved
from pfopt.core.update import Sums
from pfopt.torch import compilers, moves, ops, shards
from pfopt.torch.bundles import Bundle
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
    tables: dict[Any, Any]  # of Triton's kernels, kept from step to step
    poison: Any = None  # 0, or NaN where a ``GradScaler`` found infinity; None without one

    def over_shards(self, *columns: Sequence[Any]) -> list[list[Any]]:
        """Columns of what each bundle has summed here, over all shards: one reduction for all of them."""
        count, splits = len(self.bundles), [bundle.split for bundle in self.bundles] * len(columns)
        flat = shards.summed(splits, [value for column in columns for value in column])
        return [flat[start : start + count] for start in range(0, len(flat), count)]

    def sums(self, squares: Sequence[Any], power: int) -> Any:
        """Sums over all bundles, shape=(1 + scopes,), see ``Scopes.sums``; as the controller computes with them."""
        return self.scopes.sums(self.bundles, squares, power, self.memory.like)

    def total(self, numbers: Sequence[Any]) -> Any:
        """The plain sum over all bundles, likewise."""
        like = self.memory.like
        if like is None:
            return sum(np.sum(number) for number in ops.numbers(numbers))
        return torch.stack([number.sum().to(like) for number in numbers]).sum()

    def step_sizes(self, steps: Vector) -> list[Any]:
        """The step sizes that move each bundle, see ``Scopes.step_sizes``."""
        return self.scopes.step_sizes(steps, self.bundles)

    def rule(self, bundle: Bundle) -> moves.GroupRule:
        """What holds for the moves of a bundle in the main run."""
        group = self.groups[bundle.group]
        return moves.GroupRule.of(self.config, group, bundle.params[0].dtype, self.size)

    def find_unit(self) -> None:
        """Bring the gradients to the unit of the run, which the first one fixes; a device is waited for only there."""
        memory, moving = self.memory, [bundle for bundle in self.bundles if bundle.gradients]
        if not memory.unit and any(self.config.betas):
            memory.unit = 1.0  # the caller's bound is in the gradients' own
        unit = memory.unit
        if not unit and moving:
            unit = self._replace(bundles=moving).fix_unit([largest_entry(each.gradients) for each in moving])
        for bundle in moving:
            scale_gradients(bundle, unit)

    def fix_unit(self, entries: Sequence[Tensor]) -> float:
        """Fix the unit of the run by the largest entry of each bundle's gradients.

        Returns:
            It; infinity where these gradients are left out, and 0 where all of them are zero.
        """
        memory, (found,) = self.memory, self.over_shards(entries)
        largest = float(sum(np.sum(each) for each in ops.numbers(found)))
        wide = all(ops.computed(bundle.params[0].dtype) == torch.float64 for bundle in self.bundles)
        dtype = np.float64 if wide else np.float32
        first = memory.due == memory.controller.state.run_length and not memory.history
        may_wait = first and not self.config.certified  # whose probe a gradient that is left out would end
        waits = may_wait and scale.overflows(largest, dtype)
        if 0 < largest < inf and not waits:
            memory.set_unit(2.0 ** scale.exponent(largest, dtype))
        return inf if waits else memory.unit

    def poisoned(self, number: Any) -> Any:
        """A number that is measured of a gradient, with what a ``GradScaler`` has found."""
        if self.poison is None:
            return number
        return number + (self.poison.to(number.device) if isinstance(number, Tensor) else float(self.poison))

    def is_still(self, bundle: Bundle) -> bool:
        """Whether the main run leaves a bundle where it is: it has no gradient, or its group a rate of 0."""
        return not bundle.directions or not self.groups[bundle.group]["lr"]

    @property
    def still(self) -> list[int]:
        """Places of the parameters that this gradient does not move, though they may lie beside their average."""
        if self.memory.phase != Phase.MAIN:
            return []
        return [place for bundle in self.bundles if self.is_still(bundle) for place in bundle.places]

    @property
    def on_host(self) -> bool:
        """Whether the controller computes with numbers of the host."""
        return self.memory.device is None


@np.errstate(all="ignore")
def take_gradient(work: Work, loss: Tensor | float | None) -> None:
    """Take one gradient; the end of the run is for ``transition`` to see."""
    memory, old = work.memory, work.memory.controller
    if old.state.has_initial_step is not True:
        set_anchor(work, negated(old.state.has_initial_step))
    measured = _measure(work, old.state, loss)
    state, run, decision = step.decide(work.config, old.state, old.run, measured)
    move = move_in_probe if state.phase == Phase.SEARCH else move_in_main_run
    moved = move(work, state, decision)
    ops.copy_where(decision.restart, memory.buffers, work.buffers)
    run, _ = step.record(run, decision, measured, moved)
    memory.keep(Controller(state, run, None, whole(decision.step_sizes)))
    memory.due -= 1


def set_anchor(work: Work, waiting: Flag) -> None:
    """Until the first gradient with signal the anchor is where the parameters are, whoever moves them."""
    if waiting is not False:
        for bundle in work.bundles:
            ops.copy_where(waiting, [bundle.points()], [bundle.state["anchor"]])
        ops.copy_where(waiting, work.buffers, work.memory.buffers)


# ---------------------------------------------------------------- before the move


def scale_gradients(bundle: Bundle, unit: float) -> None:
    """Bring the gradients of a bundle to the unit of the run; 0 while there is none."""
    if unit not in (0.0, 1.0):
        bundle.gradients = bundle.directions = list(torch._foreach_mul(bundle.gradients, unit))


def largest_entry(gradients: list[Tensor]) -> Tensor:
    """The largest |g_i| of tensors together, shape=(); 0 where there is no entry, as in an empty shard."""
    some = [gradient for gradient in gradients if gradient.numel()]
    return torch.stack(torch._foreach_norm(some, inf)).amax() if some else gradients[0].new_zeros(())


def _measure(work: Work, state: State, loss: Tensor | float | None) -> Measured:
    def launched_norms_sq(launch: Any, table: Any, bundle: Bundle) -> Tensor:
        del bundle
        return launch.norms_sq(table)

    launched = compilers.launched(work.groups, work.bundles, work.scopes, work.tables, launched_norms_sq)

    squares = [
        launched[place][0] if place in launched else bundle.norms_sq(on_host=work.on_host)
        for place, bundle in enumerate(work.bundles)
    ]
    return measured_from(work, state, loss, list(map(work.poisoned, squares)))


def measured_from(work: Work, state: State, loss: Tensor | float | None, norms_sq: Sequence[Any]) -> Measured:
    """What a gradient measures, from ‖g‖² of the tensors of each bundle."""
    (found,) = work.over_shards(norms_sq)
    grad_sq = work.sums(found, 1)
    signal = whole(grad_sq) != 0
    signal = signal if isinstance(signal, Tensor) else bool(signal)
    return Measured(grad_sq, minimised(work, loss), signal, anchor_sq(work, state))


def anchor_sq(work: Work, state: State) -> Any:
    """‖x_0‖², until the initial step size is fixed."""
    if state.has_initial_step is True:
        return 0.0
    points = [(bundle.points(), bundle.sizes) for bundle in work.bundles]
    (squares,) = work.over_shards([ops.inner(x, x, sizes, on_host=work.on_host) for x, sizes in points])
    return whole(work.sums(squares, 1))


def minimised(work: Work, loss: Tensor | float | None) -> Real | None:
    """The loss that is minimised, as the controller computes with it.

    Where every process has the loss of its own batch one that is not finite counts for nothing: no process decides
    by what it alone knows, and the gradient that they share shows what concerns all.
    """
    if loss is None:
        return None
    if work.memory.like is None:
        value: Any = float(loss)
    elif isinstance(loss, Tensor):
        value = loss.to(work.memory.like)
    else:
        value = work.memory.like.new_full((), loss)
    value = -value if work.groups[0]["maximize"] else value
    splits = [bundle.split for bundle in work.bundles if bundle.split is not None]
    if not splits:
        if not shards.are_several():
            return value
        if isinstance(value, Tensor):
            return torch.where(value.isfinite(), value, work.memory.controller.run.last_loss)
        return value if np.isfinite(value) else None
    (everywhere,) = shards.summed(
        splits[:1], [value]
    )  # finite where every process's own loss is: all decide the same
    return value + 0 * (float(everywhere) if work.memory.like is None else everywhere.reshape(()).to(value))


# ---------------------------------------------------------------- the move


def move_in_probe(work: Work, state: State, decision: Decision) -> Moved:
    """Move all bundles in a probe."""
    (distances,) = work.over_shards(
        [move_bundle_in_probe(work, state, decision, each) for each in work.bundles]
    )
    return Moved(work.sums(distances, -1))


def move_bundle_in_probe(work: Work, state: State, decision: Decision, bundle: Bundle) -> Vector:
    """Move one of them, to ‖x − x_0‖² of each of its tensors."""
    step_size, full_step = whole(decision.step_sizes), step.probe_step_size(state)
    group, rho = work.groups[bundle.group], work.scopes.rho[bundle.group]
    return moves.in_probe(bundle, group, work.config, decision, step_size * rho, full_step * rho)


def move_in_main_run(work: Work, _: State, decision: Decision) -> Moved:
    """Move the bundles of the main run that have something to move them."""
    work = work._replace(bundles=[bundle for bundle in work.bundles if not work.is_still(bundle)])
    if moves.stays(decision) or not work.bundles:
        return Moved(None)

    def move(launch: Any, table: Any, bundle: Bundle) -> Tensor:
        return launch.move(table, work.rule(bundle), decision)

    launched = compilers.launched(work.groups, work.bundles, work.scopes, work.tables, move)
    rest = [bundle for place, bundle in enumerate(work.bundles) if place not in launched]
    others = iter(move_one_by_one(work._replace(bundles=rest), decision))
    places = range(len(work.bundles))
    results = [_result(launched[each], decision) if each in launched else next(others) for each in places]
    grad_sqs, sums = zip(*results, strict=True)
    return add_up(work, grad_sqs, sums)


def _result(sums: Tensor, decision: Decision) -> moves.Result:
    """What ``launch.move`` has summed."""
    metric_sq = sums[3] if len(sums) > 1 else None
    measured = isinstance(decision.measured, Tensor) or decision.measured
    return moves.Result(metric_sq, Sums(*sums[:3]) if measured else None)


def move_one_by_one(work: Work, decision: Decision) -> list[moves.Result]:
    """Move the bundles, eagerly or by ``torch.compile``."""
    orders: dict[Any, moves.Order] = {}
    results: list[moves.Result] = []
    for bundle, step_size in zip(work.bundles, work.step_sizes(decision.step_sizes), strict=True):
        compiles, (device, dtype) = compilers.way(work.groups, bundle) == "torch.compile", bundle.kind
        for make in [moves.order, moves.traced] if compiles else [moves.order]:
            if (make, device, dtype) not in orders:
                orders[make, device, dtype] = make(decision, device, dtype)
        order, rule = orders[moves.order, device, dtype], work.rule(bundle)
        if isinstance(step_size, Tensor):
            step_size = step_size.to(device, dtype).clamp(min=torch.finfo(dtype).tiny)
        else:
            step_size = max(step_size, torch.finfo(dtype).tiny)
        found = None
        if compiles:
            move = partial(moves.compiled_move, bundle, rule, orders[moves.traced, device, dtype], step_size)
            found = compilers.attempt(work.groups, device, move)
            if found is not None and order.measured:
                found = found._replace(sums=moves.measure(bundle, rule, order, step_size))
        results.append(found or moves.in_main_run(bundle, rule, order, step_size))
    return results


def add_up(work: Work, grad_sqs: Sequence[Any], sums: Sequence[Any]) -> Moved:
    """What all bundles measured together; in ``sums`` the distance and, where coordinates have steps, two more."""
    columns = [grad_sqs, *zip(*[each or () for each in sums], strict=True)]
    measured = [column for column in columns if column[0] is not None]
    found = iter(work.over_shards(*measured) if measured else [])
    grad_sq = None if grad_sqs[0] is None else work.sums(next(found), 1)
    if sums[0] is None:
        return Moved(None, grad_sq)
    distance_sq = work.sums(next(found), -1)
    return Moved(distance_sq, grad_sq, *map(work.total, found))
