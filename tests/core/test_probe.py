"""One gradient of a probe."""

import itertools
from typing import Any

import numpy as np
import pytest

import pfopt
from pfopt import options
from pfopt.core import controller, probe
from tests.core.runs import fresh

CERTIFIED = options.configure(pfopt.Certified(), 100)
LAST = options.configure(pfopt.Certified(output="last"), 100)
PRACTICAL = options.configure(pfopt.Practical(), 100)
STATE = controller.init(PRACTICAL, 0, np, 0.5)
PATIENCE = {"certified": (CERTIFIED, 1), "practical": (PRACTICAL, 2)}


@pytest.mark.parametrize("plan", PATIENCE)
def test_what_a_probe_makes_of_a_gradient(plan: str) -> None:
    config, patience = PATIENCE[plan]
    flags = (False, True)
    for grad_sq, loss, frozen, before, counts in itertools.product(
        (2.0, 0.0, np.inf), (None, 3.0, np.nan), flags, (0, 1), flags
    ):
        run = fresh()._replace(
            step=4,
            grad_sq_sum=np.float64(5.0),
            frozen=frozen,
            nonfinite_in_a_row=before,
            loss_mean=1.0,
            last_loss=1.0,
            loss_count=1,
        )
        after, taken, weight = probe.take_gradient(config, STATE, run, np.float64(grad_sq), loss, counts)
        finite = np.isfinite(grad_sq) and not (loss is not None and np.isnan(loss))
        in_a_row = before if not counts else 0 if finite else before + 1
        ends = frozen or (counts and in_a_row >= patience)
        assert taken == (counts and finite and not ends)
        assert weight == (0.2 if counts else 0.0)
        heard = taken and loss is not None
        assert after == run._replace(
            step=4 + counts,
            grad_sq_sum=5.0 + (grad_sq if taken else 0.0),
            nonfinite_in_a_row=in_a_row,
            frozen=ends,
            loss_mean=2.0 if heard else 1.0,
            loss_change=1.0 if heard else 0.0,
            last_loss=3.0 if heard else 1.0,
            loss_count=1 + heard,
        )


@pytest.mark.parametrize("config", [CERTIFIED, LAST, PRACTICAL])
@pytest.mark.parametrize(("grad_sq", "bursts"), [(1999.0, False), (2001.0, True)])
def test_a_burst_ends_a_probe_of_the_practical_plan(config: Any, grad_sq: float, bursts: bool) -> None:
    run = fresh()._replace(step=4, grad_sq_sum=np.float64(4.0))
    after, taken, _ = probe.take_gradient(config, STATE, run, np.float64(grad_sq), None, True)
    ends = bursts and config is PRACTICAL
    assert (after.frozen, taken, after.grad_sq_sum) == (ends, not ends, 4.0 if ends else 4.0 + grad_sq)
    unasked, _, _ = probe.take_gradient(config, STATE, run, np.float64(grad_sq), None, False)
    assert not unasked.frozen
    bracket = STATE.bracket._replace(lo_grad_sq_sum=2.0 * int(STATE.probe_length))  # 2 each
    certified = STATE._replace(bracket=bracket)
    assert not probe.take_gradient(config, certified, run, np.float64(3999.0), None, True)[0].frozen
    over, _, _ = probe.take_gradient(config, certified, run, np.float64(4001.0), None, True)
    assert over.frozen == (config is PRACTICAL)
    first, taken, _ = probe.take_gradient(config, STATE, fresh(), np.float64(grad_sq), None, True)
    assert taken
    assert not first.frozen


def test_weights_are_those_of_the_uniform_average() -> None:
    run, average, points = fresh(), 0.0, [3.0, -1.0, 7.0, 2.0]
    for point in points:
        run, _, weight = probe.take_gradient(PRACTICAL, STATE, run, np.float64(1.0), None, True)
        average += weight * (point - average)
    assert average == pytest.approx(np.mean(points), rel=1e-15)


def test_every_scope_is_summed() -> None:
    run = fresh(1)
    for _ in range(3):
        run, _, _ = probe.take_gradient(PRACTICAL, STATE, run, np.asarray([2.0, np.inf]), None, True)
    np.testing.assert_array_equal(run.grad_sq_sum, [6.0, np.inf])


@pytest.mark.parametrize("config", [CERTIFIED, PRACTICAL, PRACTICAL._replace(returns_average=False)])
def test_steps_do_not_decay(config: Any) -> None:
    assert not probe.returns_last(config)
    assert [probe.decay(config, step, 4) for step in range(4)] == [1.0] * 4


def test_steps_of_a_certified_probe_that_returns_its_last_iterate_decay_to_zero() -> None:
    assert probe.returns_last(LAST)
    assert [probe.decay(LAST, step, 4) for step in range(4)] == [0.75, 0.5, 0.25, 0.0]


def test_decaying_iterates_are_primal_averages_of_the_constant_steps() -> None:
    """Gradient t is taken at (t/T) mean(z_1 … z_t) + (1 − t/T) z_t, the last one at the mean itself."""
    draw, length = np.random.default_rng(0), 9
    y, z, mean = np.zeros(3), np.zeros(3), np.zeros(3)
    for step in range(length):
        mean, beta = mean + (z - mean) / (step + 1), (step + 1) / length
        np.testing.assert_allclose(y, beta * mean + (1 - beta) * z, rtol=1e-12, atol=1e-15)
        grad = draw.standard_normal(3)
        y, z = y - probe.decay(LAST, step, length) * grad, z - grad
    np.testing.assert_allclose(y, mean, rtol=1e-12)
