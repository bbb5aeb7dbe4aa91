"""The door for back ends: what is decided about a gradient, and what is recorded after the move."""

import itertools
from math import inf, nan
from typing import Any

import numpy as np
import pytest

import pfopt
from pfopt import options
from pfopt.core import controller, main_run, probe, step
from pfopt.core.arrays import Record
from pfopt.core.config import Config
from pfopt.core.records import Phase, Run, State
from pfopt.core.step import Measured, Moved
from tests.core.runs import fresh

CERTIFIED = options.configure(pfopt.Certified(), 100)
LAST = options.configure(pfopt.Certified(output="last"), 100)
PRACTICAL = options.configure(pfopt.Practical(), 1000)
BASED = options.configure(pfopt.Practical(), 1000, based=True)


def measured(
    grad_sq: Any = 4.0, *, loss: float | None = None, signal: bool = True, anchor_sq: float = 1.0
) -> Measured:
    grad_sq = np.float64(grad_sq) if np.ndim(grad_sq) == 0 else np.asarray(grad_sq)
    return Measured(grad_sq, loss, signal, np.float64(anchor_sq))


def begun(config: Config, initial_step: float | None = 0.5, **fields: Any) -> State:
    return controller.init(config, 0, np, initial_step)._replace(**fields)


def in_main_run(config: Config = PRACTICAL, scopes: int = 0, **fields: Any) -> State:
    state = controller.init(config, scopes, np, 0.5)
    distance_sq = np.full(1 + scopes, 9.0) if scopes else np.float64(9.0)
    bracket = state.bracket._replace(has_lo=True, lo_distance_sq=distance_sq)
    return state._replace(phase=Phase.MAIN, run_length=100, bracket=bracket, **fields)


def test_which_gradients_count() -> None:
    for config, has_step, signal, phase, spent in itertools.product(
        (CERTIFIED, PRACTICAL), (False, True), (False, True), Phase, (0, 24, 25)
    ):
        if config.certified and phase == Phase.MAIN:
            continue
        state = begun(config, 0.5 if has_step else None, phase=phase, run_length=25)
        run = fresh()._replace(step=spent)
        after, counted, decision = step.decide(config, state, run, measured(4.0 * signal, signal=signal))
        counts = (has_step or signal) and phase != Phase.DONE and spent < 25
        assert counted.step == spent + counts
        assert decision.taken == counts
        assert after.has_initial_step == (has_step or (counts and signal))


@pytest.mark.parametrize(("config", "share"), [(CERTIFIED, 2.0**-20), (LAST, 2.0**-20), (PRACTICAL, 2.0**-8)])
@pytest.mark.parametrize("grad_sq", [4.0, 0.25])
@pytest.mark.parametrize(("anchor_sq", "size"), [(36.0, 6.0), (0.25, 0.5), (0.0, 1.0)])
def test_the_first_gradient_with_signal_fixes_the_initial_step(
    config: Config, share: float, anchor_sq: float, size: float, grad_sq: float
) -> None:
    """It goes the stated fraction of ‖x_0‖, or of 1 from the origin."""
    state, run = begun(config, None), fresh()
    for useless in (0.0, nan, inf):
        for signal in (False, True):
            gradient = measured(useless, signal=signal, anchor_sq=anchor_sq)
            state, run, _ = step.decide(config, state, run, gradient)
            assert (state.initial_step, state.has_initial_step) == (0.0, False)
    state, run, decision = step.decide(config, state, run, measured(grad_sq, anchor_sq=anchor_sq))
    assert state.initial_step == share * size / grad_sq**0.5
    assert state.has_initial_step
    if config.certified:  # the practical plan's first probe is at the guess itself
        assert decision.step_sizes == 16 * state.initial_step * probe.decay(config, 3, 25)
    else:
        assert decision.step_sizes == state.initial_step
    again, _, _ = step.decide(config, state, run, measured(400.0, anchor_sq=1e9))
    assert again == state


def test_an_initial_step_that_was_chosen_stays() -> None:
    state, _, _ = step.decide(PRACTICAL, begun(PRACTICAL, 0.125), fresh(), measured())
    assert state.initial_step == 0.125


def test_an_initial_step_that_an_earlier_search_found_is_fixed_as_it_is() -> None:
    state = controller.started_from(begun(PRACTICAL, None), 0.125)
    assert not state.has_initial_step
    waiting, run, _ = step.decide(PRACTICAL, state, fresh(), measured(0.0, signal=False))
    assert waiting == state
    state, _, decision = step.decide(PRACTICAL, waiting, run, measured(4.0, anchor_sq=36.0))
    assert (state.initial_step, state.has_initial_step) == (0.125, True)
    assert (state.bracket.k, decision.step_sizes) == (1, 0.125)


def test_a_zero_gradient_among_others_counts_and_fixes_nothing() -> None:
    state, run, decision = step.decide(PRACTICAL, begun(PRACTICAL, None), fresh(), measured(0.0))
    assert run.step == 1
    assert decision.taken
    assert not state.has_initial_step


@pytest.mark.parametrize("config", [CERTIFIED, LAST, PRACTICAL])
@pytest.mark.parametrize("scopes", [0, 2])
def test_a_probe_moves_every_scope_by_the_step_size_under_test(config: Config, scopes: int) -> None:
    state = controller.init(config, scopes, np, 0.5)
    state = state._replace(bracket=state.bracket._replace(exponent=3), run_length=4)
    run = fresh(scopes)
    assert step.probe_step_size(state) == 4.0
    for count in range(4):
        grad_sq = [4.0, 3.0, 1.0][: 1 + scopes] if scopes else 4.0
        before = run._replace(distance_sq=run.distance_sq + (count > 0))
        same, run, decision = step.decide(config, state, before, measured(grad_sq))
        assert same is state
        factor = 1 - (count + 1) / 4 if config is LAST else 1.0
        np.testing.assert_array_equal(decision.step_sizes, np.full(np.shape(grad_sq), 4.0 * factor))
        assert decision.average_weight == 1 / (count + 1)
        assert (decision.taken, decision.restart, decision.moving) == (True, False, count > 0)
        assert decision.measured
        assert decision.beta == decision.next_beta == 0.0
        assert decision.coordinate_rule is None
        assert run.step == count + 1
        assert type(decision.measured) is bool
        for number in (decision.average_weight, decision.beta, decision.next_beta):
            assert isinstance(number, float)
        assert decision.step_sizes.dtype == np.float64


@pytest.mark.parametrize(("config", "returns"), [(PRACTICAL, True), (BASED, True), (CERTIFIED, False)])
def test_a_probe_that_is_over_goes_back_to_the_anchor(config: Config, returns: bool) -> None:
    _, run, decision = step.decide(config, begun(config), fresh()._replace(frozen=True), measured(1.0))
    assert run.frozen
    assert (decision.taken, decision.restart) == (False, returns)


def test_a_loss_that_is_not_finite_is_not_taken() -> None:
    for state in (begun(PRACTICAL), in_main_run()):
        _, run, decision = step.decide(PRACTICAL, state, fresh(), measured(4.0, loss=nan))
        assert not decision.taken
        assert run.nonfinite_in_a_row == (state.phase == Phase.SEARCH)  # a main run that has not moved waits


def test_after_the_search_the_main_run_decides() -> None:
    state, run, gradient = in_main_run(), fresh(), measured(4.0, loss=1.0)
    _, *found = step.decide(PRACTICAL, state, run, gradient)
    assert tuple(found) == main_run.take_gradient(PRACTICAL, state, run, gradient.grad_sq, 1.0, True)


def traced(record: Record) -> Record:
    """The same record in arrays, as tracing has it: neither phase can be told from the other."""
    if isinstance(record, tuple):
        return type(record)(*map(traced, record))  # type: ignore[call-arg]
    return record if record is None else np.asarray(record)


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("grad_sq", [4.0, nan])
def test_a_traced_state_computes_both_kinds_of_run_and_chooses(phase: Phase, grad_sq: float) -> None:
    state = in_main_run(scopes=1)._replace(phase=phase)
    run = fresh(1)._replace(step=3, distance_sq=np.asarray([4.0, 1.0]), weight_sum=np.float64(2.0))
    gradient = measured([grad_sq, 1.0])
    host_state, host_run, host = step.decide(PRACTICAL, state, run, gradient)
    found_state, found_run, found = step.decide(PRACTICAL, traced(state), traced(run), traced(gradient))
    assert found.coordinate_rule is not None
    if phase == Phase.SEARCH:
        host = host._replace(coordinate_rule=None)
        found = found._replace(coordinate_rule=None)
    for a, b in ((host_state, found_state), (host_run, found_run), (host, found)):
        for name, one, other in zip(a._fields, flattened(a), flattened(b), strict=True):
            np.testing.assert_array_equal(one, other, err_msg=name)


def flattened(record: Record) -> list[Any]:
    """Fields, records within as lists of theirs."""
    return [
        np.concatenate([np.ravel(x) for x in field]) if isinstance(field, tuple) else field
        for field in record
    ]


# known_step_sizes


def test_no_step_size_is_known_before_the_first_gradient() -> None:
    for config in (LAST, BASED):
        assert step.known_step_sizes(config, begun(config, None), fresh()) is None


@pytest.mark.parametrize("config", [CERTIFIED, LAST, BASED])
@pytest.mark.parametrize("scopes", [0, 2])
def test_those_of_a_probe_are_known(config: Config, scopes: int) -> None:
    state, run = controller.init(config, scopes, np, 0.5)._replace(run_length=4), fresh(scopes)
    for _ in range(4):
        known = step.known_step_sizes(config, state, run)
        _, run, decision = step.decide(config, state, run, measured(np.ones(1 + scopes) if scopes else 1.0))
        assert known is not None
        np.testing.assert_array_equal(known, decision.step_sizes)
        assert np.shape(known) == ((1 + scopes,) if scopes else ())


@pytest.mark.parametrize("scopes", [0, 2])
def test_those_of_a_main_run_are_known_after_its_first_gradient(scopes: int) -> None:
    state, run, found = in_main_run(BASED, scopes), fresh(scopes), []
    for grad_sq in (4.0, nan, 1.0, 9.0):
        known = step.known_step_sizes(BASED, state, run)
        gradient = measured(np.full(1 + scopes, grad_sq) if scopes else grad_sq)
        _, run, decision = step.decide(BASED, state, run, gradient)
        found.append(known is not None)
        if known is not None:
            np.testing.assert_array_equal(known, decision.step_sizes)
    assert found == [False, True, True, True]


def test_no_step_size_is_known_of_a_run_whose_steps_do_not_lag() -> None:
    _, run, _ = step.decide(PRACTICAL, in_main_run(), fresh(), measured(4.0))
    assert step.known_step_sizes(PRACTICAL, in_main_run(), run) is None


# record


def decided(run: Run, grad_sq: Any = 4.0, scopes: int = 0) -> tuple[Run, main_run.Decision]:
    _, run, decision = step.decide(PRACTICAL, in_main_run(scopes=scopes), run, measured(grad_sq))
    return run, decision


def test_a_move_is_recorded_in_its_metric() -> None:
    run, decision = decided(fresh(), 4.0)
    moved = Moved(np.float64(2.0), np.float64(5.0), np.float64(3.0), np.float64(7.0))
    after, kept = step.record(run, decision, measured(4.0), moved)
    assert kept
    assert after == run._replace(
        mean_grad_sq=5.0, distance_sq=2.0, displacement_sq=3.0, displacement_product=7.0
    )


def test_where_no_coordinate_has_a_step_only_the_distance_is_recorded() -> None:
    run, decision = decided(fresh(), 4.0)
    after, kept = step.record(run, decision, measured(4.0), Moved(np.float64(2.0)))
    assert kept
    assert after == run._replace(distance_sq=2.0)


def test_where_nothing_was_measured_only_the_gradient_is_recorded() -> None:
    before = fresh()._replace(displacement_sq=1.5, displacement_product=2.5)
    run, decision = decided(before, 4.0)
    after, kept = step.record(run, decision, measured(4.0), Moved(None, np.float64(5.0)))
    assert kept is False
    assert after == run._replace(mean_grad_sq=5.0)
    assert step.record(run, decision, measured(4.0), Moved(None)) == (run, False)


@pytest.mark.parametrize("distance_sq", [2.0, inf])
def test_what_was_not_to_be_measured_is_not_recorded(distance_sq: float) -> None:
    """A program that is traced measures at every gradient, or hands over what is left from the last time."""
    run, decision = decided(fresh()._replace(displacement_sq=1.5, displacement_product=2.5), 4.0)
    moved = Moved(np.float64(distance_sq), np.float64(5.0), np.float64(3.0), np.float64(7.0))
    after, kept = step.record(run, decision._replace(measured=False), measured(4.0), moved)
    assert not kept
    assert after == run._replace(mean_grad_sq=5.0)


@pytest.mark.parametrize("distance_sq", [inf, nan])
def test_a_move_that_overflows_is_not_made(distance_sq: float) -> None:
    run, decision = decided(fresh()._replace(displacement_sq=1.5, displacement_product=2.5), 4.0)
    moved = Moved(np.float64(distance_sq), np.float64(5.0), np.float64(inf), np.float64(inf))
    after, kept = step.record(run, decision, measured(4.0), moved)
    assert not kept
    assert after == run._replace(mean_grad_sq=5.0, frozen=True)


def test_a_gradient_left_out_moves_nothing() -> None:
    run, decision = decided(fresh()._replace(distance_sq=np.float64(1.0)), nan)
    moved = Moved(np.float64(2.0), np.float64(5.0), np.float64(3.0), np.float64(7.0))
    after, kept = step.record(run, decision, measured(nan), moved)
    assert not kept
    assert after == run


def test_scopes_are_recorded() -> None:
    run, decision = decided(fresh(1), [4.0, 3.0], scopes=1)
    moved = Moved(np.asarray([2.0, 1.0]), np.asarray([5.0, 3.5]), np.float64(3.0), np.float64(7.0))
    after, kept = step.record(run, decision, measured([4.0, 3.0]), moved)
    assert kept
    np.testing.assert_array_equal(after.distance_sq, [2.0, 1.0])
    np.testing.assert_array_equal(after.mean_grad_sq, [5.0, 3.5])
    assert after.mean_grad_sq.dtype == np.float64


def test_what_is_foreseen_is_the_decision_about_a_gradient_of_the_mean_norm() -> None:
    state = in_main_run(scopes=2)
    run = fresh(2)._replace(
        step=9, mean_grad_sq=np.array([4.0, 3.0, 0.0]), grad_sq_sum=np.array([36.0, 27.0, 0.0])
    )
    foreseen = step.foresee(PRACTICAL, state, run)
    _, _, decision = step.decide(PRACTICAL, state, run, measured([4.0, 3.0, 4.0]))
    for found, expected in zip(foreseen, decision, strict=True):
        np.testing.assert_array_equal(found, expected)
    assert foreseen.taken
    assert foreseen.step_sizes.all()


def test_nothing_is_foreseen_at_the_first_gradients() -> None:
    for state in (begun(PRACTICAL, None), in_main_run()):
        foreseen = step.foresee(PRACTICAL, state, fresh())
        assert not foreseen.taken
        assert foreseen.step_sizes == 0
    assert step.foresee(PRACTICAL, begun(PRACTICAL), fresh()).step_sizes == 0.5  # of a probe


def test_around_a_base_the_known_step_sizes_are_foreseen() -> None:
    run = fresh()._replace(step=1, mean_grad_sq=np.float64(4.0), next_step_sizes=np.float64(0.125))
    assert step.foresee(BASED, in_main_run(BASED), run).step_sizes == 0.125
