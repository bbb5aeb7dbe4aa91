"""Means of gradients and iterates, the noise of the gradients, and what primal averaging guarantees."""

from collections.abc import Callable
from math import inf, prod
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pfopt.core import averaging
from pfopt.core.averaging import HEAVIEST, ROUNDING, mean_weight
from pfopt.core.config import Constants
from pfopt.core.records import Run
from tests.core.runs import ended, fresh


@pytest.mark.parametrize("gamma", [0.0, 3.0, 8.0])
def test_weights_of_a_mean_are_polynomials(gamma: float) -> None:
    """γ = 3: the weight of member i is proportional to i (i + 1) (i + 2)."""
    values, mean = np.random.default_rng(0).standard_normal(12), 7.0
    for count, value in enumerate(values, 1):
        mean += mean_weight(gamma, count) * (value - mean)
    weights = [prod(range(i, i + int(gamma))) for i in range(1, 13)]
    assert mean == pytest.approx(np.average(values, weights=weights), rel=1e-13)


def test_sum_and_means_of_the_gradients_taken() -> None:
    constants = Constants(mean_gamma=3.0, latest_gamma=8.0)
    run = fresh(1)._replace(
        grad_sq_sum=np.asarray([5.0, 2.0]),
        mean_grad_sq=np.asarray([4.0, 1.0]),
        latest_grad_sq=np.float64(2.0),
    )
    moments = averaging.add_gradient(constants, run, np.asarray([10.0, 3.0]), True, 5.0)
    np.testing.assert_array_equal(moments.grad_sq_sum, [15.0, 5.0])
    np.testing.assert_array_equal(moments.mean_grad_sq, [4.0 + 0.5 * 6.0, 1.0 + 0.5 * 2.0])
    assert moments.latest_grad_sq == pytest.approx(2.0 + 9 / 13 * 8.0, rel=1e-15)
    left_out = averaging.add_gradient(constants, run, np.asarray([inf, 3.0]), False, 5.0)
    for name, value in left_out._asdict().items():
        np.testing.assert_array_equal(value, getattr(run, name))


@pytest.mark.parametrize(
    ("step", "expected"), [(0, 0.5), (60, 0.5), (80, 0.5), (90, 0.6), (95, 0.65), (100, 0.7), (101, 0.7)]
)
def test_gradients_are_taken_closer_to_the_average_in_the_end(step: float, expected: float) -> None:
    constants = Constants(beta=0.5, last_beta=0.7, rise=0.2)
    assert averaging.beta(constants, np.float64(step), 100) == pytest.approx(expected, rel=1e-14)


def test_linear_decay_ends_one_step_before_zero() -> None:
    assert [averaging.linear_decay(step, 4) for step in range(4)] == [1.0, 0.75, 0.5, 0.25]


def probe_of(noise: float, length: int = 64, **fields: Any) -> Run:
    """A probe of step size 1/8 with gradients of norm 1 in the mean, and of that variance."""
    draw, x, grad_sq_sum, distance_sq = np.random.default_rng(0), np.zeros(50), 0.0, 0.0
    for _ in range(length):
        grad = np.full(50, 50**-0.5) + (noise / 50) ** 0.5 * draw.standard_normal(50)
        x -= 0.125 * grad
        grad_sq_sum, distance_sq = grad_sq_sum + grad @ grad, max(distance_sq, x @ x)
    return ended(length, grad_sq_sum / length, distance_sq, **fields)


@pytest.mark.parametrize(("noise", "known"), [(0.002, True), (0.005, True), (0.1, False), (3.0, False)])
def test_a_probe_tells_how_much_of_its_gradients_is_noise(noise: float, known: bool) -> None:
    found_known, found = averaging.noise_sq(probe_of(noise), np.float64(0.125))
    assert found_known == known
    assert found == pytest.approx(noise, rel=0.1)


def test_gradients_are_noise_to_rounding() -> None:
    known, found = averaging.noise_sq(probe_of(0.0), np.float64(0.125))
    assert known
    assert found == pytest.approx(ROUNDING, rel=1e-6)


@pytest.mark.parametrize("fields", [{"nonfinite_in_a_row": 1}, {"frozen": True}])
def test_a_probe_that_is_not_clean_tells_nothing_of_noise(fields: dict[str, Any]) -> None:
    assert not averaging.noise_sq(probe_of(0.0, **fields), np.float64(0.125))[0]


@pytest.mark.parametrize(("path_sq", "known"), [(99.11, True), (99.09, False)])
@pytest.mark.parametrize("mean_sq", [4.0, 0.25])
def test_nearly_exact_is_a_hundredth_of_the_mean_square(path_sq: float, known: bool, mean_sq: float) -> None:
    """T = 10, so σ² = (10 Σ‖g‖² − (r̄/η)²)/90."""
    run = ended(10, mean_sq, path_sq * mean_sq * 4.0)
    found = averaging.noise_sq(run, np.float64(2.0))
    assert found == (known, pytest.approx(mean_sq * (100 - path_sq) / 90, rel=1e-12))


def test_noise_of_a_probe_without_a_step_size() -> None:
    """Nothing fixed the initial step size yet, and nothing moved."""
    known, found = averaging.noise_sq(ended(10, 0.0, 0.0), np.float64(0.0))
    assert np.isfinite(found)
    assert known


def test_the_weight_of_an_iterate() -> None:
    """r² n^(γ−1)/(δ l)."""
    found = averaging.unnormalised_weight(
        np.float64(8.0), np.float64(2.0), np.float64(0.5), np.float64(9.0), 0.5
    )
    assert found == pytest.approx(8.0 / 3.0, rel=1e-15)
    found = averaging.unnormalised_weight(
        np.float64(8.0), np.float64(0.0), np.float64(0.5), np.float64(1.0), 0.5
    )
    assert found == 8.0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_weights_have_a_finite_sum(dtype: Any) -> None:
    largest = np.finfo(dtype).max
    distance_sq, latest_grad_sq, one = np.asarray([largest, 1e-30, 1.0], dtype)
    found = averaging.unnormalised_weight(distance_sq, latest_grad_sq, one, one, 0.5)
    assert found == dtype(HEAVIEST * largest)
    assert np.isfinite(found * dtype(2.0**31))


@pytest.mark.parametrize(
    ("weight", "weight_sum", "n", "gamma", "expected"),
    [
        (3.0, 4.0, 10.0, 0.5, 0.75),  # its share of all
        (1.0, 1e9, 10.0, 0.5, 0.5 / 9.5),  # no less than n^(γ−1) would give
        (0.0, 0.0, 10.0, 0.5, 1.0),  # where nothing has a weight
        (5.0, 5.0, 1.0, 0.5, 1.0),
        (1.0, 4.0, 1.0, 0.0, 0.25),
    ],
)
def test_the_share_of_the_newest_iterate(
    weight: float, weight_sum: float, n: float, gamma: float, expected: float
) -> None:
    numbers = map(np.float64, (weight, weight_sum, n, gamma))
    assert averaging.share_of_newest(*numbers) == pytest.approx(expected, rel=1e-15)


# Primal averaging with weights that grow costs the largest distance in place of the first one


Point = NDArray[np.float64]


class Descent(NamedTuple):
    """What a run leaves behind; distances are ‖x_t − x*‖²."""

    average: Point
    distances: list[float]
    noise: float  # Σ a_t step_t² ‖g_t‖²
    total: float  # Σ a_t step_t


def descend(
    subgradient: Callable[[Point], Point],
    start: Point,
    optimum: Point,
    steps: Point,
    factors: Point,
    betas: Point,
) -> Descent:
    """Primal averaging, x_t with weight ``factors[t] * steps[t]``."""
    iterate, average, total, noise = start, np.zeros_like(start), 0.0, 0.0
    distances = []
    for step, factor, beta in zip(steps, factors, betas, strict=True):
        total += factor * step
        average = average + factor * step / total * (iterate - average)
        distances.append(float(np.sum((iterate - optimum) ** 2)))
        gradient = subgradient(iterate + beta * (average - iterate))
        noise += factor * step**2 * float(gradient @ gradient)
        iterate = iterate - step * gradient
    return Descent(average, distances, noise, total)


@given(
    seed=st.integers(0, 10_000),
    first=st.floats(0.0, 1.0),
    last=st.floats(0.0, 1.0),
    growth=st.floats(0.0, 3.0),
    scale=st.floats(1e-3, 10.0),
)
def test_growing_factors_cost_the_largest_distance(
    seed: int, first: float, last: float, growth: float, scale: float
) -> None:
    """Mean absolute residuals, of minimum 0."""
    rng = np.random.default_rng(seed)
    rows, optimum = rng.standard_normal((6, 3)), rng.standard_normal(3)
    steps = scale * rng.uniform(0.1, 1.0, 40)
    factors = np.sort(rng.uniform(0.1, 1.0, 40)) * np.arange(1.0, 41.0) ** growth

    def subgradient(x: Point) -> Point:
        return rows.T @ np.sign(rows @ (x - optimum)) / len(rows)

    found = descend(subgradient, np.zeros(3), optimum, steps, factors, np.linspace(first, last, 40))
    gap = float(np.mean(np.abs(rows @ (found.average - optimum))))
    bound = (factors[-1] * max(found.distances) + found.noise) / (2 * found.total)
    assert gap <= bound * (1 + 1e-9)


@pytest.mark.parametrize("beta", [0.0, 2 / 3])
def test_the_first_distance_is_not_enough(beta: float) -> None:
    """|x|: the first step throws x far away at hardly any weight, the others are short and have all of it."""
    steps, factors = np.array([1.0] + [1e-3] * 20), np.array([1e-6] + [1e3] * 20)
    found = descend(np.sign, np.array([1e-3]), np.zeros(1), steps, factors, np.full(21, beta))
    gap = abs(float(found.average[0]))
    assert gap > (factors[-1] * found.distances[0] + found.noise) / (2 * found.total)
    assert gap <= (factors[-1] * max(found.distances) + found.noise) / (2 * found.total)
