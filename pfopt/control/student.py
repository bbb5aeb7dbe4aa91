"""Student's distribution in closed form, so that numpy is enough."""

import math
from functools import lru_cache

import numpy as np


def upper_tail(t: float, freedom: int) -> float:
    """P(T > t) for t >= 0 and a whole number of degrees of freedom.

    Source: Abramowitz & Stegun (1964), 26.7.3 and 26.7.4.
    """
    angle = math.atan2(t, math.sqrt(freedom))
    odd, cos_sq = freedom % 2, math.cos(angle) ** 2
    orders = np.arange(1 + odd, freedom - 1, 2)
    total = 1.0 + float(np.cumprod(orders / (orders + 1) * cos_sq).sum())
    if not odd:
        return (1 - math.sin(angle) * total) / 2
    further = math.sin(angle) * math.cos(angle) * total if freedom > 1 else 0.0
    return (1 - 2 / math.pi * (angle + further)) / 2


@lru_cache(maxsize=4096)
def quantile(level: float, freedom: int) -> float:
    """The t with P(T > t) = level, for a level between 1e-12 and 1/2; by bisection."""
    low, high = 0.0, 1.0
    while upper_tail(high, freedom) > level:
        low, high = high, 2 * high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if upper_tail(middle, freedom) > level else (low, middle)
    return high
