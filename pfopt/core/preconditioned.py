"""Norms and distances in the unknown metric of a base optimizer, from ⟨g, d⟩ and ⟨g, x_0 − x⟩.

SGD moves by ``x_{t+1} = x_t − η g``, and its displacement obeys

    ‖x_{t+1} − x_0‖² = ‖x_t − x_0‖² + 2 η ⟨g, x_0 − x_t⟩ + η² ‖g‖².

A direction d = P g with a fixed positive P obeys the same in the norm of P⁻¹, with ⟨g, d⟩ for ‖g‖²: neither P nor
its inverse need be known. So ⟨g, d⟩ and this recursion are what the search measures of any base, as D-Adaptation and
Prodigy do; no theorem covers a P that changes, or a base that averages gradients. ‖d‖ and ‖x − x_0‖ would not do:
directions of one length (Adam's) lead away in a straight line at step sizes far too large, and the certificate would
take that for distance.
"""

import math
from typing import NamedTuple

from pfopt.core.arrays import (
    Flag,
    Namespace,
    Real,
    Vector,
    at_least,
    isfinite,
    positive,
    where,
    whole,
    zeros,
    zeros_like,
)


class Metric(NamedTuple):
    """What is remembered of the metric between gradients."""

    unit: Real  # ‖d‖²/⟨g, d⟩ at the first direction that is not zero, so that a metric has a scale; 0 before
    displacement_sq: Vector  # ‖x − x_0‖² in it


def begin(scopes: int, xp: Namespace, **kind: object) -> Metric:
    """Nothing measured; arguments as of ``run.begin``."""
    return Metric(xp.zeros((), **kind)[()], zeros(scopes, xp, **kind))


def measure(metric: Metric, inner: Vector, direction_sq: Vector, starts: Flag) -> tuple[Metric, Vector]:
    """The metric, and what stands for ‖g‖² in it: ⟨g, d⟩ in the unit in which the first one is ‖d‖².

    Args:
        metric: as the last move left it.
        inner: ⟨g, d⟩.
        direction_sq: ‖d‖².
        starts: whether this is the first gradient from the anchor.
    """
    first, product = whole(direction_sq), whole(inner)
    unit = first / positive(product)
    usable = (metric.unit == 0) & (product > 0) & (unit > 0) & isfinite(unit)
    metric = Metric(
        unit=where(usable, unit, metric.unit),
        displacement_sq=where(starts, zeros_like(inner), metric.displacement_sq),
    )
    return metric, at_least(metric.unit * inner, 0.0)


def gain(step_size: Real, ahead: Real, inner: Real) -> Real:
    """What a move by ``step_size`` adds to ‖x − x_0‖², from ⟨g, x_0 − x⟩ and ⟨g, d⟩, before the unit."""
    return 2 * step_size * ahead + step_size * step_size * inner


def advance(metric: Metric, gained: Vector, taken: Flag, distance_sq: Vector) -> tuple[Metric, Vector]:
    """The metric after a move, and ‖x − x_0‖² in it.

    Args:
        metric: before the move.
        gained: ``gain`` of the move.
        taken: whether the move is made.
        distance_sq: plain ‖x − x_0‖² after the move: where it overflows, the answer does.
    """
    new = metric.displacement_sq + metric.unit * gained
    kept = where(taken & isfinite(new), new, metric.displacement_sq)
    told = where(isfinite(distance_sq), at_least(new, 0.0), math.inf)
    return metric._replace(displacement_sq=kept), told
