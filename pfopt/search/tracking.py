"""What happens at every gradient: a run is measured, and the long run sets its own step size.

These functions hold the only floating-point state that changes between two decisions. They take the array
namespace ``xp`` (numpy, torch or jax.numpy) and zero- or one-dimensional arrays, so that torch runs them on the
device that holds the parameters and never waits for it.

**Probe.** One fixed step size. A gradient, loss or displacement that is not finite freezes the run at its last
finite point; its remaining gradients are still spent, so that the budget does not depend on what is measured.

**Capped certificate tracking**, the long run of plan "train". The certificate of Carmon & Hinder kept with
equality along the run, and bounded by what the bisection found to be stable:

    track_t       = max(start, r̄_t) / sqrt(t m_t)
    certificate_t = max(start, r̄_t) / sqrt(alpha max(t m_t, REMEMBERED Σ ‖g‖²))
    step_t        = min(TRACKING track_t, max(cap, min(certificate_t, cap t / n))) · decay(t)

with start the displacement of the probe at the root, n its length, and m_t the polynomially weighted mean of ‖g‖²,
which forgets the large gradients near the anchor. Beyond the cap only the certificate itself counts, at the
horizon t, and it raises the cap at most in proportion to t; it may not forget all, or where gradients vanish, as near
an optimum without noise, it would raise the step until the run is unstable. A group or a tensor has a step size of its
own by the same rule, a single coordinate its track alone, whose sum remembers COORDINATE_REMEMBERED of what the
whole has met; each moves by the largest one that it is in the scope of. Around a base such as Adam start is a tenth
of that (``plan.HEAD_START``).

A coordinate that lags, such as one of an embedding's row that is seldom met, counts as far as the others went:

    r̄_i² = max(d_i², TYPICAL² min(Σ_j d_j², Σ_j d_j² m_j / m_i) / size, start² / size),    d = x_t − x_0

with size coordinates in all, and m_i the weighted mean of g_i². The second sum is in units of the loss: where
gradients are k times as large as others, the way is 1/k as long, or steep coordinates would diverge for flat ones.

Where coordinates move by ratio_i >= 1 times their tensor's step, that is SGD in another metric, and there they are
measured: ‖d‖² is Σ d_i² / ratio_i and ‖g‖² is Σ ratio_i g_i². In the plain norm a few flat coordinates that have
come far would certify a step at which the steep ones diverge.

What is returned is the average x̄ of the iterates x_t, weighted by r̄_t² t^(gamma-1) / m'_t, and gradients are taken
between the two, at x_t + share (x̄_t − x_t): primal averaging (Defazio et al., "The Road Less Scheduled", 2024),
which needs no decay. For convex f, exact gradients and any shares in [0, 1], whatever the step sizes,

    f(x̄_T) − f* <= (‖x_0 − x*‖² + Σ step_t² ‖g_t‖²) / (2 Σ step_t)

where x_t has as its weight the step that leaves it (Theorem 2 there, and the distances' telescoping sum); weights that
outgrow the steps cost the largest ‖x_t − x*‖ in place of ‖x_0 − x*‖ (experiments/NOTES.md, "Theory"). Why these: at a
bounded step the variance of x_t is proportional to the mean of ‖g‖², and its inverse is the weight that the mean of
least variance has; m'_t is a mean of the latest ones, so that the average follows iterates that converge without noise
as fast as they do. r̄_t² is small while most of the way is still to go. But no iterate weighs less than t^(gamma-1)
alone would give it: gradients that grow, as in a valley that narrows, are no reason to stay where they were small. The
weights lag by one step, and are outside the theorem in that. In the last part of the run the share rises
(``schedule.interpolation``): the average of points in a curved valley lies beside it, unless gradients are taken there.
Where the last iterate is returned, share = 0 and the steps decay.

**Kinks.** Near the minimum of a hinge or absolute loss gradients keep their size, and an average stays behind the
last iterate of a decay; so they do where they are noise, and there a decay is behind the average. The first probe tells
the two apart where noise is small, since its steps are too small to change a gradient: E ‖Σ g‖² = T² ‖∇f‖² + T sigma².
As long as m'_t has never been below sigma², steps decay, and weights are divided by the decay.

**Explosions.** A gradient that is not finite is not taken: it may be one bad batch. Where LONG_PATIENCE of them come in
a row, or ‖g_t‖² exceeds BURST times its mean over the stretch, the run *explodes*: it goes back to the anchor with a
quarter of the cap and half the starting displacement, and goes on, in a new stretch, with the gradients that are left.
A run that has not moved since then waits instead: no step size is to blame. The anchor, and not the average: that has
followed the iterates to where gradients are bad, and heavy tails show it in a few batches only (NOTES).

Every departure from "SGD at the root" is a measurement: experiments/NOTES.md holds them.
"""

from typing import Any, NamedTuple

import numpy as np

from pfopt.search.schedule import LATEST, RECENT, average_weight, decay_factor
from pfopt.search.state import Run

TRACKING = 1.25  # c of the whole; 1 is slow on least squares, at 1.5 the losses of networks spike (NOTES)
SCOPE_TRACKING = 1.0  # c of a single group or tensor; 1.25 spikes three times as often
COORDINATE_TRACKING = 0.5  # c of a single coordinate
TYPICAL = 2.0  # times the typical displacement of a coordinate, at least, counts as each one's own
REMEMBERED = 0.3  # of all ‖g‖² of the stretch, at least, in the certificate beyond the cap
COORDINATE_REMEMBERED = 0.3  # likewise for single coordinates; 0.1 is unstable without noise (NOTES)
COORDINATE_RANGE = 2.0**40  # at most so many times its tensor's step: no product overflows where g vanished
NEARLY_EXACT = 0.01  # of ‖g‖² at the anchor, at most, is noise; in networks it grows on the way (NOTES)
ROUNDING = 1e-6  # of ‖g‖² at the anchor, at least, counts as noise
HEAVIEST = 2.0**-32  # of the largest number, a weight at most, so that their sum is finite
BURST = 2000.0  # times the mean ‖g‖²; 2e4 fired too late on heavy-tailed least squares
PATIENCE = 2  # consecutive non-finite gradients end a probe: a single one is one bad batch, at a good point
LONG_PATIENCE = 4  # likewise in the long run, which has more to lose
BURST_AFTER = 20  # gradients, before which the mean means little


class Single(NamedTuple):
    """What a single coordinate's step size depends on, beside its own displacement and gradients; shape=() each."""

    share: Any  # of this gradient in the weighted means of squares
    age: Any  # gradients of the stretch, this one included
    growth: Any  # >= 1, factor of the coordinates' mean squares; above 1 where gradients vanish
    start_sq: Any  # smallest squared displacement of the whole vector that counts
    away_sq: Any  # as in Run
    away_product: Any  # likewise
    factor: Any  # of the schedule


class Move(NamedTuple):
    """What the kernel does with one gradient."""

    go: Any  # take the gradient: it is finite, not zero, and the run is alive
    explode: Any  # go back to the anchor instead
    steps: Any  # shape=(1 + scopes,), step sizes; entry 0 the global one
    weight: Any  # of an iterate in the running average: the one moved from (probe) or moved to (long run)


def begin(scopes: int, dtype: Any, xp: Any, **device: Any) -> Run:
    """A run that has measured nothing."""
    zero = xp.zeros((), dtype=dtype, **device)
    none = xp.zeros((), dtype=xp.int32, **device)
    vector = xp.zeros(1 + scopes, dtype=dtype, **device)
    return Run(
        step=none,
        origin=none,
        grad_sq=vector,
        recent_sq=vector,
        latest_sq=zero,
        kink=none == 0,
        distance_sq=vector,
        away_sq=zero,
        away_product=zero,
        bad=none,
        cuts=none,
        weight_sum=zero,
        value_sum=zero,
        value_count=none,
    )


def probe(
    run: Run, grad_sq: Any, value: Any, counts: Any, *, step_size: Any, patience: int, xp: Any
) -> tuple[Run, Move]:
    """Measure one gradient of a probe.

    Args:
        run: what the probe has measured so far.
        grad_sq: shape=(1 + scopes,), ‖g‖² of this gradient.
        value: shape=(), the loss at this point, or None.
        counts: shape=(), bool; False for what spends nothing: exact zeros before the first other gradient.
        step_size: shape=(), of this move.
        patience: consecutive non-finite gradients that freeze the run.
        xp: array namespace.
    """
    finite = _is_finite(grad_sq, value, xp)
    bad = _in_a_row(run, finite, counts, patience, xp)
    alive = counts & finite & (bad < patience)
    weight = average_weight(0.0, real(run.step, run, xp) + 1) * counts
    run = run._replace(
        step=run.step + counts, grad_sq=xp.where(alive, run.grad_sq + grad_sq, run.grad_sq), bad=bad
    )
    if value is not None:
        run = run._replace(
            value_sum=run.value_sum + xp.where(alive, value, xp.zeros_like(value)),
            value_count=run.value_count + alive,
        )
    return run, Move(alive, xp.zeros_like(alive), step_size + xp.zeros_like(grad_sq), weight)


def track(
    run: Run,
    grad_sq: Any,
    value: Any,
    counts: Any,
    *,
    cap: Any,
    vouched: Any,
    alpha: float,
    start_sq: Any,
    guess: Any,
    length: Any,
    noise_sq: Any,
    schedule: str,
    gamma: Any,
    xp: Any,
) -> tuple[Run, Move, Single]:
    """Measure one gradient of the long run and set its step size.

    Args:
        run: what the run has measured so far.
        grad_sq: shape=(1 + scopes,), ‖g‖² of this gradient.
        value: shape=(), the loss at this point, or None.
        counts: shape=(), bool; False for what spends nothing: exact zeros before the first other gradient.
        cap: shape=(), the largest step size that the bisection vouches for.
        vouched: gradients of the probe that vouches for it.
        alpha: damping of the certificate that may raise it.
        start_sq: shape=(1 + scopes,), the smallest squared displacement that counts.
        guess: shape=(), the step size whose displacement counts where the search has seen none.
        length: gradients of the whole run.
        noise_sq: shape=(); while ‖g‖² is above it, steps decay whatever the schedule.
        schedule: "linear" or "constant", of the step size itself.
        gamma: >= 0; the average's weights are r̄_t² t^(gamma-1) / m'_t, and at least as if t^(gamma-1).
        xp: array namespace.
    """
    age, still = real(run.step - run.origin, run, xp), stands(run)
    mean_sq = run.grad_sq[0] / _at_least_1(age, xp)
    finite = _is_finite(grad_sq, value, xp)
    burst = finite & (age >= BURST_AFTER) & (grad_sq[0] > BURST * mean_sq) & xp.logical_not(still)
    bad = _in_a_row(run, finite, counts & (finite | xp.logical_not(still)), LONG_PATIENCE, xp)
    explode = counts & (burst | (bad >= LONG_PATIENCE))
    go = counts & finite & xp.logical_not(explode)

    grad_sq_sum = xp.where(go, run.grad_sq + grad_sq, run.grad_sq)
    cut = 0.5 ** real(run.cuts, run, xp)
    nothing, zero, one = xp.zeros_like(grad_sq), xp.zeros_like(age), xp.ones_like(age)
    start_sq = xp.where(start_sq[0] > 0, start_sq, guess * (guess * xp.where(go, grad_sq, nothing)))
    start_sq = cut**2 * start_sq
    newest = average_weight(RECENT, age + 1) * go
    recent_sq = xp.where(go, run.recent_sq + newest * (grad_sq - run.recent_sq), run.recent_sq)
    total_sq = _positive((age + 1) * recent_sq, xp)
    forgotten = grad_sq_sum / total_sq
    reach_sq = xp.maximum(start_sq, run.distance_sq)
    tracks = xp.sqrt(reach_sq / total_sq)
    steep = average_weight(LATEST, age + 1)
    latest_sq = xp.where(go, run.latest_sq + steep * (grad_sq[0] - run.latest_sq), run.latest_sq)
    decay = decay_factor(age, length - run.origin)
    kink = run.kink & (latest_sq > noise_sq)
    annealed = xp.where(kink, decay, one)
    factor = annealed if schedule == "constant" else decay
    cap = cap * cut**2
    certified = xp.minimum(
        tracks / xp.sqrt(alpha * _at_least_1(REMEMBERED * forgotten, xp)), cap * (age / vouched)
    )
    wanted = xp.concatenate([TRACKING * tracks[:1], SCOPE_TRACKING * tracks[1:]])
    steps = xp.minimum(wanted, xp.maximum(certified, cap))

    share = reach_sq[0] / _positive(annealed * latest_sq, xp) * (age + 1) ** (gamma - 1)
    share = xp.clip(share, None, HEAVIEST * xp.finfo(share.dtype).max)
    weight_sum = xp.where(go, run.weight_sum + share, run.weight_sum)
    weight = xp.where(weight_sum > 0, share / _positive(weight_sum, xp), one)
    weight = xp.maximum(weight, gamma / _positive(age + gamma, xp)) * go

    step = run.step + counts
    run = run._replace(
        step=step,
        origin=xp.where(explode, step, run.origin),
        grad_sq=xp.where(explode, nothing, grad_sq_sum),
        recent_sq=xp.where(explode, nothing, recent_sq),
        latest_sq=xp.where(explode, zero, latest_sq),
        kink=kink | explode,
        distance_sq=xp.where(explode, nothing, run.distance_sq),
        away_sq=xp.where(explode, zero, run.away_sq),
        away_product=xp.where(explode, zero, run.away_product),
        weight_sum=xp.where(explode, zero, weight_sum),
        bad=xp.where(explode, xp.zeros_like(bad), bad),
        cuts=run.cuts + explode,
    )
    growth = _at_least_1(COORDINATE_REMEMBERED * forgotten[0], xp)
    single = Single(newest, age + 1, growth, start_sq[0], run.away_sq, run.away_product, factor)
    return run, Move(go, explode, factor * steps, xp.where(explode, one, weight)), single


def coordinate_steps(single: Single, displacement: Any, recent_sq: Any, size: int, xp: Any) -> Any:
    """Step sizes of single coordinates, shape of ``displacement``; to be bounded, see COORDINATE_RANGE.

    Args:
        single: what ``track`` said of them all.
        displacement: any shape, x − x_0 of some coordinates.
        recent_sq: of the same shape, the weighted means of their g².
        size: number of coordinates of the whole parameter vector.
        xp: array namespace.
    """
    least = xp.finfo(recent_sq.dtype).tiny
    recent_sq = xp.clip(recent_sq, least, None)
    typical_sq = TYPICAL**2 * xp.minimum(single.away_sq, single.away_product / recent_sq)
    reach_sq = xp.maximum(xp.square(displacement), xp.maximum(single.start_sq, typical_sq) / size)
    track_sq = reach_sq / (single.growth * recent_sq)
    return (single.factor * COORDINATE_TRACKING / xp.sqrt(single.age)) * xp.sqrt(track_sq)


def remeasured(run: Run, single: Single, grad_sq: Any, metric_sq: Any, xp: Any) -> Run:
    """Count the newest gradient in the metric in which it moves, which is known after ``track`` only.

    Args:
        run: what ``track`` answered.
        single: likewise.
        grad_sq: shape=(1 + scopes,), ‖g‖² as ``track`` has counted it.
        metric_sq: shape=(1 + scopes,), ‖g‖² in that metric.
        xp: array namespace.
    """
    change = metric_sq - grad_sq
    change = xp.where(xp.isfinite(metric_sq) & (single.share > 0), change, xp.zeros_like(change))
    return run._replace(recent_sq=run.recent_sq + single.share * change)


def moved(
    run: Run,
    move: Move,
    distance_sq: Any,
    xp: Any,
    away_sq: Any = None,
    away_product: Any = None,
) -> tuple[Run, Any]:
    """Measure the displacement after a move; the second value says whether the kernel may keep the new point.

    Args:
        run: what the run has measured so far.
        move: what ``probe`` or ``track`` answered.
        distance_sq: shape=(1 + scopes,), ‖x − x_0‖² after the move.
        xp: array namespace.
        away_sq: of ``Run``, after the move; where coordinates move on their own.
        away_product: likewise.
    """
    finite = xp.isfinite(distance_sq[0])
    keep = move.go & finite
    run = run._replace(
        distance_sq=xp.where(keep, xp.maximum(run.distance_sq, distance_sq), run.distance_sq),
        bad=run.bad + LONG_PATIENCE * (move.go & xp.logical_not(finite)),
    )
    if away_sq is not None:
        run = run._replace(
            away_sq=xp.where(keep, away_sq, run.away_sq),
            away_product=xp.where(keep, away_product, run.away_product),
        )
    return run, keep


def stands(run: Run) -> Any:
    """Whether a run has not moved since it began or exploded; momentum begins anew then."""
    return run.distance_sq[0] == 0


def noise_sq(run: Run, step_size: Any, xp: Any) -> Any:
    """The variance of a gradient, from a probe whose steps are too small to change it; infinite unless nearly none.

    With T independent gradients of mean ∇f and variance sigma², E Σ ‖g‖² = T (‖∇f‖² + sigma²) and, r̄ being
    step_size ‖Σ g‖, E (r̄ / step_size)² = T² ‖∇f‖² + T sigma².
    """
    count, step_size = real(run.step, run, xp), _positive(step_size, xp)
    sum_sq, mean_sq = run.distance_sq[0] / step_size / step_size, run.grad_sq[0] / count
    found = (count * run.grad_sq[0] - sum_sq) / (count * (count - 1))
    told = (run.bad == 0) & (found <= NEARLY_EXACT * mean_sq)
    return xp.where(told, xp.maximum(found, ROUNDING * mean_sq), xp.inf)


def real(count: Any, run: Run, xp: Any) -> Any:
    """A counter in the dtype of the run's statistics: torch divides two integers in its default dtype."""
    return count + xp.zeros_like(run.value_sum)


def estimates(run: Run) -> tuple[float, float]:
    """Root mean square of the gradient norms and largest displacement of a run; host numbers only."""
    steps = max(int(run.step - run.origin), 1)
    return float(np.sqrt(run.grad_sq[0] / steps)), float(np.sqrt(run.distance_sq[0]))


def _positive(x: Any, xp: Any) -> Any:
    """``x``, or 1 where it is zero: nothing has been measured yet, and what is divided is zero as well."""
    return xp.where(x > 0, x, xp.ones_like(x))


def _at_least_1(x: Any, xp: Any) -> Any:
    return xp.clip(x, 1.0, None)


def _is_finite(grad_sq: Any, value: Any, xp: Any) -> Any:
    """Whether a gradient is, and its loss where there is one."""
    finite = xp.isfinite(grad_sq[0])
    return finite if value is None else finite & xp.isfinite(value)


def _in_a_row(run: Run, finite: Any, counts: Any, patience: int, xp: Any) -> Any:
    """How many gradients in a row were not finite; a run that was out of patience stays so."""
    bad = xp.where(finite & (run.bad < patience), xp.zeros_like(run.bad), run.bad + xp.logical_not(finite))
    return xp.where(counts, bad, run.bad)
