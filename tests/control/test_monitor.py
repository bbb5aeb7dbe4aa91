"""What a monitor says of runs whose truth is known, and what it refuses."""

import json
import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pfopt import ProbeRecord, Status
from pfopt.control import Kind, Monitor, noise_of_probes
from pfopt.control.noise import likeness

Curve = Callable[[int], float]


def watch(
    monitor: Monitor, steps: range, loss: Curve, held_out: Curve | None = None, noise: float = 0.1
) -> Monitor:
    """Show it losses with noise, and every tenth step a validation loss with a tenth of it."""
    for step in steps:
        rng = np.random.default_rng([step, 1])
        given: dict[str, Any] = {"loss": loss(step) + noise * rng.standard_normal()}
        if held_out is not None and step % 10 == 0:
            given["validation"] = held_out(step) + noise / 10 * rng.standard_normal()
        monitor.update(step, **given)
    return monitor


def falling(step: int) -> float:
    return 3 - step / 200


def settling(step: int) -> float:
    return 0.5 + 2 * math.exp(-step / 50)


def status(phase: str, left: int | None = 100) -> Status:
    return Status(phase, 1, 5, left, 0.1, 1.0, 1.0, "")


def test_it_begins_undecided() -> None:
    monitor = Monitor()
    assert monitor.verdict.kind == Kind.UNDECIDED
    assert monitor.best_step is None
    assert monitor.remaining_gain() == (-math.inf, math.inf)
    assert not monitor.should_stop


def test_a_run_that_improves() -> None:
    monitor = watch(Monitor(total_steps=600), range(300), falling)
    assert monitor.verdict.kind == Kind.IMPROVES
    assert "training loss has been falling" in monitor.verdict.message
    low, high = monitor.remaining_gain()
    assert low == 0.0
    assert 300 / 200 <= high < 3
    assert not monitor.should_stop


def test_a_plateau() -> None:
    monitor = watch(Monitor(total_steps=1600, min_gain=0.05), range(1300), settling)
    verdict = monitor.verdict
    assert verdict.kind == Kind.PLATEAU
    assert verdict.since is not None
    assert 100 < verdict.since < 1200
    low, high = monitor.remaining_gain()
    assert low <= 0.0 <= high < 0.05 * 2
    assert monitor.should_stop


def test_a_run_that_never_gained_is_measured_by_its_loss() -> None:
    for min_gain, kind in ((0.05, Kind.PLATEAU), (0.001, Kind.UNDECIDED)):
        monitor = Monitor(min_gain=min_gain, total_steps=1600)
        assert watch(monitor, range(1100), lambda _: 2.3).verdict.kind == kind


def test_a_run_that_has_not_begun_is_waited_for() -> None:
    """Until half of the budget; as long as it has to where there is none."""
    monitor = watch(Monitor(total_steps=400), range(190), lambda _: 2.3, noise=1e-4)
    assert monitor.verdict.kind == Kind.UNDECIDED
    assert watch(monitor, range(190, 260), lambda _: 2.3, noise=1e-4).verdict.kind == Kind.PLATEAU
    assert watch(Monitor(), range(260), lambda _: 2.3, noise=1e-4).verdict.kind == Kind.UNDECIDED


def test_overfitting() -> None:
    monitor = watch(Monitor(), range(900), falling, lambda step: 1 + (step / 300 - 1) ** 2)
    verdict = monitor.verdict
    assert verdict.kind == Kind.OVERFITS
    assert "while the training loss still falls" in verdict.message
    assert monitor.best_step is not None
    assert abs(monitor.best_step - 300) <= 50
    assert monitor.should_stop


def test_divergence() -> None:
    monitor = watch(Monitor(), range(700), lambda step: settling(step) + max(step - 300, 0) / 50)
    assert monitor.verdict.kind == Kind.DIVERGES
    assert monitor.should_stop


def test_a_rise_that_keeps_most_of_the_gain_is_no_divergence() -> None:
    def rising(slope: float) -> Callable[[int], float]:
        return lambda step: settling(step) + slope * max(step - 300, 0)

    for slope, kind in ((1e-4, Kind.PLATEAU), (1e-2, Kind.DIVERGES)):
        assert watch(Monitor(), range(1300), rising(slope), noise=0.01).verdict.kind == kind
    for slope, kind in ((1e-4, Kind.OVERFITS), (1e-2, Kind.DIVERGES)):
        monitor = watch(
            Monitor(), range(1300), rising(slope), lambda step: 1 + (step / 300 - 1) ** 2, noise=0.01
        )
        assert monitor.verdict.kind == kind
        assert monitor.should_stop
    unfallen = watch(Monitor(), range(400), lambda step: 2 + step / 1000, noise=0.01)
    assert unfallen.verdict.kind == Kind.DIVERGES


@pytest.mark.parametrize("name", ["loss", "validation"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -1e200])
def test_a_loss_that_is_not_finite_is_divergence_at_once(name: str, value: float) -> None:
    monitor = watch(Monitor(), range(20), falling)
    given: dict[str, Any] = {name: value}
    assert monitor.update(20, **given).kind == Kind.DIVERGES
    assert monitor.should_stop
    assert monitor.update(21, loss=2.9).kind != Kind.DIVERGES


@pytest.mark.parametrize("value", [2.3, 0.0, -1e-30, 1e100])
def test_a_loss_that_does_not_move_is_a_plateau(value: float) -> None:
    """What rounding makes of it is neither progress nor divergence."""
    monitor = watch(Monitor(total_steps=500), range(400), lambda _: value, noise=0.0)
    assert monitor.verdict.kind == Kind.PLATEAU
    assert all(
        found.interval.low <= 0.0 <= found.interval.high for found in monitor._streams["training"].found
    )


def test_a_validation_loss_that_has_not_begun_is_no_plateau() -> None:
    """An accuracy at chance, say, while the training loss falls already."""
    for loss, kind in ((falling, Kind.IMPROVES), (lambda _: 2.0, Kind.PLATEAU)):
        monitor = Monitor(total_steps=250)
        assert watch(monitor, range(200), loss, lambda _: 0.9, noise=0.0).verdict.kind == kind


def test_another_run_begins_anew() -> None:
    monitor = watch(Monitor(total_steps=600), range(300), falling)
    assert monitor.step == 299
    monitor.reset()
    assert monitor.state_dict() == Monitor(total_steps=600).state_dict()


def halves(signal: float, step: int) -> tuple[float, float, float]:
    first, second = np.random.default_rng(step).standard_normal((2, 200)) + signal
    norm = np.linalg.norm
    return float(norm(first)), float(norm(second)), float(norm((first + second) / 2))


def test_gradients_of_mostly_noise() -> None:
    """Half a batch has noise 200 and signal 200 / 25, so a batch needs 12.5 times as many gradients."""
    monitor = Monitor()
    for step in range(600):
        monitor.update(step, halves=halves(0.2, step))
    verdict = monitor.verdict
    assert verdict.kind == Kind.MOSTLY_NOISE
    low, high = map(float, re.findall(r"between ([\d.]+) and ([\d.]+)", verdict.message)[0])
    assert 1 < low < 12.5 < high
    assert not monitor.should_stop


def test_gradients_with_signal() -> None:
    monitor = Monitor()
    for step in range(100):
        monitor.update(step, halves=halves(2.0, step))
    assert monitor.verdict.kind == Kind.UNDECIDED


def test_likeness_is_signal_over_noise() -> None:
    """Gradients (3, 1) and (3, −1): a product of 8, a noise of 2."""
    assert likeness(math.sqrt(10), math.sqrt(10), 3.0) == pytest.approx(4.0)


@pytest.mark.parametrize("times", [0.0, 1.0, 30.0])
def test_probes_show_the_noise_of_a_walk(times: float) -> None:
    """Of gradients with mean 1 and so much variance: 400 steps in a thousand dimensions are close to expectation."""
    gradients = np.random.default_rng(0).standard_normal((400, 1000)) * math.sqrt(times / 1000)
    gradients[:, 0] += 1
    lipschitz = float(np.sqrt((gradients**2).sum(axis=1).mean()))
    distance = 0.1 * float(np.linalg.norm(gradients.sum(axis=0)))
    found = noise_of_probes([ProbeRecord(0, 0, 0.1, 400, lipschitz, distance, True, None)])
    assert found == pytest.approx(times, rel=0.2, abs=1e-9)


def test_probes_that_went_nowhere_show_no_signal() -> None:
    assert noise_of_probes([ProbeRecord(0, 0, 0.1, 16, 1.0, 0.4, False, None)]) == math.inf
    with pytest.raises(TypeError, match="ProbeRecords"):
        noise_of_probes([(1, 2)])  # type: ignore[list-item]


def test_what_comes_during_the_search_is_left_out() -> None:
    monitor = Monitor()
    for step in range(50):
        monitor.update(step, loss=float(step) if step < 49 else math.nan, status=status("search", 500))
    assert "still searches" in monitor.verdict.message
    monitor.update(50, loss=1.0, status=status("main", 500))
    assert monitor.verdict.message.startswith("Undecided: the losses are too few")
    assert monitor.total_steps == 550
    assert monitor.state_dict()["streams"]["training"]["start"] == 1.0


def test_a_monitor_that_was_saved_goes_on_as_if_it_had_not() -> None:
    whole = watch(Monitor(), range(400), falling, settling)
    half, resumed = watch(Monitor(), range(150), falling, settling), Monitor()
    resumed.load_state_dict(json.loads(json.dumps(half.state_dict())))
    watch(resumed, range(150, 400), falling, settling)
    assert resumed.state_dict() == whole.state_dict()
    assert resumed.verdict == whole.verdict


def test_a_saved_state_is_a_copy() -> None:
    monitor = watch(Monitor(), range(20), falling)
    saved = monitor.state_dict()
    before = json.dumps(saved)
    watch(monitor, range(20, 40), falling)
    assert json.dumps(saved) == before


def test_arrays_of_one_number_are_numbers() -> None:
    assert Monitor().update(np.int64(3), loss=np.float32(2.0)).kind == Kind.UNDECIDED  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "error", "sentence"),
    [
        ({"false_alarm": 0.0}, ValueError, "false_alarm must be between 0 and 1"),
        ({"false_alarm": "small"}, TypeError, "false_alarm must be a real number"),
        ({"min_gain": 1.0}, ValueError, "min_gain must be between"),
        ({"total_steps": 0}, ValueError, "total_steps must be at least 1, got 0"),
        ({"total_steps": 1.5}, TypeError, "total_steps must be an int, got float"),
    ],
)
def test_what_the_constructor_refuses(
    arguments: dict[str, Any], error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=sentence):
        Monitor(**arguments)


@pytest.mark.parametrize(
    ("step", "given", "error", "sentence"),
    [
        (9, {"loss": 1.0}, ValueError, "step must be at least 10, got 9"),
        (True, {"loss": 1.0}, TypeError, "step must be an int"),
        (11, {}, ValueError, "update needs one of"),
        (11, {"loss": "1"}, TypeError, "loss must be a real number"),
        (11, {"loss": np.ones(2)}, TypeError, "loss must be a real number"),
        (11, {"validation": 1j}, TypeError, "validation must be a real number"),
        (11, {"halves": (1.0, 1.0)}, TypeError, "halves must be three"),
        (11, {"halves": (1.0, 1.0, 1.5)}, ValueError, "halves must be norms"),
        (11, {"status": "main"}, TypeError, "status must be a pfopt.Status, got str"),
    ],
)
def test_what_update_refuses(step: Any, given: dict[str, Any], error: type[Exception], sentence: str) -> None:
    """Nothing is remembered of what is refused."""
    monitor = Monitor()
    monitor.update(10, loss=1.0)
    before = monitor.state_dict()
    with pytest.raises(error, match=sentence):
        monitor.update(step, **given)
    assert monitor.state_dict() == before


def test_a_foreign_state_is_refused() -> None:
    with pytest.raises(ValueError, match="what Monitor"):
        Monitor().load_state_dict({"step": 1})
