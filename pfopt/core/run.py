"""What one run has measured: the record at its beginning, after a gradient, and after a move."""

import numpy as np

from pfopt.core.arrays import (
    Flag,
    Namespace,
    Real,
    Vector,
    isfinite,
    maximum,
    negated,
    real,
    where,
    whole,
    zeros,
)
from pfopt.core.records import Run


def begin(scopes: int, xp: Namespace, **kind: object) -> Run:
    """A run that has measured nothing.

    Args:
        scopes: groups or tensors that are measured beside the whole.
        xp: array namespace.
        kind: dtype of the statistics, and the device where the namespace knows devices.
    """
    zero, vector = xp.zeros((), **kind)[()], zeros(scopes, xp, **kind)
    none = 0 if xp is np else xp.zeros((), **{**kind, "dtype": xp.int32})
    return Run(
        step=none,
        restart_step=none,
        restarts=none,
        nonfinite_in_a_row=none,
        frozen=none > 0,
        grad_sq_sum=vector,
        mean_grad_sq=vector,
        latest_grad_sq=zero,
        at_kink=none == 0,
        distance_sq=vector,
        displacement_sq=zero,
        displacement_product=zero,
        weight_sum=zero,
        next_step_sizes=vector,
        loss_mean=zero,
        loss_change=zero,
        last_loss=zero,
        loss_count=none,
    )


def age(run: Run) -> Real:
    """Gradients since the last restart, in the dtype of the statistics."""
    return real(run.step - run.restart_step, run.weight_sum)


def is_clean(run: Run) -> Flag:
    """Whether a run met nothing that is not finite, or made up for it by a finite gradient afterwards."""
    return negated(run.frozen) & (run.nonfinite_in_a_row == 0)


def has_moved(run: Run) -> Flag:
    """Whether a run has moved since it began or restarted; momentum begins anew where it has not."""
    return whole(run.distance_sq) > 0


def record_distance(run: Run, taken: Flag, distance_sq: Vector) -> tuple[Run, Flag]:
    """The run after a move to ‖x − x_0‖² = ``distance_sq``, and whether that is finite; if not, the run is frozen."""
    finite = isfinite(whole(distance_sq))
    kept = taken & finite
    run = run._replace(
        distance_sq=where(kept, maximum(run.distance_sq, distance_sq), run.distance_sq),
        frozen=run.frozen | (taken & negated(finite)),
    )
    return run, kept


def estimates(run: Run) -> tuple[float, float]:
    """Root mean square of the gradient norms, and largest displacement, of a run on the host."""
    steps = max(int(run.step - run.restart_step), 1)
    return float(np.sqrt(whole(run.grad_sq_sum) / steps)), float(np.sqrt(whole(run.distance_sq)))
