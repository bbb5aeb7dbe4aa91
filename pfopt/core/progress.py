"""Whether a main run has got anywhere: its losses, where it is told any, against those of the probe it rests on.

A certificate speaks of a short probe; the main run after it may still stay where it began. So its outcome is
"certified" only where the recent mean of its losses is below the mean of the selected probe's, none of whose points is
far from the anchor, by more than ``ERRORS`` standard errors, and ``NO_PROGRESS`` otherwise: a run whose losses are
distributed as the probe's is called certified at most once in a hundred times (Student's t with some ten degrees of
freedom, as 16 losses leave). Noise is told by the changes between successive losses, so that a probe that has already
fallen does not count as noisy. Without losses there is no such test: ⟨g, x − x_0⟩ would tell as much, but is another
pass over memory, and norms alone are those of a random walk in either case.
"""

from math import hypot, sqrt

from pfopt.core.arrays import Flag, Real, at_least, maximum, where
from pfopt.core.averaging import mean_weight
from pfopt.core.records import Outcome, Phase, Run, Slot, State

LATE_GAMMA = 3.0  # of the mean of the main run's losses
ERRORS = 3.0
FEWEST = 16  # losses of the main run, before which nothing is said
DEVIATION = (
    0.886  # √π/2, standard deviations of a normal distribution in one mean change of independent losses
)


def record_loss(run: Run, loss: Real, taken: Flag, gamma: float) -> Run:
    """The run with one more loss in its mean, which has polynomial weights (0: uniform ones)."""
    count = run.loss_count + taken
    weight = mean_weight(gamma, at_least(count, 1))
    change = maximum(loss - run.last_loss, run.last_loss - loss) * (count > 1)
    return run._replace(
        loss_mean=where(taken, run.loss_mean + weight * (loss - run.loss_mean), run.loss_mean),
        loss_change=where(taken, run.loss_change + weight * (change - run.loss_change), run.loss_change),
        last_loss=where(taken, loss, run.last_loss),
        loss_count=count,
    )


def outcome(state: State, run: Run) -> Outcome:
    """How the search ended, or that its step size has led nowhere yet; on host numbers only."""
    found = Outcome(state.outcome)
    begun = state.phase == Phase.MAIN or (
        state.phase == Phase.DONE and state.output in (Slot.AVERAGE, Slot.LAST)
    )
    told = state.bracket.lo_loss_count > 1 and run.loss_count >= FEWEST
    if not (begun and told and found == Outcome.CERTIFIED):
        return found
    early = state.bracket.lo_loss_change / sqrt(state.bracket.lo_loss_count)
    effective = run.loss_count * (2 * LATE_GAMMA + 1) / (1 + LATE_GAMMA) ** 2
    error = DEVIATION * hypot(early, run.loss_change / sqrt(effective))
    falls = state.bracket.lo_loss_mean - run.loss_mean > ERRORS * error
    return found if falls else Outcome.NO_PROGRESS
