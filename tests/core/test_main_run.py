"""One gradient of the main run, in the order of its listing."""

from math import inf, nan
from typing import Any, NamedTuple

import numpy as np
import pytest

import pfopt
from pfopt import options
from pfopt.core import controller, main_run, step_size
from pfopt.core.config import Config
from pfopt.core.faults import MAIN_PATIENCE
from pfopt.core.main_run import Decision
from pfopt.core.records import Phase, Run, State
from pfopt.core.run import has_moved, record_distance
from tests.core.runs import fresh

LENGTH, PROBE = 100, 16


class Setting(NamedTuple):
    """A main run: the configuration and what the search has left."""

    config: Config
    state: State

    def take(
        self, run: Run, grad_sq: Any, loss: float | None = None, counts: bool = True
    ) -> tuple[Run, Decision]:
        """One gradient, with ‖g‖² of the whole or of all scopes."""
        grad_sq = np.float64(grad_sq) if np.ndim(grad_sq) == 0 else np.asarray(grad_sq)
        return main_run.take_gradient(self.config, self.state, run, grad_sq, loss, counts)

    def move(self, run: Run, decision: Decision, distance_sq: Any) -> Run:
        """After a move of the whole to that distance."""
        return record_distance(run, decision.taken, np.float64(distance_sq))[0]


def setting(
    plan: pfopt.Practical | None = None,
    *,
    scopes: int = 0,
    cap: float = 2.0**100,
    start_sq: Any = 1.0,
    initial_step: float | None = None,
    noise_sq: float | None = None,
    probe_length: float = PROBE,
    based: bool = False,
    **constants: float,
) -> Setting:
    """By default the cap never binds, the search's probe came 1 far, and nothing is known of the noise."""
    config = options.configure(plan or pfopt.Practical(), 1000, based=based)
    config = config._replace(constants=config.constants._replace(**constants))
    state = controller.init(config, scopes, np, cap if initial_step is None else initial_step)
    start_sq = np.float64(start_sq) if np.ndim(start_sq) == 0 else np.asarray(start_sq)
    return Setting(
        config,
        state._replace(
            phase=Phase.MAIN,
            run_length=LENGTH,
            probe_length=probe_length,
            bracket=state.bracket._replace(has_lo=True, lo_distance_sq=start_sq),
            noise_known=noise_sq is not None,
            noise_sq=noise_sq or 0.0,
        ),
    )


def bounded(plan: pfopt.Practical | None = None, **changes: Any) -> Setting:
    """A cap that always binds, and that no certificate raises."""
    return setting(plan, cap=1e-6, probe_length=10**9, **changes)


# 1 faults


def under_way(made: Setting) -> Run:
    """A run after 31 gradients of norm 1, at distance 1."""
    run = fresh()
    for _ in range(31):
        run, decision = made.take(run, 1.0)
        run = made.move(run, decision, 1.0)._replace(
            displacement_sq=np.float64(1.0), displacement_product=np.float64(1.0)
        )
    return run


def assert_restarted(run: Run, decision: Decision, restarts: int) -> None:
    """The run and its average begin anew."""
    assert decision.restart
    assert not decision.taken
    assert (run.nonfinite_in_a_row, run.restarts, run.restart_step) == (0, restarts, run.step)
    assert not has_moved(run)
    assert run.displacement_sq == run.displacement_product == run.weight_sum == run.mean_grad_sq == 0.0
    assert decision.average_weight == 1.0
    rule = decision.coordinate_rule
    assert rule is not None
    assert rule.square_weight == rule.product == 0.0
    assert rule.most == rule.least > 0.0  # of which no displacement is a part


@pytest.mark.parametrize("bad", [inf, nan])
def test_bad_gradients_are_not_taken_and_many_in_a_row_restart(bad: float) -> None:
    made = setting()
    run = under_way(made)
    step = made.take(run, 1.0)[1].step_sizes
    for count in range(1, MAIN_PATIENCE):
        before, (run, decision) = run, made.take(run, bad)
        assert not decision.taken
        assert not decision.restart
        assert decision.average_weight == 0.0
        assert run == before._replace(step=before.step + 1, nonfinite_in_a_row=count)
    after, decision = made.take(run, 1.0)
    assert decision.taken
    assert (after.nonfinite_in_a_row, after.restarts) == (0, 0)
    assert 0.9 * step < decision.step_sizes < step  # they are fewer gradients than have been spent
    assert_restarted(*made.take(run, bad), restarts=1)


def test_a_loss_that_is_not_finite_is_a_bad_gradient() -> None:
    made = setting()
    run = under_way(made)
    assert made.take(run, 1.0, loss=2.0)[1].taken
    after, decision = made.take(run, 1.0, loss=nan)
    assert not decision.taken
    assert after.nonfinite_in_a_row == 1


def test_a_burst_restarts_at_once() -> None:
    made = setting(burst=50.0)
    run = under_way(made)
    assert made.take(run, 49.0)[1].taken
    assert_restarted(*made.take(run, 51.0), restarts=1)


def test_a_move_that_overflows_restarts_with_the_next_gradient() -> None:
    made = setting()
    run, decision = made.take(under_way(made), 1.0)
    run = made.move(run, decision, inf)
    assert_restarted(*made.take(run, 1.0), restarts=1)


def test_a_run_that_has_not_moved_waits() -> None:
    made = setting()
    run = under_way(made)
    for _ in range(100):
        run, _ = made.take(run, nan)
    assert run.restarts == 1
    run, decision = made.take(run, 1e9)
    assert decision.taken


def test_what_does_not_count_changes_nothing() -> None:
    made = setting()
    run = under_way(made)
    after, decision = made.take(run, 3.0, counts=False)
    assert after == run
    assert not (decision.taken | decision.restart)
    assert decision.average_weight == 0.0
    assert decision.coordinate_rule is not None
    assert decision.coordinate_rule.square_weight == 0.0


def test_a_restart_divides_the_cap_by_four_and_the_distance_by_two() -> None:
    for restarts in range(4):
        run = fresh()._replace(restarts=restarts)
        capped, free = bounded(), setting(start_sq=9.0)
        assert capped.take(run, 1.0)[1].step_sizes == pytest.approx(1e-6 / 4**restarts)
        _, decision = free.take(run, 1.0)
        assert decision.step_sizes == 1.25 * 3.0 / 2**restarts
        assert decision.coordinate_rule is not None
        assert decision.coordinate_rule.least == 9.0 / 4**restarts


# 2 to 4: moments, distance, step


def test_the_step_is_the_distance_over_the_root_of_weighted_squares() -> None:
    """c r/√(n m), m the mean with weights i (i + 1) (i + 2); k counts 0.3 S where m has forgotten."""
    made, run, growth, squares = setting(), fresh(), 1.0, [4.0, 1.0, 9.0, *[1e-4] * 20]
    for n, grad_sq in enumerate(squares, 1):
        run, decision = made.take(run, grad_sq)
        mean = np.average(squares[:n], weights=[i * (i + 1) * (i + 2) for i in range(1, n + 1)])
        assert run.mean_grad_sq == pytest.approx(mean, rel=1e-12)
        assert run.grad_sq_sum == pytest.approx(sum(squares[:n]), rel=1e-12)
        assert decision.step_sizes == pytest.approx(1.25 * max(1.0, n - 1) / (n * mean) ** 0.5, rel=1e-12)
        rule = decision.coordinate_rule
        assert rule is not None
        assert rule.square_weight == 4 / (n + 3)
        growth = max(1.0, 0.3 * sum(squares[:n]) / (n * mean))
        assert rule.scale_sq == pytest.approx(0.25 / (n * growth), rel=1e-12)
        run = made.move(run, decision, float(n) ** 2)
    assert growth > 1.0


def test_scopes_track_alone() -> None:
    made = setting(scopes=2, start_sq=[9.0, 0.0, 4.0])
    run, decision = made.take(fresh(2), [4.0, 1.0, 0.0])
    np.testing.assert_allclose(decision.step_sizes, [1.25 * 3.0 / 2.0, 3.0, 2.0], rtol=1e-15)
    assert decision.average_weight == 1.0
    np.testing.assert_array_equal(run.mean_grad_sq, [4.0, 1.0, 0.0])
    rule = decision.coordinate_rule
    assert rule is not None
    assert (rule.least, rule.scale_sq) == (9.0, 0.25)
    run, _ = record_distance(run, decision.taken, np.asarray([25.0, 16.0, 1.0]))
    _, decision = made.take(run, [4.0, 1.0, 0.0])
    np.testing.assert_allclose(
        decision.step_sizes, np.asarray([1.25 * 5.0 / 2.0, 4.0, 2.0]) / [2**0.5, 2**0.5, 1.0]
    )


def test_the_cap_bounds_what_the_certificate_does_not_raise() -> None:
    """min(track, max(cap, min(certified, cap (n−1)/N)))."""
    made, run, bound = setting(cap=1e-3, probe_length=4), fresh(), 0.0
    for n in range(1, 40):
        run, decision = made.take(run, 1.0)
        bound = max(1e-3, min((1 / (1.5 * n)) ** 0.5, 1e-3 * (n - 1) / 4))
        assert decision.step_sizes == pytest.approx(bound, rel=1e-12)
        run = made.move(run, decision, 1.0)
    assert bound > 5e-3


def test_a_certificate_does_not_forget_that_gradients_were_large() -> None:
    made, run, sum_sq, step = setting(cap=1e-6, probe_length=1e-9), fresh(), 0.0, inf
    for count in range(200):
        sum_sq += 0.9**count
        run, decision = made.take(run, 0.9**count)
        step = decision.step_sizes
        assert step**2 * 1.5 * 0.3 * sum_sq <= 1 + 1e-12
    assert 0.5 * step < (1.5 * 0.3 * sum_sq) ** -0.5
    assert step > 1e-2


def test_without_a_displacement_the_initial_step_counts() -> None:
    made = setting(start_sq=0.0, initial_step=0.25)
    made = made._replace(state=made.state._replace(cap_exponent=100))
    _, decision = made.take(fresh(), 4.0)
    assert decision.step_sizes == 1.25 * 0.25
    assert decision.coordinate_rule is not None
    assert decision.coordinate_rule.least == 0.25**2 * 4.0
    _, unmoved = made.take(fresh(), nan)
    assert unmoved.coordinate_rule is not None
    assert unmoved.coordinate_rule.least == 0.0


def test_everything_stays_finite_where_gradients_vanish() -> None:
    made, run = setting(), fresh()
    for count in range(700):
        run, decision = made.take(run, 4.0**-count if count < 600 else 0.0)
        rule = decision.coordinate_rule
        assert rule is not None
        assert 0 <= decision.average_weight <= 1
        assert np.isfinite([run.weight_sum, decision.step_sizes]).all()
        assert 0 < rule.scale_sq <= 0.25 / (count + 1)


# 5 coordinate


def test_a_coordinate_alone_follows_the_rule_of_the_whole() -> None:
    made, draw, run, x, mean_square = setting(), np.random.default_rng(0), fresh(), 0.0, np.zeros(1)
    for _ in range(50):
        grad = 1.0 + 0.2 * draw.standard_normal()
        run, decision = made.take(run, grad**2)
        rule = decision.coordinate_rule
        assert rule is not None
        mean_square += rule.square_weight * (grad**2 - mean_square)
        (step,) = step_size.coordinate_steps(rule, np.asarray([x]), mean_square, 1)
        assert step == pytest.approx(0.5 / 1.25 * decision.step_sizes, rel=1e-12)
        x -= decision.step_sizes * grad
        run = made.move(run, decision, x * x)


def test_coordinates_know_the_displacements_that_were_measured_last() -> None:
    """lag² Σd² = 4 · 9 and, n k being 2, lag² Σd² m/scale² = 4 · 5/(¼/2)."""
    made = setting(start_sq=2.0)
    run, decision = made.take(fresh(), 1.0)
    run = made.move(run, decision, 1.0)._replace(
        displacement_sq=np.float64(9.0), displacement_product=np.float64(5.0)
    )
    _, decision = made.take(run, 1.0)
    assert decision.coordinate_rule == (4 / 5, 0.125, 2.0, 36.0, 160.0)


# 6 anneal


@pytest.mark.parametrize("based", [False, True])
def test_steps_decay_where_the_plan_says_so_and_weights_know_nothing_of_it(based: bool) -> None:
    decaying = bounded(pfopt.Practical(anneal="linear"), based=based, head_start=1.0, average_gamma=0.5)
    constant = bounded()
    run = fresh()._replace(restarts=0, restart_step=7, step=7)
    for count in range(5):
        _, flat = constant.take(run, 1.0)
        run, decision = decaying.take(run, 1.0)
        factor = 1 - count / (LENGTH - 7)
        assert flat.step_sizes == pytest.approx(1e-6, rel=1e-12)
        step = run.next_step_sizes if based else decision.step_sizes
        assert step == pytest.approx(factor * 1e-6, rel=1e-12)
        assert decision.coordinate_rule is not None
        assert decision.coordinate_rule.scale_sq == pytest.approx((factor / 2) ** 2 / (count + 1), rel=1e-12)
        assert decision.average_weight == flat.average_weight


def test_at_a_kink_steps_decay_and_weights_make_up_for_it() -> None:
    """Gradients of norm 1 above the noise decay; below it once, and it was never a kink."""
    run, weights = fresh(), []
    for count in range(20):
        made = bounded(noise_sq=2.0 if count == 10 else 0.5, average_gamma=1.0)
        run, decision = made.take(run, 1.0)
        factor = 1 - count / LENGTH if count < 10 else 1.0
        assert decision.step_sizes == pytest.approx(factor * 1e-6, rel=1e-12)
        assert decision.coordinate_rule is not None
        assert decision.coordinate_rule.scale_sq == pytest.approx((factor / 2) ** 2 / (count + 1), rel=1e-12)
        assert run.at_kink == (count < 10)
        weights.append(decision.average_weight)
    factors = np.where(np.arange(20) < 10, 1 - np.arange(20) / LENGTH, 1.0)
    shares = 1 / factors / np.cumsum(1 / factors)
    np.testing.assert_allclose(weights, np.maximum(shares, 1 / np.arange(1.0, 21.0)), rtol=1e-12)


def test_after_a_restart_it_may_be_a_kink_again() -> None:
    made = setting(noise_sq=0.5)
    run = under_way(made)._replace(at_kink=False)
    run, decision = made.take(run, 1e9)
    assert decision.restart
    assert run.at_kink


def test_gradients_as_large_as_their_noise_are_at_no_kink() -> None:
    assert not setting(noise_sq=1.0).take(fresh(), 1.0)[0].at_kink
    assert setting(noise_sq=1.0).take(fresh(), 1.0000001)[0].at_kink


def test_without_a_known_noise_there_is_no_kink() -> None:
    run, _ = setting().take(fresh(), 1.0)
    assert not run.at_kink


# 8 average


@pytest.mark.parametrize("gamma", [0.0, 1.0, 3.0])
def test_weights_are_distances_over_latest_gradients_times_powers(gamma: float) -> None:
    made, run, sizes = bounded(average_gamma=gamma), fresh(), []
    squares = np.geomspace(1.0, 0.5, 20)
    for n, grad_sq in enumerate(squares, 1):
        run, decision = made.take(run, grad_sq)
        latest = np.average(
            squares[:n], weights=[np.prod(np.arange(float(i), i + 8)) for i in range(1, n + 1)]
        )
        assert run.latest_grad_sq == pytest.approx(latest, rel=1e-12)
        sizes.append(max(1.0, n - 1) ** 2 * n ** (gamma - 1) / latest)
        assert decision.average_weight == pytest.approx(
            max(sizes[-1] / sum(sizes), gamma / (n - 1 + gamma or 1))
        )
        assert run.weight_sum == pytest.approx(sum(sizes))
        run = made.move(run, decision, float(n) ** 2)


@pytest.mark.parametrize("gamma", [0.5, 3.0])
def test_larger_gradients_weigh_as_those_before(gamma: float) -> None:
    made, run = setting(average_gamma=gamma), fresh()
    for count in range(200):
        run, decision = made.take(run, 1.05**count)
        least = gamma / (count + gamma)
        assert decision.average_weight >= least
        if count > 100:
            assert decision.average_weight == pytest.approx(least, rel=1e-12)


def test_a_gradient_left_out_has_no_weight() -> None:
    made = setting()
    run = under_way(made)
    after, decision = made.take(run, inf)
    assert after.weight_sum == run.weight_sum
    assert decision.average_weight == 0.0


def test_gradients_are_taken_between_iterate_and_average() -> None:
    made, run = setting(beta=0.5, last_beta=0.75, rise=0.5), fresh()
    expected = [0.5] * 51 + [0.5 + 0.25 * count / 50 for count in range(1, 51)]
    for count in range(LENGTH):
        run, decision = made.take(run, 1.0)
        assert decision.beta == pytest.approx(expected[count], rel=1e-14)
        assert decision.next_beta == pytest.approx(expected[count + 1], rel=1e-14)
    assert run.step == LENGTH


@pytest.mark.parametrize("plan", [pfopt.Practical(anneal="linear"), pfopt.Practical(anneal="averaging")])
def test_around_a_base_and_where_steps_decay_they_are_taken_at_the_iterate(plan: pfopt.Practical) -> None:
    _, decision = setting(plan, based=plan.anneal == "averaging").take(fresh(), 1.0)
    assert decision.beta == decision.next_beta == 0.0


# a step that lags


def test_around_a_base_the_step_is_that_of_the_gradient_before() -> None:
    lagging, own = setting(based=True), setting()
    own = own._replace(config=lagging.config._replace(lags=False))
    run, last = fresh(), None
    for n in range(1, 6):
        grad_sq = 2.0**n
        _, at_once = own.take(run, grad_sq)
        run, decision = lagging.take(run, grad_sq)
        assert decision.step_sizes == (at_once.step_sizes if last is None else last)
        assert run.next_step_sizes == at_once.step_sizes != last
        last = at_once.step_sizes
        run = lagging.move(run, decision, float(n))


def test_only_around_a_base_a_step_lags() -> None:
    made = setting()
    run = under_way(made)
    assert run.next_step_sizes == 0.0
    left = run._replace(next_step_sizes=np.float64(7.0))
    after, decision = made.take(left, 1.0)
    assert after.next_step_sizes == 7.0
    assert decision.step_sizes == made.take(run, 1.0)[1].step_sizes


def test_scopes_lag_together_once_the_whole_has_a_step() -> None:
    """Of a tensor, a step of 0 is as good as any: its gradients vanish."""
    made = setting(scopes=2, start_sq=[9.0, 4.0, 1.0], based=True, head_start=1.0)
    run, first = made.take(fresh(2), [4.0, 1.0, 1.0])
    np.testing.assert_array_equal(
        first.step_sizes, [2 * 1.5, 1.5, 0.75]
    )  # 2 and 1, in doublings of the whole's
    np.testing.assert_array_equal(run.next_step_sizes, first.step_sizes)
    zeros = run._replace(next_step_sizes=np.asarray([0.5, 0.0, 0.25]))
    np.testing.assert_array_equal(made.take(zeros, [4.0, 1.0, 1.0])[1].step_sizes, [0.5, 0.0, 0.25])


@pytest.mark.parametrize(("grad_sq", "counts"), [(nan, True), (inf, True), (3.0, False)])
def test_what_a_gradient_left_out_would_have_decided_is_not_kept(grad_sq: float, counts: bool) -> None:
    made = setting(based=True)
    run = under_way(made)
    after, decision = made.take(run, grad_sq, counts=counts)
    assert not decision.taken
    assert after.next_step_sizes == run.next_step_sizes > 0.0
    after, decision = made.take(after, 1.0)
    assert decision.step_sizes == run.next_step_sizes != after.next_step_sizes


def test_after_a_restart_the_step_is_its_own_again() -> None:
    made = setting(based=True, head_start=1.0)
    run, decision = made.take(under_way(made), 1e9)
    assert decision.restart
    assert run.next_step_sizes == 0.0
    after, decision = made.take(run, 4.0)
    assert decision.step_sizes == after.next_step_sizes == pytest.approx(2 * 0.5 / 2.0, rel=1e-15)
    _, decision = made.take(made.move(after, decision, 0.25), 4.0)
    assert decision.step_sizes == after.next_step_sizes


# 9 record


def measured_of(made: Setting, run: Run, count: int) -> list[int]:
    """Which of so many gradients are measured, from 1."""
    found = []
    for n in range(1, count + 1):
        run, decision = made.take(run, 1.0)
        assert decision.taken
        if decision.measured:
            found.append(n)
        run = made.move(run, decision, 1.0)
    return found


def test_the_first_gradients_and_then_one_in_sixteen_are_measured() -> None:
    assert measured_of(setting(), fresh(), 90) == [*range(1, 33), 33, 49, 65, 81]
    assert measured_of(setting(measured_first=3, measured_every=5), fresh(), 22) == [1, 2, 3, 6, 11, 16, 21]


def test_which_are_measured_counts_from_the_last_restart() -> None:
    made = setting()
    run, decision = made.take(under_way(made), 1e9)
    assert decision.restart
    assert run.step == 32
    assert measured_of(made, run, 60) == [*range(1, 33), 33, 49]


def test_around_a_base_all_are_measured() -> None:
    assert measured_of(setting(based=True), fresh(), 70) == [*range(1, 71)]


def test_momentum_is_told_whether_the_run_has_moved() -> None:
    made = setting()
    assert not made.take(fresh(), 1.0)[1].moving
    assert made.take(under_way(made), 1.0)[1].moving
    assert made.take(under_way(made), 1e9)[1].moving  # it had, when it restarts


def test_the_newest_gradient_is_counted_in_the_metric_in_which_it_moved() -> None:
    made = setting()
    run, plain = fresh(), fresh()
    for grad_sq, metric_sq in ((1.0, 3.0), (2.0, 2.0), (0.5, 8.0)):
        run, decision = made.take(run, grad_sq)
        run = main_run.record(run, decision, np.float64(grad_sq), np.float64(metric_sq))
        plain, _ = made.take(plain, metric_sq)
        assert run.mean_grad_sq == pytest.approx(plain.mean_grad_sq, rel=1e-12)
    assert run.grad_sq_sum == 3.5


@pytest.mark.parametrize("metric_sq", [inf, nan])
def test_a_metric_that_overflows_counts_as_none(metric_sq: float) -> None:
    run, decision = setting().take(fresh(), 4.0)
    assert main_run.record(run, decision, np.float64(4.0), np.float64(metric_sq)) == run
    run, decision = setting(scopes=1, start_sq=[1.0, 1.0]).take(fresh(1), [4.0, 3.0])
    after = main_run.record(run, decision, np.asarray([4.0, 3.0]), np.asarray([metric_sq, 5.0]))
    np.testing.assert_array_equal(after.mean_grad_sq, [4.0, 5.0])
    assert after.mean_grad_sq.dtype == np.float64


def test_a_gradient_left_out_is_not_recorded() -> None:
    made = setting()
    run, decision = made.take(under_way(made), nan)
    assert main_run.record(run, decision, np.float64(nan), np.float64(9.0)) == run
