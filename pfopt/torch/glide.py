"""One move of the long run, of tensors and numbers alone, so that it can be compiled.

Eagerly it is a pass over memory for every operation, compiled it is one or two. What changes from step to step is a
tensor, and sizes are symbols: one compilation serves all large tensors of a model, and every step.
"""

from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pfopt.search import tracking
from pfopt.search.tracking import Move, Single
from pfopt.torch import kernels
from pfopt.torch.kernels import Bundle


class Rule(NamedTuple):
    """What holds for every move of a parameter group."""

    lr: float
    momentum: float
    nesterov: bool
    weight_decay: float
    maximize: bool
    averages: bool  # whether the average of the iterates is kept
    primal: bool  # whether gradients are taken between iterate and average
    coordinates: int  # how many there are, where each has a step size of its own


class Moment(NamedTuple):
    """What holds for all parameters at one gradient; on their device, in their dtype."""

    move: Move
    single: Single
    stands: Tensor  # shape=(), bool; momentum begins anew
    before: Tensor  # shape=(), share of the average in the points, before the move
    after: Tensor  # shape=(), after it


class Measured(NamedTuple):
    """Of a bundle's tensors; the last three where coordinates move on their own."""

    reach_sq: Tensor  # shape=(tensors,), ‖x − x_0‖² after the move, in the metric in which each tensor moved
    grad_sq: Tensor  # shape=(tensors,), ‖g‖², likewise
    away_sq: Tensor  # shape=(), ‖x − x_0‖² of them all, itself
    away_product: Tensor  # shape=(), weighted by the mean squares of gradients


def glide(bundle: Bundle, rule: Rule, steps: Tensor, moment: Moment, scalar: Tensor) -> Measured:
    """Move a bundle by the steps of its tensors, or of its coordinates where these are larger.

    The points are y = z + share (x̄ − z), and what moves is z.

    Args:
        bundle: written in place.
        rule: of its group.
        steps: shape=() or (tensors,).
        moment: the gradient's.
        scalar: shape=(), in the dtype of what is measured.
    """
    like, (move, single, stands, before, after) = bundle.points, moment
    points, anchor = kernels.joined(like), bundle.whole("anchor")
    average = bundle.whole("average") if rule.averages else points
    iterates = kernels.lerp(points, average, before / (before - 1)) if rule.primal else points
    gradient = kernels.direction(bundle, points, rule.weight_decay, rule.maximize)
    steps = steps.to(points)
    direction = _with_momentum(bundle, rule, gradient, move.go, stands)

    if rule.coordinates:
        steps = steps.clamp(min=torch.finfo(points.dtype).tiny)
        squares = gradient.square()
        recent_sq = bundle.whole("recent_sq")
        if bundle.grads:
            mean = kernels.lerp(recent_sq, squares, single.share)
            recent_sq = torch.where(single.share > 0, mean, recent_sq)
            kernels.store(recent_sq, bundle.slot("recent_sq"))
        own = tracking.coordinate_steps(single, iterates - anchor, recent_sq, rule.coordinates, torch)
        taken = kernels.bounded(own, steps, tracking.COORDINATE_RANGE, like)
        new = kernels.stepped(iterates, direction * taken, rule.lr)
        metric_sq = kernels.sums(squares.mul_(taken), like, scalar) / steps.to(scalar)
        gap_sq = (new - anchor).square_()
        away_sq, away_product = kernels.total(gap_sq, scalar), kernels.total(recent_sq * gap_sq, scalar)
        reach = gap_sq.div_(taken)
        reach_sq = kernels.sums(reach, like, scalar) * steps.to(scalar)
    else:
        new = kernels.stepped(iterates, kernels.scaled(direction, steps, like), rule.lr)
        reach = (new - anchor).square_()
        reach_sq = kernels.sums(reach, like, scalar)
        metric_sq = away_sq = away_product = scalar  # not wanted

    keep = (reach < torch.inf).logical_and_(move.go)  # entry by entry: their sum would be a pass of its own
    iterates = torch.where(move.explode, anchor, torch.where(keep, new, iterates))
    if rule.averages:
        average = kernels.lerp(average, iterates, move.weight)
        kernels.store(average, bundle.slot("average"))
    new = kernels.lerp(iterates, average, after) if rule.primal else iterates
    kernels.store(torch.where(move.go | move.explode | (before != after), new, points), like)
    kernels.write_back(bundle)
    return Measured(reach_sq, metric_sq, away_sq, away_product)


@cache
def compiled() -> Any:
    """``glide`` for a bundle that ``kernels.alone`` has made."""
    return torch.compile(glide)


def _with_momentum(bundle: Bundle, rule: Rule, gradient: Tensor, go: Tensor, stands: Tensor) -> Tensor:
    """The direction v = m v + (1 − m) g, or (1 − m) g + m v for Nesterov; zero where there is no gradient."""
    momentum = rule.momentum
    if not (momentum and bundle.grads):
        return gradient
    velocity = bundle.whole("momentum_buffer")
    decay = momentum * stands.logical_not().to(velocity)
    velocity = torch.where(go, (decay * velocity).add(gradient, alpha=1 - momentum), velocity)
    kernels.store(velocity, bundle.slot("momentum_buffer"))
    return (momentum * velocity).add(gradient, alpha=1 - momentum) if rule.nesterov else velocity
