"""One gradient of a probe: a run of fixed step size from the anchor.

A gradient, loss or displacement that is not finite freezes the run at its last finite point. Its remaining gradients
are still spent, so that the budget does not depend on what is measured.
"""

from pfopt.core import faults
from pfopt.core.arrays import Count, Flag, Real, Vector, negated, real, where
from pfopt.core.averaging import mean_weight
from pfopt.core.config import Config
from pfopt.core.progress import record_loss
from pfopt.core.records import Run


def take_gradient(
    config: Config, run: Run, grad_sq: Vector, loss: Real | None, counts: Flag
) -> tuple[Run, Flag, Real]:
    """Measure one gradient.

    Args:
        config: whether the probe is one of Algorithm 1, which a single gradient that is not finite ends.
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
