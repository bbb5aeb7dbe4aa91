"""One gradient of a probe: a run of fixed step size from the anchor.

A probe is over where a gradient, loss or displacement is not finite, or ‖g‖² is more than ``burst`` times its mean in
the probe of the largest step size certified so far (of those before, while there is none): its step size is too large
for certain. Then it goes back to the anchor, where its remaining gradients are spent, so that the budget does not
depend on what is measured, and nobody sees more of where it went. One of Algorithm 1 knows no burst, and stays at its
last finite point.
"""

from pfopt.core import faults
from pfopt.core.arrays import Count, Flag, Real, Vector, negated, real, where, whole
from pfopt.core.averaging import mean_weight
from pfopt.core.config import Config
from pfopt.core.progress import record_loss
from pfopt.core.records import Run, State


def take_gradient(
    config: Config, state: State, run: Run, grad_sq: Vector, loss: Real | None, counts: Flag
) -> tuple[Run, Flag, Real]:
    """Measure one gradient.

    Args:
        config: whether the probe is one of Algorithm 1, which a single gradient that is not finite ends.
        state: with what the search has certified.
        run: what the probe has measured so far.
        grad_sq: ‖g‖² of this gradient.
        loss: the loss at this point, or None.
        counts: False for what spends nothing, exact zeros before the first other gradient.

    Returns:
        The run, whether the gradient is taken, and the weight in the uniform average of the point it was taken at.
    """
    patience = 1 if config.certified else faults.PROBE_PATIENCE
    finite = faults.is_finite(grad_sq, loss)
    in_a_row = faults.count_nonfinite(run, finite, counts)
    frozen = run.frozen | (counts & (in_a_row >= patience))
    if not config.certified:
        certified_sq = state.bracket.lo_grad_sq_sum / state.probe_length
        mean_sq = where(certified_sq > 0, certified_sq, faults.mean_grad_sq(run))
        bursts = (mean_sq > 0) & (whole(grad_sq) > config.constants.burst * mean_sq)
        frozen = frozen | (counts & finite & bursts)
    taken = counts & finite & negated(frozen)
    weight = mean_weight(0.0, real(run.step + 1, run.weight_sum)) * counts
    run = run._replace(
        step=run.step + counts,
        grad_sq_sum=where(taken, run.grad_sq_sum + grad_sq, run.grad_sq_sum),
        nonfinite_in_a_row=in_a_row,
        frozen=frozen,
    )
    return (run if loss is None else record_loss(run, loss, taken, 0.0)), taken, weight


def decay(config: Config, step: Real, length: Count) -> Real:
    """Factor of the step size at gradient ``step`` = 0, 1, … of a probe of ``length`` gradients.

    It is 1 but in Algorithm 1 with linear decay: (T − t)/T with t = step + 1. There the last move is zero and the
    point returned is the one at which the last gradient was taken, which makes the iterates the primal averages of the
    sequence x_0 − eta Σ g of constant step size (Defazio et al., "The Road Less Scheduled", 2024, appendix B.1).
    """
    if returns_last(config):
        return (length - step - 1) / length
    return 1.0


def returns_last(config: Config) -> bool:
    """Whether a probe's output is the last iterate of a linear decay; its certificate is that of x_0 − eta Σ g."""
    return config.certified and not config.returns_average
