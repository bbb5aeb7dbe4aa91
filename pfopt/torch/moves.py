"""How one bundle moves: ``pfopt.core.update`` on its tensors as one vector, eagerly or compiled."""
# pyright: reportPrivateImportUsage=false

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from pfopt.core import update
from pfopt.core.arrays import Flag, Real, Vector, isfinite, where
from pfopt.core.config import Config
from pfopt.core.main_run import Decision
from pfopt.core.step_size import CoordinateRule
from pfopt.core.update import Arithmetic, Block, Rule, Sums
from pfopt.torch import ops
from pfopt.torch.bundles import Bundle, Piece, flattened
from pfopt.torch.written import followed


class GroupRule(NamedTuple):
    """What holds for every move of a parameter group in the main run."""

    rule: Rule
    maximize: bool
    averages: bool  # whether the average of the iterates is kept
    interpolates: bool  # whether the parameters are between iterate and average; only where that is kept

    @classmethod
    def of(cls, config: Config, group: dict[str, Any], dtype: torch.dtype, size: int) -> "GroupRule":
        """The rule for parameters of a dtype, ``size`` coordinates in all where each has a step of its own."""
        guards = dtype == torch.float16 or group["lr"] > 1  # otherwise no move is that long
        rule = Rule(
            size=size,
            rate=group["lr"],
            momentum=group.get("momentum", 0.0),  # a base has its own
            nesterov=group.get("nesterov", False),
            weight_decay=group["weight_decay"] or None,
            largest=torch.finfo(dtype).max if guards else None,
        )
        return cls(rule, group["maximize"], config.returns_average, config.interpolates)


class Order(NamedTuple):
    """A decision of the main run, as the pieces of one device and dtype need it."""

    decision: Decision
    changed: Flag  # whether the points are to be written
    measured: bool  # whether displacements are to be summed here


class Result(NamedTuple):
    """What a bundle measured while it moved, of each of its tensors; None for what it did not."""

    grad_sq: Vector | None  # ‖g‖² in the metric of the move
    sums: Sums | None


# ---------------------------------------------------------------- in a probe


def in_probe(
    bundle: Bundle,
    group: dict[str, Any],
    config: Config,
    decision: Decision,
    step_size: Real,
    full_step: Real,
) -> Vector:
    """Move a bundle in a probe.

    Args:
        bundle: written in place.
        group: its parameter group.
        config: what the caller chose.
        decision: about the gradient, where the controller computes.
        step_size: of this move of the group, likewise.
        full_step: the same before any decay.

    Returns:
        ‖x − x_0‖² of each tensor.
    """
    like = bundle.params[0]
    decision = decision._replace(taken=_beside(decision.taken, like), restart=_beside(decision.restart, like))
    step_size, full_step = _beside(step_size, like), _beside(full_step, like)
    weight, on_host = _beside(decision.average_weight, like), not isinstance(decision.taken, Tensor)
    distances = []
    for piece in bundle.pieces(bundle.directions):
        points, arithmetic = piece.points, ops.arithmetic(piece.sizes, on_host=on_host)
        if config.certified and config.returns_average:
            piece.state["average"].lerp_(points, weight)
        direction = direction_of(piece, group["maximize"])
        block = Block(points, piece.state["anchor"], direction)
        block, sums = update.move_probe_block(block, decision, step_size, arithmetic)
        iterate, distance_sq = block.iterate, sums.distance_sq
        if config.certified and not config.returns_average:
            # measured by the dual sequence x_0 − η Σ g of constant η
            grad_sum = piece.state["grad_sum"]
            grad_sum.copy_(where(decision.taken, grad_sum + direction, grad_sum))
            path = grad_sum * full_step
            distance_sq = arithmetic.dot(path, path)
            finite = isfinite(distance_sq if isinstance(distance_sq, float) else distance_sq.sum())
            iterate = where(finite, iterate, points)
        distances.append(distance_sq)
        if iterate is not points:
            points.copy_(iterate)
    return joined(distances)


# ---------------------------------------------------------------- in the main run


def in_main_run(bundle: Bundle, group: GroupRule, order: Order, step_size: Any) -> Result:
    """Move a bundle in the main run.

    Args:
        bundle: written in place; its points are y = z + beta (x̄ − z), and what moves is z.
        group: what holds for its parameter group.
        order: what was decided, beside the bundle.
        step_size: a number, or of shape=() or (tensors,).
    """
    on_host, results = not isinstance(order.changed, Tensor), []
    for place, piece in enumerate(bundle.pieces(bundle.directions)):
        arithmetic = ops.arithmetic(piece.sizes, on_host=on_host)
        with followed(bundle, place, piece, interpolates=group.interpolates, on_host=on_host):
            results.append(move_piece(piece, group, order, step_size, arithmetic))
    grad_sqs, sums = zip(*results, strict=True)
    grad_sq = None if grad_sqs[0] is None else joined(grad_sqs)
    return Result(grad_sq, None if sums[0] is None else _sums(sums))


def move_piece(
    piece: Piece, group: GroupRule, order: Order, step_size: Any, arithmetic: Arithmetic
) -> Result:
    """Move a piece, from tensors and numbers alone, so that it can be compiled.

    Eagerly it is a pass over a cache for every operation, compiled it is one or two over memory. Where it is compiled
    what changes from step to step is a tensor, and sizes are symbols: one compilation serves all large tensors of a
    model, and every step.

    Args:
        piece: written in place.
        group: as of ``in_main_run``.
        order: likewise.
        step_size: likewise.
        arithmetic: for the sizes of the piece.
    """
    points, state, rule, decision = piece.points, piece.state, group.rule, order.decision
    average = state["average"] if group.averages else None
    has_velocity = bool(rule.momentum) and piece.direction is not None
    block = Block(
        iterate=_iterate(piece, group, decision.beta),
        anchor=state["anchor"],
        gradient=direction_of(piece, group.maximize, taken=decision.taken),
        average=average,
        mean_square=state["mean_square"] if rule.size else None,
        velocity=state["momentum_buffer"] if has_velocity else None,
    )
    if decision.coordinate_rule is not None and piece.direction is None:  # it keeps its mean square
        decision = decision._replace(coordinate_rule=decision.coordinate_rule._replace(square_weight=0.0))
    if piece.direction is None:  # it moves between iterate and average alone
        rule = rule._replace(weight_decay=None)
    block, grad_sq = update.move_block(block, rule, decision, step_size, arithmetic)
    sums = update.measure_block(block, rule, decision, step_size, arithmetic) if order.measured else None
    kept = {"average": block.average, "mean_square": block.mean_square, "momentum_buffer": block.velocity}
    for name, vector in kept.items():
        if vector is not None and vector is not state[name]:
            state[name].copy_(vector)
    if block.average is not None and group.interpolates and not isinstance(order.changed, Tensor):
        torch.lerp(block.iterate, block.average, decision.next_beta, out=points)
    else:
        new = block.iterate
        if block.average is not None and group.interpolates:
            new = torch.lerp(new, block.average, decision.next_beta)
        points.copy_(where(order.changed, new, points))
    return Result(grad_sq, sums)


def measure(bundle: Bundle, group: GroupRule, order: Order, step_size: Any) -> Sums:
    """The displacements of a bundle that a compiled move has moved; arguments as of ``in_main_run``, on the host."""
    found, decision = [], order.decision
    for piece in bundle.pieces([], written=False):
        iterate = _iterate(piece, group, decision.next_beta)
        mean_square = piece.state["mean_square"] if group.rule.size else None
        block = Block(iterate, piece.state["anchor"], iterate, mean_square=mean_square)
        arithmetic = ops.arithmetic(piece.sizes, on_host=not isinstance(order.changed, Tensor))
        found.append(update.measure_block(block, group.rule, decision, step_size, arithmetic))
    return _sums(found)


def _iterate(piece: Piece, group: GroupRule, beta: Real) -> Tensor:
    """The iterate z of a piece that is at y = z + beta (x̄ − z)."""
    if not group.interpolates:
        return piece.points
    return torch.lerp(piece.points, piece.state["average"], beta / (beta - 1))


def compiled_move(bundle: Bundle, group: GroupRule, order: Order, step_size: Any) -> Result:
    """``move_piece`` for a bundle that is large, compiled at its first call."""
    piece = flattened(bundle)
    step_size = torch.as_tensor(step_size, dtype=piece.points.dtype, device=piece.points.device)
    on_host = not isinstance(order.decision.taken, Tensor)
    with followed(bundle, 0, piece, interpolates=group.interpolates, on_host=on_host):
        found = _compiled()(piece._replace(sizes=()), group, order, step_size, ops.ALONE)
    bundle.place(bundle.state["iterate"] if bundle.is_half else bundle.params[0])
    return found


@cache
def _compiled() -> Callable[..., Result]:
    return torch.compile(move_piece)


def order(decision: Decision, device: torch.device, dtype: torch.dtype) -> Order:
    """A decision of the main run beside a piece.

    Numbers of the host stay Python's, which torch rounds to the dtype of the tensor that they meet, but for one that is
    divided by a tensor: torch would multiply by a reciprocal.

    Args:
        decision: where the controller computes.
        device: of the piece.
        dtype: of what is computed.
    """
    if isinstance(decision.taken, Tensor):
        return traced(decision, device, dtype)._replace(measured=True)
    here = Decision(*map(_plain, decision._replace(step_sizes=None, coordinate_rule=None)))
    if decision.coordinate_rule is not None:
        rule = CoordinateRule(*map(float, decision.coordinate_rule))
        here = here._replace(coordinate_rule=rule._replace(scale_sq=torch.tensor(rule.scale_sq, dtype=dtype)))
    return Order(here, _changes(here), here.measured)


def traced(decision: Decision, device: torch.device, dtype: torch.dtype) -> Order:
    """The same in tensors alone: to a compiled function a value of the host would be a constant."""
    assert decision.coordinate_rule is not None

    def flag(value: Flag) -> Tensor:
        return torch.as_tensor(value, dtype=torch.bool).to(device)

    shares = [decision.average_weight, decision.beta, decision.next_beta, decision.share_of_run]
    numbers = [*shares, *decision.coordinate_rule]
    on_host = not isinstance(decision.taken, Tensor)
    tensors = torch.tensor(numbers, dtype=dtype) if on_host else torch.stack(numbers).to(device, dtype)
    average_weight, beta, next_beta, share_of_run, *rule = tensors.unbind()
    here = decision._replace(
        taken=flag(decision.taken),
        restart=flag(decision.restart),
        moving=flag(decision.moving).to(dtype),  # a flag times a number is in float32
        step_sizes=None,
        measured=None,
        average_weight=average_weight,
        beta=beta,
        next_beta=next_beta,
        coordinate_rule=CoordinateRule(*rule),
        share_of_run=share_of_run,
    )
    return Order(here, flag(_changes(decision)), measured=False)


def direction_of(piece: Piece, maximize: bool, taken: Flag = True) -> Tensor:
    """What moves a piece: a gradient as ``torch.optim.SGD`` has it, or a base's direction; zero where there is none."""
    points, direction = piece.points, piece.direction
    if direction is None or taken is False:
        return torch.zeros_like(points)
    direction = direction.to(points.dtype)
    return -direction if maximize else direction


def _beside(value: Flag | Real, like: Tensor) -> Any:
    """A flag or number on the device of a tensor; what is on the host is Python's."""
    if isinstance(value, Tensor):
        dtype = ops.computed(like.dtype) if value.is_floating_point() else value.dtype
        return value.to(like.device, dtype)
    return _plain(value)


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, (np.generic, np.ndarray)) else value


def stays(decision: Decision) -> bool:
    """Whether it is known on the host that nothing moves."""
    return not isinstance(decision.taken, Tensor) and not _changes(decision)


def _changes(decision: Decision) -> Flag:
    return decision.taken | decision.restart | (decision.beta != decision.next_beta)


def joined(numbers: Sequence[Any]) -> Any:
    """Numbers of each tensor; of pieces of one tensor, their sum."""
    first, *others = numbers
    if others and isinstance(first, Tensor):
        return torch.stack([first, *others]).sum()
    return sum(others, first)


def _sums(found: Sequence[Sums]) -> Sums:
    columns = zip(*found, strict=True)
    return Sums(*(None if column[0] is None else joined(column) for column in columns))
