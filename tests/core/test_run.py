"""What one run has measured."""

from typing import Any

import numpy as np
import pytest

from pfopt.core import progress
from pfopt.core import run as runs
from tests.core.runs import ended, fresh

COUNTERS = ("step", "restart_step", "restarts", "nonfinite_in_a_row", "loss_count")
VECTORS = ("grad_sq_sum", "mean_grad_sq", "distance_sq", "next_step_sizes")


@pytest.mark.parametrize("scopes", [0, 3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nothing_is_measured_at_the_beginning(scopes: int, dtype: Any) -> None:
    for name, value in runs.begin(scopes, np, dtype=dtype)._asdict().items():
        if name == "at_kink":
            assert value
            continue
        assert not np.any(value)
        if name in COUNTERS:
            assert type(value) is int
        elif name != "frozen":
            assert np.shape(value) == ((1 + scopes,) if scopes and name in VECTORS else ())
            assert value.dtype == (dtype if scopes or name not in VECTORS else np.float64)


def test_age_counts_since_the_last_restart() -> None:
    assert runs.age(fresh()._replace(step=9)) == 9.0
    assert runs.age(fresh()._replace(step=9, restart_step=4)) == 5.0
    assert isinstance(runs.age(fresh()), float)


def test_a_run_is_clean_where_nothing_bad_came_last() -> None:
    for frozen in (False, True):
        for in_a_row in (0, 1, 2):
            run = fresh()._replace(frozen=frozen, nonfinite_in_a_row=in_a_row)
            assert runs.is_clean(run) == (not frozen and in_a_row == 0)


def test_a_run_has_moved_where_the_whole_has() -> None:
    assert not runs.has_moved(fresh())
    assert runs.has_moved(fresh()._replace(distance_sq=np.float64(1e-300)))
    assert not runs.has_moved(fresh(2)._replace(distance_sq=np.asarray([0.0, 1.0, 1.0])))


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("taken", [False, True])
@pytest.mark.parametrize(
    ("distance_sq", "expected"),
    [
        ([4.0, 1.0, 3.0], [4.0, 2.0, 3.0]),
        ([2.0, 2.0, 0.0], [3.0, 2.0, 1.0]),
        ([np.inf, 0.0, np.inf], None),
        ([np.nan, 0.0, np.nan], None),
        ([9.0, np.inf, 0.0], [9.0, np.inf, 1.0]),  # the whole tells whether a move overflows
    ],
)
def test_a_move_counts_unless_it_overflows(
    distance_sq: list[float], expected: list[float] | None, taken: bool, frozen: bool
) -> None:
    before = fresh(2)._replace(distance_sq=np.asarray([3.0, 2.0, 1.0]), frozen=frozen)
    after, kept = runs.record_distance(before, taken, np.asarray(distance_sq))
    assert kept == (taken and expected is not None)
    assert after.frozen == (frozen or (taken and expected is None))
    unchanged = expected is None or not taken
    np.testing.assert_array_equal(after.distance_sq, before.distance_sq if unchanged else expected)


def test_estimates_are_of_the_last_stretch() -> None:
    run = ended(9, 2.0, 16.0, restart_step=1)
    assert runs.estimates(run) == (1.5, 4.0)
    assert runs.estimates(ended(1, 4.0, 1.0)) == (2.0, 1.0)
    assert runs.estimates(fresh()) == (0.0, 0.0)
    assert [type(each) for each in runs.estimates(run)] == [float, float]


@pytest.mark.parametrize("gamma", [0.0, 3.0])
def test_only_losses_of_gradients_taken_count(gamma: float) -> None:
    run, mean, change, last = fresh(), 0.0, 0.0, 0.0
    for count, loss in enumerate((3.0, 5.0, 1.0), 1):
        run = progress.record_loss(run, loss, True, gamma)
        weight = (1 + gamma) / (count + gamma)
        change += weight * (abs(loss - last) * (count > 1) - change)
        mean += weight * (loss - mean)
        last = loss
        for bad in (np.nan, np.inf, 7.0):
            run = progress.record_loss(run, bad, False, gamma)
        assert (run.loss_mean, run.loss_change, run.loss_count) == pytest.approx((mean, change, count))
    assert isinstance(run.loss_mean, float)
    if not gamma:
        assert run.loss_mean == pytest.approx(3.0)


def test_a_loss_that_is_left_out_before_any_other_is_none() -> None:
    assert progress.record_loss(fresh(), np.nan, False, 0.0) == fresh()
