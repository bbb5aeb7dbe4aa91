"""What a person reads of a search."""

import numpy as np
import pandas as pd
import pytest

import pfopt
from pfopt import options, status
from pfopt.core import controller
from pfopt.core import run as runs
from pfopt.core.records import Outcome, Phase


def test_phases_have_the_names_of_the_documentation() -> None:
    assert [phase.label for phase in Phase] == ["search", "main", "done"]


def test_every_outcome_has_sentences() -> None:
    messages = [outcome.message for outcome in Outcome]
    assert len(set(messages)) == len(messages) == 7
    for message in messages:
        assert message[0].isupper()
        assert message.endswith(".")
        assert len(message.split()) > 4
    assert pfopt.Outcome is Outcome


@pytest.mark.parametrize(
    ("restarts", "said"),
    [
        (0, ""),
        (1, " The main run exploded once: it went back to the anchor, with a smaller bound."),
        (3, " The main run exploded 3 times: it went back to the anchor, with a smaller bound."),
    ],
)
def test_a_message_tells_of_restarts(restarts: int, said: str) -> None:
    state = controller.init(options.configure(pfopt.Practical(), 100), 0, np)
    run = runs.begin(0, np, dtype=np.float64)._replace(restarts=restarts)
    assert status.message(state._replace(outcome=Outcome.CERTIFIED), run) == Outcome.CERTIFIED.message + said


@pytest.mark.parametrize(("left", "said"), [(952, "48/1000"), (None, "48")])
def test_a_status_is_one_line(left: int | None, said: str) -> None:
    told = pfopt.Status("search", 3, 48, left, 0.0123, 4.0, 0.5, "The search is still running.")
    assert str(told) == f"search {said}, 3 probes, step size 0.012, lipschitz 4, distance 0.5"
    assert f"{told}" == str(told)


@pytest.mark.parametrize("phase", Phase)
def test_the_metrics_of_a_status_are_numbers(phase: Phase) -> None:
    told = pfopt.Status(phase.label, 3, 48, None, 0.0123, 4.0, 0.5, "A sentence.").metrics()
    names = ("phase", "probes", "step_size", "lipschitz", "distance")
    assert told == dict(zip((f"pfopt/{name}" for name in names), (phase, 3, 0.0123, 4.0, 0.5), strict=True))
    assert {type(value) for value in told.values()} == {float}


def test_a_history_is_a_frame_of_pandas() -> None:
    probes = pfopt.minimize(lambda x: (float(x @ x), 2 * x), np.ones(3), 400).probes
    frame = pd.DataFrame(probes)
    assert tuple(frame.columns) == pfopt.ProbeRecord._fields
    assert frame.accepted.dtype == bool
    assert [pfopt.ProbeRecord(*row) for row in frame.itertuples(index=False)] == probes


@pytest.mark.parametrize("losses", [0, 4])
def test_the_record_of_a_probe(losses: int) -> None:
    state = controller.init(options.configure(pfopt.Certified(), 100), 0, np, 0.25)
    state = state._replace(bracket=state.bracket._replace(k=4, exponent=-3), run_length=8)
    run = runs.begin(0, np, dtype=np.float64)._replace(
        step=8, grad_sq_sum=np.float64(32.0), distance_sq=np.float64(9.0), loss_mean=1.5, loss_count=losses
    )
    record = status.probe_record(state, run, True)
    assert record == pfopt.ProbeRecord(
        k=4,
        exponent=-3,
        step_size=0.25 / 8,
        steps=8,
        lipschitz=2.0,
        distance=3.0,
        accepted=True,
        mean_value=1.5 if losses else None,
    )
    kinds = [int, int, float, int, float, float, bool, float if losses else type(None)]
    assert [type(field) for field in record] == kinds


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ("no compiler\nsecond line", "OSError: no compiler"),
        ("the backend raised:\n\n  no compiler\nmore", "OSError: the backend raised: no compiler"),
        ("", "OSError: "),
    ],
)
def test_of_an_error_the_line_that_says_something_is_shown(said: str, sentence: str) -> None:
    assert status.sentence(OSError(said)) == sentence
