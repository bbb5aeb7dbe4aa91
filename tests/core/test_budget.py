"""How many gradients a probe, the search and a stage may take."""

from typing import Any

import numpy as np
import pytest

import pfopt
from pfopt import options
from pfopt.core import budget, controller
from pfopt.core.records import State


def test_a_range_of_the_certified_plan_never_spends_more_than_its_budget() -> None:
    for total in range(8, 2000):
        for k in (2, 4, 8):
            length = budget.certified_probe_length(total, k)
            assert length == total // (2 * k)
            assert (k + 2) * length <= total
            assert (length >= 2) == (k <= total // 4)


@pytest.mark.parametrize(
    ("total", "length"),
    [
        (16, 4),
        (79, 4),
        (80, 5),
        (255, 15),
        (256, 16),
        (3399, 16),
        (3400, 17),
        (12799, 63),
        (12800, 64),
        (10**7, 64),
    ],
)
def test_first_probes_of_the_practical_plan(total: int, length: int) -> None:
    assert budget.probe_length(total) == length
    assert budget.probe_length(np.int32(total)) == length


def state_of(total: int, **fields: Any) -> tuple[Any, State]:
    config = options.configure(pfopt.Practical(), total)
    return config, controller.init(config, 0, np)._replace(**fields)


def test_stages_double() -> None:
    for doublings in range(6):
        assert budget.stage_steps(*state_of(1000, budget_doublings=doublings)) == 1000 * 2**doublings


@pytest.mark.parametrize(
    ("spent", "length", "lengthened", "over"),
    [
        (234, 16, False, False),
        (235, 16, False, True),
        (61, 64, True, False),
        (62, 64, True, True),
    ],
)
def test_the_search_takes_a_quarter_and_an_eighth_once_probes_are_longer(
    spent: int, length: int, lengthened: bool, over: bool
) -> None:
    probe_length = 64 if lengthened else 16
    config, state = state_of(1000, spent=spent, run_length=length, probe_length=probe_length)
    assert budget.search_is_over(config, state) == over
    config, state = state_of(
        500, spent=spent, run_length=length, probe_length=probe_length, budget_doublings=1
    )
    assert budget.search_is_over(config, state) == over


def test_the_least_budgets_have_probes() -> None:
    assert budget.certified_probe_length(budget.LEAST_STEPS[True], 2) == 2
    assert budget.probe_length(budget.LEAST_STEPS[False]) == 4
    assert 0.25 * budget.LEAST_STEPS[False] >= 4
