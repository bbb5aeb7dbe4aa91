"""eq. (4) of Carmon & Hinder, and the constants of Theorem 14."""

from fractions import Fraction
from math import inf, nan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pfopt.core.certificate import RANGES, at_range, certified, theorem_constants
from tests.reference.algorithm1 import theorem_14

SIZES = st.floats(1e-30, 1e30)


@given(step_size=SIZES, grad_sq_sum=SIZES, ratio=st.floats(0.1, 10.0), alpha=st.floats(1.0, 30.0), beta=SIZES)
def test_a_step_size_may_go_up_where_eta_is_at_most_phi(
    step_size: float, grad_sq_sum: float, ratio: float, alpha: float, beta: float
) -> None:
    asked = Fraction(step_size) ** 2 * (Fraction(alpha) * Fraction(grad_sq_sum) + Fraction(beta))
    distance_sq = float(asked) * ratio
    if abs(ratio - 1) > 1e-12:
        assert certified(step_size, grad_sq_sum, distance_sq, alpha, beta) == (asked <= Fraction(distance_sq))


@pytest.mark.parametrize(
    ("step_size", "grad_sq_sum", "distance_sq", "alpha", "beta", "expected"),
    [
        (0.5, 8.0, 6.0, 3.0, 0.0, True),  # a tie
        (0.5, 8.0, np.nextafter(6.0, 0.0), 3.0, 0.0, False),
        (0.5, 8.0, 8.0, 3.0, 8.0, True),
        (0.5, 8.0, np.nextafter(8.0, 0.0), 3.0, 8.0, False),
        (1.0, 0.0, 0.0, 3.0, 0.0, True),  # 0/0
        (nan, 1.0, 1e9, 3.0, 0.0, False),
        (1.0, nan, 1e9, 3.0, 0.0, False),
        (1.0, 1.0, nan, 3.0, 0.0, False),
        (1.0, inf, 1e9, 3.0, 0.0, False),
        (1e-200, 1e300, 0.0, 3.0, 0.0, False),  # step_size² would underflow
        (1e-200, 1e300, 3.1e-100, 3.0, 0.0, True),
        (1e200, 1e-300, 3.1e100, 3.0, 0.0, True),  # and overflow
    ],
)
def test_ties_extremes_and_what_is_not_a_number(
    step_size: float, grad_sq_sum: float, distance_sq: float, alpha: float, beta: float, expected: bool
) -> None:
    assert certified(step_size, grad_sq_sum, distance_sq, alpha, beta) == expected


@pytest.mark.parametrize(
    ("total_steps", "lipschitz", "delta"), [(8, 1.0, 0.5), (76000, 0.7, 1e-3), (10**9, 30.0, 0.1)]
)
def test_constants_of_theorem_14(total_steps: int, lipschitz: float, delta: float) -> None:
    alphas, betas = theorem_constants(total_steps, lipschitz, delta)
    literal = [theorem_14(k, total_steps, lipschitz, delta) for k in RANGES]
    np.testing.assert_allclose(np.transpose([alphas, betas]), literal, rtol=1e-14)


def test_every_range_has_its_entry() -> None:
    assert RANGES == (2, 4, 8)
    for kind in (int, np.int32):
        assert [at_range((1.0, 2.0, 3.0), kind(k)) for k in RANGES] == [1.0, 2.0, 3.0]
