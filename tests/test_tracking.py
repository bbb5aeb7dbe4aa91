"""The long run's rule for a gradient: step sizes, weights of the average, single coordinates."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pfopt.search import tracking
from pfopt.search.state import Run
from pfopt.search.tracking import Move, Single


def track(run: Run, grad_sq: float | np.floating, **kwargs: Any) -> tuple[Run, Move, Single]:
    """One gradient at a cap that never binds, unless ``kwargs`` say otherwise."""
    settings: dict[str, Any] = {
        "cap": 1e30,
        "vouched": 16,
        "alpha": 1.5,
        "start_sq": np.ones(1),
        "guess": 0.0,
        "length": 100,
        "noise_sq": np.inf,
        "schedule": "constant",
        "gamma": 0.0,
        "xp": np,
    }
    return tracking.track(
        run, np.asarray([grad_sq]), counts=np.True_, **{"value": None, **settings, **kwargs}
    )


@pytest.mark.parametrize("gamma", [0.0, 1.0, 3.0])
def test_weights_are_squares_of_the_certificate_times_powers_whatever_the_steps(gamma: float) -> None:
    run, weights = tracking.begin(0, np.float64, np), []
    for _ in range(20):
        run, move, _ = track(run, 1.0, cap=1e-6, vouched=1e9, gamma=gamma)
        assert move.steps[0] == pytest.approx(1e-6)
        weights.append(move.weight)
    shares = np.arange(1.0, 21.0) ** (gamma - 1.0)  # r̄²/(t m) with r̄ and m as they were
    np.testing.assert_allclose(weights, shares / shares.cumsum(), rtol=1e-12)


def test_smaller_gradients_weigh_more() -> None:
    run = tracking.begin(0, np.float64, np)
    for _ in range(20):
        run, _, _ = track(run, 1.0 if run.step else 100.0, gamma=1.0)
    _, move, _ = track(run, 1.0, gamma=1.0)
    assert move.weight > 1.1 / 21


@pytest.mark.parametrize("gamma", [0.5, 3.0])
def test_larger_gradients_weigh_as_those_before(gamma: float) -> None:
    run, move, _ = track(tracking.begin(0, np.float64, np), 1.0, gamma=gamma)
    for age in range(1, 200):
        run, move, _ = track(run, 1.05**age, gamma=gamma)
        assert move.weight >= gamma / (age + gamma)
    assert move.weight == pytest.approx(gamma / (199 + gamma), rel=1e-12)


def test_weights_know_no_schedule() -> None:
    moves = {}
    for schedule in ("constant", "linear"):
        run = tracking.begin(0, np.float64, np)
        for _ in range(3):
            run, moves[schedule], _ = track(run, 1.0, cap=1e-6, vouched=1e9, schedule=schedule)
    assert moves["linear"].steps[0] == pytest.approx(0.98e-6)
    assert moves["linear"].weight == moves["constant"].weight


def test_a_certificate_does_not_forget_that_gradients_were_large() -> None:
    run, sum_sq, step = tracking.begin(0, np.float64, np), 0.0, np.inf
    for count in range(200):
        sum_sq += 0.9**count
        run, move, _ = track(run, 0.9**count, cap=1e-6, vouched=1e-9)
        (step,) = move.steps
        assert step**2 * 1.5 * tracking.REMEMBERED * sum_sq <= 1 + 1e-12
    assert step > 1e-6


def test_weights_stay_finite_where_gradients_vanish() -> None:
    run = tracking.begin(0, np.float32, np)
    with np.errstate(all="ignore"):
        for step in range(300):
            grad_sq = np.float32(4.0) ** np.float32(-step)  # below the smallest number from step 75 on
            run, move, single = track(run, grad_sq, start_sq=np.ones(1, np.float32))
            assert 0 <= move.weight <= 1
            assert np.isfinite([run.weight_sum, *move.steps]).all()
            assert single.growth >= 1


def under_way() -> Run:
    """A run after 31 gradients of norm 1, at distance 1."""
    run = tracking.begin(0, np.float64, np)
    for _ in range(31):
        run, move, _ = track(run, 1.0)
        run, _ = tracking.moved(run, move, np.ones(1), np, 1.0, 1.0)
    return run


def assert_exploded(run: Run, move: Move) -> None:
    """It begins a new stretch and a new average."""
    assert move.explode
    assert not move.go
    assert (run.bad, run.cuts, run.origin) == (0, 1, run.step)
    assert tracking.stands(run)
    assert run.away_sq == run.away_product == run.weight_sum == 0.0
    assert move.weight == track(run, 1.0)[1].weight == 1.0


@pytest.mark.parametrize("bad", [np.inf, np.nan])
@np.errstate(all="ignore")
def test_bad_gradients_are_not_taken_and_many_in_a_row_explode(bad: float) -> None:
    run = under_way()
    steps = track(run, 1.0)[1].steps
    for _ in range(tracking.LONG_PATIENCE - 1):
        run, move, _ = track(run, bad)
        assert not move.go
        assert not move.explode
    after, move, _ = track(run, 1.0)
    assert move.go
    assert (after.bad, after.cuts) == (0, 0)
    assert 0.9 * steps < move.steps < steps  # they are fewer gradients than have been spent
    assert_exploded(*track(run, bad)[:2])


def test_a_burst_explodes_at_once() -> None:
    assert_exploded(*track(under_way(), 1e9)[:2])


def test_a_run_that_has_not_moved_waits() -> None:
    run = under_way()
    for _ in range(100):
        run, _, _ = track(run, np.nan)
    assert run.cuts == 1
    run, move, _ = track(run, 1e9)
    assert move.go


def test_without_a_displacement_the_guess_counts() -> None:
    run = tracking.begin(0, np.float64, np)
    _, move, _ = track(run, 4.0, start_sq=np.zeros(1), guess=0.25)
    assert move.steps == tracking.TRACKING * 0.25
    _, move, _ = track(run, 4.0, start_sq=np.ones(1), guess=0.25)
    assert move.steps == tracking.TRACKING / 2


def test_a_coordinate_alone_follows_the_rule_of_the_whole() -> None:
    rng, run, x, recent_sq = np.random.default_rng(0), tracking.begin(0, np.float64, np), 0.0, np.zeros(1)
    for _ in range(50):
        grad = 1.0 + 0.2 * rng.standard_normal()
        run, move, single = track(run, grad**2)
        recent_sq += single.share * (grad**2 - recent_sq)
        (step,) = tracking.coordinate_steps(single, np.asarray([x]), recent_sq, 1, np)
        ratio = tracking.COORDINATE_TRACKING / tracking.TRACKING
        assert step == pytest.approx(ratio * move.steps[0], rel=1e-12)
        x -= move.steps[0] * grad
        run, _ = tracking.moved(run, move, np.asarray([x * x]), np)


def test_a_coordinate_behind_the_others_counts_as_far_as_they() -> None:
    run, move, _ = track(tracking.begin(0, np.float64, np), 1.0)
    gaps, squares = (
        np.asarray([0.0, 0.0, 1e-3, 1.0, 1.0, 10.0]),
        np.asarray([100.0, 0.01, 1.0, 1.0, 1.0, 1.0]),
    )
    away_sq = np.sum(gaps**2)
    away = away_sq, np.sum(gaps**2 * squares)
    run, _ = tracking.moved(run, move, np.asarray([gaps @ gaps]), np, *away)
    _, _, single = track(run, 1.0, start_sq=np.zeros(1))
    steps = tracking.coordinate_steps(single, gaps, squares, 6, np)
    reach = np.maximum(gaps, tracking.TYPICAL * (away_sq / 6) ** 0.5 * np.minimum(1.0, squares**-0.5))
    np.testing.assert_allclose(steps / steps[-1], reach / squares**0.5 / gaps[-1])


@pytest.mark.parametrize("power", [-20, 7])
def test_coordinates_know_no_units(power: int) -> None:
    """x in units 2^power as large has gradients as much smaller, and steps 4^power as large."""
    unit, run = 2.0**power, tracking.begin(0, np.float64, np)
    _, _, single = track(run, 1.0)
    gap, square = np.asarray([3.0, -0.5]), np.asarray([2.0, 0.1])
    far = single._replace(start_sq=0.0, away_sq=1.0, away_product=1.0)
    steps = tracking.coordinate_steps(far, gap, square, 2, np)
    far = far._replace(away_sq=unit**2 * far.away_sq)
    scaled = tracking.coordinate_steps(far, gap * unit, square / unit**2, 2, np)
    np.testing.assert_array_equal(scaled, steps * unit**2)


def test_the_newest_gradient_is_counted_in_the_metric_in_which_it_moved() -> None:
    run = tracking.begin(0, np.float64, np)
    for grad_sq, metric_sq in [(1.0, 3.0), (2.0, 2.0), (0.5, 8.0)]:
        run, _, single = track(run, grad_sq)
        run = tracking.remeasured(run, single, np.asarray([grad_sq]), np.asarray([metric_sq]), np)
    plain = tracking.begin(0, np.float64, np)
    for metric_sq in (3.0, 2.0, 8.0):
        plain, _, _ = track(plain, metric_sq)
    assert run.recent_sq == pytest.approx(plain.recent_sq, rel=1e-12)


@pytest.mark.parametrize("metric_sq", [np.inf, np.nan])
def test_a_metric_that_overflows_counts_as_none(metric_sq: float) -> None:
    run, _, single = track(tracking.begin(0, np.float64, np), 4.0)
    again = tracking.remeasured(run, single, np.asarray([4.0]), np.asarray([metric_sq]), np)
    assert again.recent_sq == run.recent_sq


def measured_probe(noise: float, *, steps: int = 64, bad: int = 0) -> Run:
    """A probe of step size 1/8 with gradients of norm 1 in the mean, and of variance ``noise``."""
    draw, run, x = np.random.default_rng(0), tracking.begin(0, np.float64, np), np.zeros(50)
    for _ in range(steps):
        grad = np.full(50, 50**-0.5) + (noise / 50) ** 0.5 * draw.standard_normal(50)
        run, move = tracking.probe(
            run, np.asarray([grad @ grad]), None, np.True_, step_size=0.125, patience=2, xp=np
        )
        x -= 0.125 * grad
        run, _ = tracking.moved(run, move, np.asarray([x @ x]), np)
    return run._replace(bad=bad)


def test_a_probe_tells_how_much_of_its_gradients_is_noise() -> None:
    exact = tracking.noise_sq(measured_probe(0.0), 0.125, np)
    assert exact == pytest.approx(tracking.ROUNDING, rel=1e-6)
    assert tracking.noise_sq(measured_probe(0.005), 0.125, np) == pytest.approx(0.005, rel=0.1)
    assert tracking.noise_sq(measured_probe(0.1), 0.125, np) == np.inf
    assert tracking.noise_sq(measured_probe(0.0, bad=1), 0.125, np) == np.inf


def test_above_the_noise_steps_decay_and_weights_make_up_for_it() -> None:
    run, weights = tracking.begin(0, np.float64, np), []
    for age in range(20):
        noise_sq = 0.5 if age != 10 else 2.0  # of gradients of norm 1: explained once, and never again a kink
        run, move, single = track(run, 1.0, cap=1e-6, vouched=1e9, gamma=1.0, noise_sq=noise_sq)
        factor = 1 - age / 100 if age < 10 else 1.0
        assert move.steps[0] == pytest.approx(factor * 1e-6)
        assert single.factor == pytest.approx(factor)
        weights.append(move.weight)
    shares = 1 / np.where(np.arange(20) < 10, 1 - np.arange(20) / 100, 1.0)
    least = 1 / np.arange(1.0, 21.0)
    np.testing.assert_allclose(weights, np.maximum(shares / shares.cumsum(), least), rtol=1e-12)
