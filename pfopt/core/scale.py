"""The unit in which a run measures its gradients, so that their squares are numbers of the format that they have.

A function times a number has the same minimiser, and every rule here is free of that number; only squares, of which a
format holds half of the range of its numbers, know it. So gradients that are too large or too small are multiplied by a
power of two, taken from the first gradient and kept: that rounds nothing. (One that cannot be squared may be a bad
batch; it counts as one that is not finite, and the second one has the word.) All others have the unit 1 and are left
alone, and a run of theirs costs nothing for it.
"""

import math

import numpy as np

from pfopt.core.arrays import Array, Count, Flag, Real, namespace, where
from pfopt.core.arrays import largest as greatest

QUARTER = 4  # squares need half of the exponents, and gradients of a run become smaller by as much again
MARGIN = 16  # doublings that a first gradient is below what can be squared: sums are over many, and larger ones explode


def exponent(largest: Real, dtype: Array) -> Count:
    """The exponent of the unit, 0 for ordinary gradients.

    Gradients are brought to the border of what is ordinary and no farther: the first ones are often the smallest.

    Args:
        largest: the largest |g_i| of the first gradient, above 0 and finite.
        dtype: in which gradients are squared, of a kind that ``largest``'s namespace has a ``finfo`` of.
    """
    xp = namespace(largest)
    most = int(math.frexp(float(xp.finfo(dtype).max))[1])
    size = math.frexp(largest)[1] if isinstance(largest, float) else xp.frexp(largest)[1]
    least, border = -most // QUARTER, most // 2 - MARGIN
    bring = where(size > border, border - size, where(size < least, least - size, 0 * size))
    return where(bring > most - 2, most - 2, bring)


def overflows(largest: Real, dtype: Array) -> Flag:
    """Whether the square of the largest |g_i| of a gradient is no number; arguments as of ``exponent``."""
    return largest > min(math.sqrt(np.finfo(dtype).max), greatest(largest))
