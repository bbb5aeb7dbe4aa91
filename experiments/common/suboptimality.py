"""The figure of merit: suboptimality, divided by that of the grid."""

from __future__ import annotations

import math
from collections.abc import Iterable

CLIP = 100.0  # a ratio counts as this at most: where one of two solves a problem exactly, it has no meaning
_FLOOR = 1e-12  # rounding of f*: a smaller gap counts as this


def gap(value: float, minimum: float) -> float:
    """Suboptimality f - f*; infinite where the run diverged."""
    if not math.isfinite(value):
        return math.inf
    return max(value - minimum, _FLOOR * max(1.0, abs(minimum)))


def geometric_mean(ratios: Iterable[float]) -> float:
    """Geometric mean; infinite if one ratio is."""
    logs = [math.log(ratio) for ratio in ratios]
    return math.exp(sum(logs) / len(logs)) if logs else math.nan
