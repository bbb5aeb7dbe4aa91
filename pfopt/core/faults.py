"""Gradients that must not be taken: not finite, or far larger than all before (listing, 1)."""

from typing import NamedTuple

from pfopt.core.arrays import (
    Count,
    Flag,
    Real,
    Vector,
    at_least,
    is_of_host,
    isfinite,
    negated,
    where,
    whole,
    zeros_like,
)
from pfopt.core.run import Run, age, has_moved

PROBE_PATIENCE = 2  # gradients in a row that are not finite end a probe: a single one is one bad batch
MAIN_PATIENCE = 4  # likewise the main run, which has more to lose
BURST_AFTER = 20  # gradients, before which their mean says little


class Fault(NamedTuple):
    """What the main run makes of one gradient."""

    taken: Flag  # it is finite, counts, and the run goes on
    restart: Flag  # the run goes back to the anchor instead
    nonfinite_in_a_row: Count


def is_finite(grad_sq: Vector, loss: Real | None) -> Flag:
    """Whether a gradient is finite, and its loss where there is one."""
    finite = isfinite(whole(grad_sq))
    return finite if loss is None else finite & isfinite(loss)


def count_nonfinite(run: Run, finite: Flag, counts: Flag) -> Count:
    """How many gradients in a row were not finite, this one included."""
    in_a_row = run.nonfinite_in_a_row
    newest = where(finite, zeros_like(in_a_row), in_a_row + negated(finite))
    return where(counts, newest, in_a_row)


def mean_grad_sq(run: Run) -> Real:
    """The plain mean of ‖g‖² since the last restart."""
    return whole(run.grad_sq_sum) / at_least(age(run), 1.0)


def examine(run: Run, grad_sq: Vector, loss: Real | None, counts: Flag, burst: float) -> Fault:
    """Whether the main run takes a gradient, leaves it out, or restarts.

    A gradient that is not finite is left out: it may be one bad batch. The run restarts where ``MAIN_PATIENCE`` of
    them come in a row, where ‖g‖² is more than ``burst`` times its mean, and after a move that overflowed. A run that
    has not moved since it last restarted waits instead: no step size is to blame.
    """
    finite, moved, steps = is_finite(grad_sq, loss), has_moved(run), age(run)
    mean_sq = mean_grad_sq(run)
    bursts = finite & (steps >= BURST_AFTER) & (whole(grad_sq) > burst * mean_sq) & moved
    in_a_row = count_nonfinite(run, finite, counts & (finite | moved))
    restart = counts & (bursts | run.frozen | (in_a_row >= MAIN_PATIENCE))
    return Fault(counts & finite & negated(restart), restart, in_a_row)


def restarted(run: Run, restart: Flag) -> Run:
    """The run with nothing measured since now, where ``restart`` holds; what it has spent stays spent."""
    if is_of_host(restart) and not restart:
        return run

    def cleared(field: Vector) -> Vector:
        return where(restart, zeros_like(field), field)

    return run._replace(
        restart_step=where(restart, run.step, run.restart_step),
        restarts=run.restarts + restart,
        nonfinite_in_a_row=cleared(run.nonfinite_in_a_row),
        frozen=run.frozen & negated(restart),
        grad_sq_sum=cleared(run.grad_sq_sum),
        mean_grad_sq=cleared(run.mean_grad_sq),
        latest_grad_sq=cleared(run.latest_grad_sq),
        at_kink=run.at_kink | restart,
        distance_sq=cleared(run.distance_sq),
        displacement_sq=cleared(run.displacement_sq),
        displacement_product=cleared(run.displacement_product),
        weight_sum=cleared(run.weight_sum),
        next_step_sizes=cleared(run.next_step_sizes),
        loss_mean=cleared(run.loss_mean),
        loss_change=cleared(run.loss_change),
        last_loss=cleared(run.last_loss),
        loss_count=cleared(run.loss_count),
    )
