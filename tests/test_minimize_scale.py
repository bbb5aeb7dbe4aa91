"""A function times a number is the same run."""

from typing import Any

import numpy as np
import pytest

import pfopt


@pytest.mark.parametrize("factor", [1e-200, 1e-150, 1e152, 1e300])
@pytest.mark.parametrize("plan", ["practical", "certified"])
def test_squares_of_gradients_that_are_no_numbers(factor: float, plan: Any) -> None:
    waits = factor > 1e154 and plan == "practical"  # the first gradient cannot be squared: it is left out
    found = pfopt.minimize(lambda x: factor * 2 * (x - 3), np.zeros(10), 200, plan=plan)
    plain = pfopt.minimize(lambda x: 2 * (x - 3), np.zeros(10), 200, plan=plan)
    np.testing.assert_allclose(found.x, plain.x, rtol=0.2 if waits else 1e-9)
    assert found.outcome == plain.outcome
    if waits:
        return
    np.testing.assert_allclose(found.step_size * factor, plain.step_size, rtol=1e-9)
    np.testing.assert_allclose(found.lipschitz / factor, plain.lipschitz, rtol=1e-9)
    told = [record.step_size * factor for record in found.probes]
    np.testing.assert_allclose(told, [record.step_size for record in plain.probes], rtol=1e-9)
