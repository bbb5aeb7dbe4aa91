"""What a plan returns."""

import numpy as np
import pytest

from pfopt.search import plan as plans
from pfopt.search import tracking
from pfopt.search.state import AVERAGE, LAST

# schedule, average, based, endless -> the point that is returned, whether primal averaging makes it
RETURNED = {
    ("linear", "auto", False, False): (AVERAGE, True),
    ("linear", "auto", False, True): (AVERAGE, True),
    ("linear", 3.0, False, False): (AVERAGE, True),
    ("linear", "last", False, False): (LAST, False),
    ("constant", "auto", False, False): (AVERAGE, False),
    ("linear", "auto", True, False): (LAST, False),
    ("linear", 3.0, True, False): (AVERAGE, False),
    ("linear", "auto", True, True): (AVERAGE, False),  # a stage may be left before its steps have decayed
    ("constant", "auto", True, False): (AVERAGE, False),  # nothing decays
}


@pytest.mark.parametrize(("choice", "expected"), RETURNED.items(), ids=str)
def test_what_plan_train_returns(
    choice: tuple[str, str | float, bool, bool], expected: tuple[int, bool]
) -> None:
    schedule, average, based, endless = choice
    config = plans.configure(1000, "train", schedule, average, based=based, endless=endless)
    assert (config.output, config.primal) == expected
    assert plans.averages(config) == (expected[0] == AVERAGE)


@pytest.mark.parametrize("schedule", ["linear", "constant"])
@pytest.mark.parametrize("based", [False, True])
def test_plan_certified_returns_what_a_probe_made(schedule: str, based: bool) -> None:
    """Its average is that of the probe, and its last iterate that of the decay: ``average`` has no part in it."""
    config = plans.configure(1000, "certified", schedule, based=based)
    assert config.output == AVERAGE
    assert plans.averages(config) == (schedule == "constant")


def test_kinks_are_looked_for_where_nothing_else_decays_and_the_horizon_is_known() -> None:
    run = tracking.begin(0, np.float64, np)._replace(
        step=16, grad_sq=np.full(1, 16.0), distance_sq=np.full(1, 256.0)
    )
    for choice, (_, primal) in RETURNED.items():
        schedule, average, based, endless = choice
        config = plans.configure(1000, "train", schedule, average, based=based, endless=endless)
        state, _ = plans.finish(config, plans.init(config)._replace(initial_step=1.0), run)
        assert np.isfinite(state.noise_sq) == (primal and not endless)
