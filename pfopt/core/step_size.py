"""The step sizes of the main run: capped certificate tracking (listing, 3 to 5).

The certificate of Carmon & Hinder, kept with equality along the run, and bounded by what the search found to be stable.
"""

from typing import NamedTuple

from pfopt.core.arrays import (
    Array,
    Count,
    Real,
    Vector,
    at_least,
    at_most,
    clip,
    doublings,
    maximum,
    minimum,
    namespace,
    positive,
    sqrt,
    where,
    whole,
)
from pfopt.core.config import Config, Constants
from pfopt.core.records import Run, State

COORDINATE_RANGE = 2.0**40  # times the whole's step, at most: no product overflows where g vanished


class CoordinateRule(NamedTuple):
    """What the step sizes of all coordinates depend on, beside their own displacement and gradients; shape=() each.

    η_i² = (scale²/m_i) r_i² and r_i² = max(d_i², clip(product (scale²/m_i), least, most)/size).
    """

    square_weight: Real  # w₃(n), of this gradient in the coordinates' mean squares; 0 if it is not taken
    scale_sq: Real  # (½ δ)²/(n k)
    least: Real  # r₀²
    most: Real  # lag² Σ d², and r₀² at least
    product: Real  # lag² Σ d² m/scale²


def initial_distance_sq(config: Config, state: State) -> Vector:
    """r₀²: the distance that the probe at the selected step size travelled, or the last one if none was certified.

    A group or tensor that stood still there starts like the whole.
    """
    bracket = state.bracket
    alone = bracket.hi_distance_sq + 0.0 * bracket.lo_distance_sq
    selected = where(bracket.has_lo, bracket.lo_distance_sq, alone)
    return config.constants.head_start**2 * where(selected > 0, selected, whole(selected))


def cap(state: State) -> Real:
    """The largest step size that needs no certificate: the selected one, times 2^cap."""
    return doublings(state.initial_step, state.cap_exponent)


def tracking(constants: Constants, distance_sq: Vector, sum_sq: Vector) -> tuple[Vector, Vector]:
    """r/√(n m), and that times c, of which the whole has one and groups or tensors another (listing, 4)."""
    tracks = sqrt(distance_sq / sum_sq)
    if isinstance(tracks, float):
        return tracks, constants.tracking * tracks
    scaled = constants.tracking * tracks[:1], constants.scope_tracking * tracks[1:]
    return tracks, namespace(tracks).concatenate(scaled)


def in_doublings(steps: Vector) -> Vector:
    """The whole's step size, and those of groups or tensors rounded to powers of two times it.

    A base steps by one call for each rate, so there are few.
    """
    if isinstance(steps, float):
        return steps
    xp, one = namespace(steps), whole(steps)
    exponent = xp.round(xp.log2(positive(steps / positive(one))))
    return where(steps > 0, one * xp.exp2(exponent), steps)


def bound(
    constants: Constants, tracks: Vector, sum_growth: Vector, cap: Real, count: Real, probe_length: Count
) -> Vector:
    """What bounds the step: the cap, or beyond it the certificate, which may raise it in proportion to n (listing, 4).

    The certificate remembers a share of all gradients. Where they vanish, as near an optimum without noise, one that
    forgets would raise the step until the run is unstable.

    Args:
        constants: alpha.
        tracks: r/√(n m).
        sum_growth: memory·S/(n m).
        cap: shape=().
        count: n − 1.
        probe_length: gradients of the probe that vouches for the cap.
    """
    certified = tracks / sqrt(constants.alpha * at_least(sum_growth, 1.0))
    return maximum(minimum(certified, cap * (count / probe_length)), cap)


def coordinate_rule(
    constants: Constants,
    square_weight: Real,
    sum_growth: Real,
    initial_distance_sq: Real,
    run: Run,
    decay: Real,
) -> CoordinateRule:
    """What holds for all coordinates (listing, 5).

    A coordinate that lags, such as one of an embedding's row that is seldom met, counts as far as the others went:

        r_i² = max(d_i², lag² min(Σ d², Σ d² m / m_i)/size, r₀²/size).

    The second sum is in units of the loss: where gradients are k times as large as others, the way is 1/k as
    long, or steep coordinates would diverge for flat ones.

    Args:
        constants: c of a coordinate, and lag.
        square_weight: w₃(n), or 0.
        sum_growth: n k, what a coordinate's Σ g² counts as in units of m_i.
        initial_distance_sq: r₀².
        run: with the sums of displacements as they were last measured.
        decay: δ.
    """
    lag_sq, scale_sq = constants.lag**2, (decay * constants.coordinate_tracking) ** 2 / sum_growth
    return CoordinateRule(
        square_weight=square_weight,
        scale_sq=scale_sq,
        least=initial_distance_sq,
        most=maximum(lag_sq * run.displacement_sq, initial_distance_sq),
        product=lag_sq * run.displacement_product / scale_sq,
    )


def coordinate_steps(rule: CoordinateRule, displacement: Array, mean_square: Array, size: Count) -> Array:
    """The step size of each coordinate before it is bounded by the whole's, ½ δ r_i/√(n k m_i) (listing, 5).

    Args:
        rule: what holds for all of them.
        displacement: any shape, d = z − x_0.
        mean_square: of the same shape, m_i, the weighted mean of g_i².
        size: coordinates of all parameters together.
    """
    xp = namespace(displacement)
    inverse = at_most(rule.scale_sq / mean_square, 1 / xp.finfo(mean_square.dtype).tiny)
    others_sq = clip(inverse * (rule.product / size), rule.least / size, rule.most / size)
    return sqrt(maximum(xp.square(displacement), others_sq) * inverse)
