"""How one bundle moves: ``pfopt.core.update`` on its tensors as one vector, eagerly or compiled."""
# pyright: reportPrivateImportUsage=false

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from pfopt.core import update
from pfopt.core.arrays import Flag, Real, where
from pfopt.core.config import Config
from pfopt.core.main_run import Decision
from pfopt.core.step_size import CoordinateRule
from pfopt.core.update import Block, Rule, Sums
from pfopt.torch import ops
from pfopt.torch.bundles import Bundle


class GroupRule(NamedTuple):
    """What holds for every move of a parameter group in the main run."""

    rule: Rule
    weight_decay: float
    maximize: bool
    averages: bool  # whether the average of the iterates is kept
    interpolates: bool  # whether the parameters are between iterate and average

    @classmethod
    def of(cls, config: Config, group: dict[str, Any], dtype: torch.dtype, size: int) -> "GroupRule":
        """The rule for parameters of a dtype, ``size`` coordinates in all where each has a step of its own."""
        rule = Rule(
            config.constants,
            size=size,
            rate=group["lr"],
            momentum=group["momentum"],
            nesterov=group["nesterov"],
            largest=torch.finfo(dtype).max if dtype in ops.HALF else None,
        )
        return cls(
            rule, group["weight_decay"], group["maximize"], config.returns_average, config.interpolates
        )


# ---------------------------------------------------------------- in a probe


def in_probe(
    bundle: Bundle,
    group: dict[str, Any],
    config: Config,
    decision: Decision,
    step_size: Real,
    full_step: Real,
) -> Sums:
    """Move a bundle in a probe.

    Args:
        bundle: written in place.
        group: its parameter group.
        config: what the caller chose.
        decision: about the gradient, where the controller computes.
        step_size: of this move of the group, likewise.
        full_step: the same before any decay.
    """
    points, taken = ops.concat(bundle.points), _beside(decision.taken, bundle.points[0])
    if config.certified and config.returns_average:
        weight = _beside(decision.average_weight, points)
        ops.store(torch.lerp(bundle.concat("average"), points, weight), bundle.slot("average"))
    block = Block(
        iterate=points,
        anchor=bundle.concat("anchor"),
        gradient=bundle.direction(points, group["weight_decay"], group["maximize"]),
    )
    block, sums = update.move_probe_block(
        block, decision._replace(taken=taken), _beside(step_size, points), ops.arithmetic(bundle.sizes)
    )
    iterate = block.iterate
    if (
        config.certified and not config.returns_average
    ):  # measured by the dual sequence x_0 − η Σ g of constant η
        grad_sum = bundle.concat("grad_sum")
        grad_sum = where(taken, grad_sum + block.gradient, grad_sum)
        ops.store(grad_sum, bundle.slot("grad_sum"))
        sums = Sums(ops.norms_sq(ops.split(grad_sum * _beside(full_step, points), bundle.sizes)))
        finite = torch.isfinite(sums.distance_sq.sum()).to(points.device)
        iterate = torch.where(finite, iterate, points)
    ops.store(iterate, bundle.points)
    bundle.round_points()
    return sums


# ---------------------------------------------------------------- in the main run


def in_main_run(
    bundle: Bundle, group: GroupRule, decision: Decision, changed: Flag, step_size: Tensor
) -> Sums:
    """Move a bundle in the main run, from tensors and numbers alone, so that it can be compiled.

    Eagerly it is a pass over memory for every operation, compiled it is one or two. What changes from step to step is a
    tensor, and sizes are symbols: one compilation serves all large tensors of a model, and every step.

    Args:
        bundle: written in place; its points are y = z + beta (x̄ − z), and what moves is z.
        group: what holds for its parameter group.
        decision: about the gradient, beside the bundle.
        changed: whether the points are to be written.
        step_size: shape=() or (tensors,).
    """
    points, rule = ops.concat(bundle.points), group.rule
    average = bundle.concat("average") if group.averages else None
    iterate, has_velocity = points, bool(rule.momentum and bundle.directions)
    if average is not None and group.interpolates:
        iterate = torch.lerp(points, average, decision.beta / (decision.beta - 1))
    if (
        decision.coordinate_rule is not None and not bundle.directions
    ):  # what has no gradient keeps its mean square
        decision = decision._replace(coordinate_rule=decision.coordinate_rule._replace(square_weight=0.0))
    block = Block(
        iterate=iterate,
        anchor=bundle.concat("anchor"),
        gradient=bundle.direction(points, group.weight_decay, group.maximize),
        average=average,
        mean_square=bundle.concat("mean_square") if rule.size else None,
        velocity=bundle.concat("momentum_buffer") if has_velocity else None,
    )
    block, sums = update.move_block(block, rule, decision, step_size, ops.arithmetic(bundle.sizes))
    new = block.iterate
    if block.average is not None and group.interpolates:
        new = torch.lerp(new, block.average, decision.next_beta)
    ops.store(where(changed, new, points), bundle.points)
    bundle.round_points()
    kept = {"average": block.average, "mean_square": block.mean_square, "momentum_buffer": block.velocity}
    for name, vector in kept.items():
        if vector is not None:
            ops.store(vector, bundle.slot(name))
    return sums


@cache
def compiled() -> Callable[..., Sums]:
    """``in_main_run`` for what ``bundles.flattened`` has made."""
    return torch.compile(in_main_run)


def order(decision: Decision, point: Tensor, traced: bool) -> tuple[Decision, Flag]:
    """A decision of the main run beside a block, and whether it changes the points.

    Its numbers are tensors, whatever the controller computes with: torch divides a number of the host by a tensor in
    two roundings. Only the weights of averages may be numbers.

    Args:
        decision: where the controller computes.
        point: of the block.
        traced: whether a compiled function takes it, to which a value of the host would be a constant.
    """
    assert decision.coordinate_rule is not None
    changed = decision.taken | decision.restart | (decision.beta != decision.next_beta)
    weights = decision.average_weight, decision.coordinate_rule.square_weight
    numbers = [*weights, decision.beta, decision.next_beta, *decision.coordinate_rule[1:]]
    on_host = not isinstance(decision.taken, Tensor)
    tensors = torch.tensor(numbers, dtype=point.dtype) if on_host else torch.stack(numbers).to(point)
    average_weight, square_weight, beta, next_beta, *others = tensors.unbind()
    if on_host and not traced:
        average_weight, square_weight = weights
    moving = _beside(decision.moving, point, traced)
    here = decision._replace(
        taken=_beside(decision.taken, point, traced),
        restart=_beside(decision.restart, point, traced),
        moving=moving.to(point)
        if isinstance(moving, Tensor)
        else moving,  # a flag times a number is in float32
        average_weight=average_weight,
        beta=beta,
        next_beta=next_beta,
        coordinate_rule=CoordinateRule(square_weight, *others),
    )
    return here, _beside(changed, point, traced)


def _beside(value: Flag | Real, point: Tensor, traced: bool = False) -> Any:
    """A flag or number on the device and, numbers, in the dtype of a block; what is on the host stays there."""
    if isinstance(value, Tensor):
        return value.to(point) if value.is_floating_point() else value.to(point.device)
    value = value.item() if isinstance(value, np.generic) else value
    return torch.tensor(value) if traced else value
