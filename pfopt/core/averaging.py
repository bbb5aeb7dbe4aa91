"""Means of gradients and of iterates: what is returned, and where gradients are taken (listing, 2, 6, 8)."""

from typing import NamedTuple

from pfopt.core.arrays import (
    Count,
    Flag,
    Real,
    Vector,
    at_most,
    clip,
    largest,
    maximum,
    ones_like,
    positive,
    real,
    where,
    whole,
)
from pfopt.core.config import Constants
from pfopt.core.records import Run
from pfopt.core.run import is_clean


class Moments(NamedTuple):
    """Fields of ``Run``: S, m and l of the listing."""

    grad_sq_sum: Vector
    mean_grad_sq: Vector
    latest_grad_sq: Real


HEAVIEST = 2.0**-32  # of the largest number, a weight at most, so that their sum is finite
NEARLY_EXACT = (
    0.01  # of ‖g‖² at the anchor, at most, is noise where a kink can be told; in networks it grows on the way
)
ROUNDING = 1e-6  # of ‖g‖² at the anchor, at least, counts as noise


def mean_weight(gamma: float, count: Real) -> Real:
    """Weight w_γ of member ``count`` = 1, 2, … in a running polynomial average.

    x̄ += w (x − x̄) with w = (1 + gamma)/(count + gamma) (Shamir & Zhang, ICML 2013); gamma = 0 is the uniform
    average.
    """
    return (1.0 + gamma) / (count + gamma)


def add_gradient(constants: Constants, run: Run, grad_sq: Vector, taken: Flag, n: Real) -> Moments:
    """Sum and means of ‖g‖² with the ``n``-th gradient of this stretch, where it is taken (listing, 2)."""
    mean, latest = run.mean_grad_sq, run.latest_grad_sq
    new_mean = mean + mean_weight(constants.mean_gamma, n) * (grad_sq - mean)
    new_latest = latest + mean_weight(constants.latest_gamma, n) * (whole(grad_sq) - latest)
    return Moments(
        grad_sq_sum=where(taken, run.grad_sq_sum + grad_sq, run.grad_sq_sum),
        mean_grad_sq=where(taken, new_mean, mean),
        latest_grad_sq=where(taken, new_latest, latest),
    )


def beta(constants: Constants, step: Real, length: Count) -> Real:
    """Share of the average in the point at which gradient ``step`` = 0, 1, … of ``length`` is taken (listing, 8).

    Gradients are taken at z + beta (x̄ − z): primal averaging (Defazio et al., "The Road Less Scheduled", 2024),
    which needs no decay. In the last part of the run beta rises, so that the point returned is close to where the last
    gradients were taken: the average of points in a curved valley lies beside it.
    """
    risen = clip((step / length - 1) / constants.rise + 1, 0.0, 1.0)
    return constants.beta + (constants.last_beta - constants.beta) * risen


def linear_decay(step: Real, length: Count) -> Real:
    """Factor of move ``step`` = 0, 1, … of a decaying main run of ``length`` gradients, in (0, 1]."""
    return (length - step) / positive(length)


def noise_sq(run: Run, step_size: Real) -> tuple[Flag, Real]:
    """Whether the gradients of a first probe were nearly exact, and then the variance sigma² of one (listing, 6).

    Near the minimum of a hinge or absolute loss gradients keep their size, and an average stays behind the last
    iterate of a decay; so they do where they are noise, and there a decay stays behind the average. The first probe
    tells the two apart, since its steps are too small to change a gradient.
    """
    count, step_size = real(run.step, run.weight_sum), positive(step_size)
    path_sq, mean_sq = whole(run.distance_sq) / step_size / step_size, whole(run.grad_sq_sum) / count
    found = variance(count, whole(run.grad_sq_sum), path_sq)
    known = is_clean(run) & (found <= NEARLY_EXACT * mean_sq)
    return known, maximum(found, ROUNDING * mean_sq)


def variance(count: Real, grad_sq_sum: Real, path_sq: Real) -> Real:
    """The variance sigma² of one gradient, from T independent ones of mean ∇f.

    E Σ‖g‖² = T (‖∇f‖² + sigma²), and E ‖Σ g‖² = T² ‖∇f‖² + T sigma².

    Args:
        count: T, at least 2.
        grad_sq_sum: Σ‖g‖².
        path_sq: ‖Σ g‖², (r̄/η)² in a probe that hardly changes the gradient.
    """
    return (count * grad_sq_sum - path_sq) / (count * (count - 1))


def unnormalised_weight(distance_sq: Real, latest_grad_sq: Real, decay: Real, n: Real, gamma: Real) -> Real:
    """Weight a of the newest iterate, r² n^(γ−1)/(δ l), before it is divided by the sum of all (listing, 8).

    At a bounded step the variance of an iterate is proportional to the mean ‖g‖², whose inverse is the weight that the
    mean of least variance has; l is a mean of the latest ones, so that the average follows iterates that converge
    without noise as fast as they do. r² is small while most of the way is still to go. For convex f and exact
    gradients the iterate x_t should weigh as the step that leaves it (Theorem 2 of Defazio et al.); these weights
    are outside that theorem in that they lag by one step.
    """
    weight = distance_sq / positive(decay * latest_grad_sq) * n ** (gamma - 1)
    return at_most(weight, HEAVIEST * largest(weight))


def share_of_newest(weight: Real, weight_sum: Real, n: Real, gamma: Real) -> Real:
    """By how much the average moves to the newest iterate: a/Σa, and at least γ/(n−1+γ) (listing, 8).

    No iterate weighs less than n^(γ−1) alone would give it: gradients that grow, as in a valley that narrows, are no
    reason to stay where they were small.
    """
    share = where(weight_sum > 0, weight / positive(weight_sum), ones_like(weight))
    return maximum(share, gamma / positive(n - 1 + gamma))
