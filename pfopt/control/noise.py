"""How much of a gradient is noise, from two halves of its batch."""

import math

from pfopt.control.trend import Interval


def likeness(first: float, second: float, mean: float) -> float:
    """The product of the gradients of two halves of a batch, over the noise of one of them.

    With a mean gradient mu and halves of variance v it is about ‖mu‖²/v, so a batch of both halves has as much noise as
    signal at 1/2, and accumulating 1/(2 · likeness) batches makes them equal: the simple noise scale, in
    batches (McCandlish, Kaplan, Amodei, *An Empirical Model of Large-Batch Training*, 2018, appendix A.1).
    """
    mean_sq = (first**2 + second**2) / 2
    product = 2 * mean**2 - mean_sq
    noise = mean_sq - product
    return product / noise if noise > 0.0 else math.inf


def times(found: Interval) -> Interval:
    """How many batches to accumulate, from an interval for the likeness: infinite where that may be 0 or below."""
    low, high = (1 / (2 * end) if end > 0.0 else math.inf for end in (found.high, found.low))
    return Interval(low, high)
