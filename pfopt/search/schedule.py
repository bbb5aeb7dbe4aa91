"""Factors over a run: how the step size decays, and how iterates are averaged."""

from typing import Any

GAMMA = {True: 0.5, False: 3.0}  # of the returned average, by Config.primal; its weights are in tracking.py
RECENT = 3.0  # polynomial weight of the mean ‖g‖² that the long run's step size divides by
LATEST = 8.0  # of the mean ‖g‖² that the average's weights divide by
INTERPOLATION = 2 / 3  # share of the average in the point at which the long run takes its gradients
LAST_INTERPOLATION = 0.9  # at the end of the run, where that point is to be the one returned
LAST_PART = 0.2  # of the run, on which the share rises


def dual_factor(schedule: str, step: Any, length: Any) -> Any:
    """Factor of move ``step`` = 0, 1, … of a probe of ``length`` gradients.

    "linear" is (T − t)/T with t = step + 1, so that the last move is zero and the point returned is the one
    at which the last gradient was taken: primal averaging of the constant-step dual sequence (Defazio et al.,
    "The Road Less Scheduled", 2024, appendix B.1).
    """
    if schedule == "constant":
        return 1.0
    return (length - step - 1) / length


def decay_factor(step: Any, length: Any) -> Any:
    """Factor of move ``step`` = 0, 1, … of a decaying long run of ``length`` gradients, in (0, 1]."""
    return (length - step) / length


def interpolation(step: Any, length: Any, xp: Any) -> Any:
    """Share of the average in the point reached after ``step`` = 0, 1, … of a long run's ``length`` gradients."""
    risen = xp.clip((step / length - 1) / LAST_PART + 1, 0.0, 1.0)
    return INTERPOLATION + (LAST_INTERPOLATION - INTERPOLATION) * risen


def average_weight(gamma: float, count: Any) -> Any:
    """Weight of the ``count``-th member (1, 2, …) in the running polynomial average.

    x̄ += w (x − x̄) with w = (1 + gamma)/(count + gamma) (Shamir & Zhang, ICML 2013); gamma = 0 is the uniform
    average.
    """
    return (1.0 + gamma) / (count + gamma)
