"""The one test: an interval for the slope of a window of block means, or for their level, where noise is correlated.

    merge blocks in pairs while the upper bound r of their correlation is above 1/2 and at least 16 are there
    r <= 1/2:   the blocks are a line and noise of correlation r:  generalised least squares
    otherwise:  the noise is a random walk:                        the mean of the increments (no interval for a level)
    estimate ± t · standard error,  t Student's quantile, and the rounding of float32

r is the lag-1 correlation of the residuals, plus its bias in short series, plus two standard errors (Marriott & Pope,
Biometrika 1954, with the trend's share after Kendall, ibid.). That blocks are merged until they are nearly uncorrelated
is the method of batch means (Law & Carson, Operations Research 1979); generalised least squares with correlated
noise is Prais & Winsten (1954); that the random walk is taken where it cannot be excluded, so that the test holds for
both kinds of noise, is the idea of Perron & Yabu (Journal of Econometrics 2009).

Assumption: given the means, the noise of the merged blocks is Gaussian and of lag-1 correlation r at most, or a random
walk. The means need not be on a line. The estimate of the slope weighs the blocks by numbers that increase and sum to
zero, so by Chebyshev's sum inequality its expectation is not positive wherever the means do not increase: "it rises" is
held against all curves that nowhere rise, "it falls" against all that nowhere fall, "it falls by less than s" against
all that fall by s everywhere. ``python -m experiments study control`` measures what comes of it where the assumption
fails.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pfopt.control.blocks import FIRST_LOOK
from pfopt.control.student import quantile

MOST_CORRELATED = 0.5  # blocks; above it, noise and trend are hard to tell apart in a few dozen of them
STANDARD_ERRORS = (
    2.0  # of the correlation: at 1, AR(0.9) noise gives five times the false alarms that were asked for
)
ROUNDING = 1e-7  # of a loss in float32: a change from end to end that is smaller is none

Array = NDArray[Any]


class Interval(NamedTuple):
    """Where a number lies, ends included."""

    low: float
    high: float


ANYWHERE = Interval(-math.inf, math.inf)


def slope(steps: Array, values: Array, level: float) -> Interval:
    """The interval for the slope per step, which misses it on either side with probability ``level`` at most.

    Args:
        steps: of the blocks, shape=(n,), increasing, evenly spaced but for small gaps; n >= 8.
        values: means of the blocks, shape=(n,), finite.
        level: between 1e-12 and 1/2.
    """
    return _interval(steps, values, level, lines=2)


def center(steps: Array, values: Array, level: float) -> Interval:
    """Likewise, of the level of a stream without a trend."""
    return _interval(steps, values, level, lines=1)


def _interval(steps: Array, values: Array, level: float, lines: int) -> Interval:
    unit, span = float(np.abs(values).max()), float(steps[-1] - steps[0])
    if unit == 0.0 or span <= 0.0:
        return Interval(0.0, 0.0)
    design = np.stack([np.ones(len(steps)), (steps - steps[0]) / span - 0.5], axis=1)[:, :lines]
    scaled = values / unit
    while (bound := correlation_bound(design, scaled)) > MOST_CORRELATED:
        if len(scaled) < 2 * FIRST_LOOK:
            bound = 1.0
            break
        design, scaled = _merged(design), _merged(scaled)
    if bound == 1.0 and lines == 1:
        return ANYWHERE
    estimate, error, freedom = _least_squares(design, scaled, bound)
    reach = quantile(level, freedom) * error + ROUNDING
    factor = unit / span if lines == 2 else unit
    return Interval((estimate - reach) * factor, (estimate + reach) * factor)


def correlation_bound(design: Array, values: Array) -> float:
    """An upper bound of the lag-1 correlation of the noise, between 0 and 1; see the module."""
    basis, _ = np.linalg.qr(design)
    residuals = values - basis @ (basis.T @ values)
    power = float(residuals[:-1] @ residuals[:-1])
    found = float(residuals[1:] @ residuals[:-1]) / power if power > 0.0 else 0.0
    number = len(values)
    likely = min(max(found + (2 + 4 * max(found, 0.0)) / number, 0.0), 1.0)
    return min(likely + STANDARD_ERRORS * math.sqrt((1 - likely**2) / number), 1.0)


def _least_squares(design: Array, values: Array, correlation: float) -> tuple[float, float, int]:
    """The last coefficient, its standard error and the degrees of freedom, where noise has this lag-1 correlation."""
    if correlation == 1.0:
        design, values = np.diff(design[:, 1:], axis=0), np.diff(values)
    else:
        design, values = _whitened(design, correlation), _whitened(values, correlation)
    orthogonal, triangular = np.linalg.qr(design)
    along = orthogonal.T @ values
    residuals, last = values - orthogonal @ along, float(triangular[-1, -1])
    freedom = len(values) - design.shape[1]
    return float(along[-1]) / last, math.sqrt(residuals @ residuals / freedom) / abs(last), freedom


def _whitened(rows: Array, correlation: float) -> Array:
    first = math.sqrt(1 - correlation**2) * rows[:1]
    return np.concatenate([first, rows[1:] - correlation * rows[:-1]])


def _merged(rows: Array) -> Array:
    """Means of pairs of neighbours, of the newest rows where their number is odd."""
    rows = rows[len(rows) % 2 :]
    return (rows[::2] + rows[1::2]) / 2
