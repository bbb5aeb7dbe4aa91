"""``pfopt demo``: one run without a learning rate beside a grid of rates, on generated data, with numpy alone."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pfopt.minimize import minimize

ROWS, FEATURES = 4000, 20
STEPS, BATCH_SIZE = 2000, 16
RATES = tuple(10.0**exponent for exponent in range(-5, 3))

Array = NDArray[Any]
Gradient = Callable[[Array], Array]


class Problem(NamedTuple):
    """A generalised linear model: with z = inputs · weights a row's gradient is (predict(z) − target) · inputs."""

    inputs: Array  # shape=(ROWS, FEATURES)
    targets: Array  # shape=(ROWS,)
    predict: Callable[[Array], Array]
    row_loss: Callable[[Array, Array], Array]  # of z and the targets

    def loss(self, weights: Array) -> float:
        """The mean over all rows."""
        return float(self.row_loss(self.inputs @ weights, self.targets).mean())

    def gradient(self, seed: int) -> Gradient:
        """That of the next batch at each call; the batches are the same for every method."""
        random = np.random.default_rng([seed, 1])  # the data have [seed]

        def next_batch(weights: Array) -> Array:
            rows = random.integers(ROWS, size=BATCH_SIZE)
            inputs = self.inputs[rows]
            return inputs.T @ (self.predict(inputs @ weights) - self.targets[rows]) / BATCH_SIZE

        return next_batch


def report(seed: int = 0) -> Iterator[str]:
    """The lines of the report, each as soon as it is known.

    Args:
        seed: of the data and the batches, at least 0.

    Raises:
        ValueError: it is negative.
    """
    if seed < 0:
        raise ValueError(f"seed must be at least 0, got {seed}")
    problems = [classification(seed), regression(seed)]
    yield f"Two problems of {FEATURES} weights and {ROWS} rows, {STEPS} gradients of {BATCH_SIZE} rows for a run."
    yield "Mean loss over all rows at the end; SGD's rate falls on a line from the one on the left to zero."
    yield _line("", "classification", "regression")
    yield _line("at the start", *(_number(problem.loss(np.zeros(FEATURES))) for problem in problems))
    by_rate = []
    for rate in RATES:
        by_rate.append([sgd(problem, rate, seed) for problem in problems])
        yield _line(f"SGD, rate {rate:g}", *map(_number, by_rate[-1]))
    own = [
        problem.loss(minimize(problem.gradient(seed), np.zeros(FEATURES), STEPS).x) for problem in problems
    ]
    yield _line("pfopt, no rate", *map(_number, own))
    yield _conclusion(np.array(by_rate), np.array(own))


def classification(seed: int) -> Problem:
    """Logistic regression on features of standard deviations from 1 down to 1/10."""
    random = np.random.default_rng(seed)
    inputs = random.standard_normal((ROWS, FEATURES)) * np.logspace(0, -1, FEATURES)
    truth = 2 * random.standard_normal(FEATURES)
    targets = (random.random(ROWS) < _sigmoid(inputs @ truth)).astype(float)
    return Problem(inputs, targets, _sigmoid, lambda z, target: np.logaddexp(0.0, z) - target * z)


def regression(seed: int) -> Problem:
    """Least squares on features of standard deviations from 30 down to 3, and noise of 3."""
    random = np.random.default_rng(seed)
    inputs = 30 * random.standard_normal((ROWS, FEATURES)) * np.logspace(0, -1, FEATURES)
    targets = inputs @ random.standard_normal(FEATURES) + 3 * random.standard_normal(ROWS)
    return Problem(inputs, targets, lambda z: z, lambda z, target: (z - target) ** 2 / 2)


def sgd(problem: Problem, rate: float, seed: int) -> float:
    """The loss at the end of a run at a rate that falls on a line to zero; infinite where it diverges."""
    gradient, weights = problem.gradient(seed), np.zeros(FEATURES)
    with np.errstate(over="ignore", invalid="ignore"):
        for step in range(STEPS):
            weights = weights - rate * (1 - step / STEPS) * gradient(weights)
        loss = problem.loss(weights)
    return loss if np.isfinite(loss) else np.inf


def _conclusion(by_rate: Array, own: Array) -> str:
    best = by_rate.argmin(axis=0)
    ratios = own / by_rate.min(axis=0)
    times = RATES[best.max()] / RATES[best.min()]
    return (
        f"One run of pfopt for each ended at {ratios[0]:.3f} and {ratios[1]:.3f} of the loss at the best "
        f"of {len(RATES)} rates, which are {times:.0f} times apart."
    )


def _sigmoid(z: Array) -> Array:
    return np.exp(-np.logaddexp(0.0, -z))


def _number(loss: float) -> str:
    return f"{loss:.4g}" if np.isfinite(loss) else "diverges"


def _line(name: str, *cells: str) -> str:
    return f"{name:16}" + "".join(f"{cell:>16}" for cell in cells)
