"""Which gradients are not taken, and when the main run restarts."""

import itertools

import numpy as np
import pytest

from pfopt.core import faults
from pfopt.core.faults import BURST_AFTER, MAIN_PATIENCE
from tests.core.runs import ended, fresh

MEAN_SQ, BURST = 3.0, 100.0


@pytest.mark.parametrize("grad_sq", [1.0, 0.0, np.inf, np.nan])
@pytest.mark.parametrize("loss", [None, -1.0, np.inf, -np.inf, np.nan])
def test_a_gradient_and_its_loss_are_finite(grad_sq: float, loss: float | None) -> None:
    finite = np.isfinite(grad_sq) and (loss is None or np.isfinite(loss))
    assert faults.is_finite(np.float64(grad_sq), loss) == finite
    assert faults.is_finite(np.asarray([grad_sq, np.nan]), loss) == finite


def test_nonfinite_gradients_are_counted_until_a_finite_one() -> None:
    run, seen = fresh(), []
    for finite, counts in (
        (False, True),
        (False, True),
        (True, False),
        (False, False),
        (False, True),
        (True, True),
    ):
        run = run._replace(nonfinite_in_a_row=faults.count_nonfinite(run, finite, counts))
        seen.append(run.nonfinite_in_a_row)
    assert seen == [1, 2, 2, 2, 3, 0]


def test_what_the_main_run_makes_of_a_gradient() -> None:
    """Every combination, against the sentence that documents it."""
    grads = (0.0, BURST * MEAN_SQ, np.nextafter(BURST * MEAN_SQ, np.inf), np.inf, np.nan)
    flags = (False, True)
    for grad_sq, loss, steps, moved, frozen, before, counts in itertools.product(
        grads, (None, np.nan), (1, BURST_AFTER - 1, BURST_AFTER), flags, flags, (0, MAIN_PATIENCE - 1), flags
    ):
        run = ended(
            steps + 7, MEAN_SQ, 0.5 * moved, restart_step=7, frozen=frozen, nonfinite_in_a_row=before
        )._replace(grad_sq_sum=np.float64(steps * MEAN_SQ))
        fault = faults.examine(run, np.float64(grad_sq), loss, counts, BURST)
        finite = bool(np.isfinite(grad_sq)) and loss is None
        in_a_row = before
        if counts and finite:
            in_a_row = 0
        elif counts and moved:
            in_a_row = before + 1
        burst = finite and moved and steps >= BURST_AFTER and grad_sq > BURST * MEAN_SQ
        restart = counts and (burst or frozen or in_a_row >= MAIN_PATIENCE)
        assert fault == (counts and finite and not restart, restart, in_a_row)


def test_the_whole_tells_of_a_burst() -> None:
    run = fresh(1)._replace(step=20, grad_sq_sum=np.asarray([20.0, 1.0]), distance_sq=np.asarray([1.0, 0.0]))
    assert not faults.examine(run, np.asarray([100.0, 100.0]), None, True, 100.0).restart
    assert faults.examine(run, np.asarray([101.0, 0.0]), None, True, 100.0).restart


def test_a_restart_forgets_all_but_what_was_spent() -> None:
    ones = {
        name: value + 1 for name, value in fresh(2)._asdict().items() if name not in ("frozen", "at_kink")
    }
    run = fresh(2)._replace(**ones)._replace(step=11, restarts=2, frozen=True, at_kink=False)
    after = faults.restarted(run, True)
    kept = {"step": 11, "restart_step": 11, "restarts": 3, "at_kink": True}
    for name, value in after._asdict().items():
        np.testing.assert_array_equal(value, kept.get(name, 0 * run._asdict()[name]), err_msg=name)
    same = faults.restarted(run, False)
    for name, value in same._asdict().items():
        np.testing.assert_array_equal(value, run._asdict()[name], err_msg=name)
