"""What comes from outside is checked here, once."""

import math
import operator
from typing import Any

from pfopt.status import Status


def share(name: str, value: Any) -> float:
    """A number between 0 and 1, both excluded."""
    number = real(name, value)
    if not 0.0 < number < 1.0:
        raise ValueError(f"{name} must be between 0 and 1, both excluded, got {value!r}")
    return number


def steps(name: str, value: Any, least: int) -> int:
    """A whole number, at least ``least``."""
    if isinstance(value, bool):
        raise TypeError(f"{name} must be an int, got {value!r}")
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an int, got {type(value).__name__}") from None
    if number < least:
        raise ValueError(f"{name} must be at least {least}, got {number}")
    return number


def real(name: str, value: Any) -> float:
    """A real number, or an array or tensor of one; it need not be finite."""
    if isinstance(value, str | bytes | bool | complex) or value is None:
        raise TypeError(f"{name} must be a real number, got {value!r}")
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(
            f"{name} must be a real number, or an array of one, got {type(value).__name__}"
        ) from None


def halves(value: Any) -> tuple[float, float, float]:
    """Three norms, of which the third may not be longer than the mean of the others."""
    try:
        first, second, mean = value
    except (TypeError, ValueError):
        raise TypeError(
            f"halves must be three gradient norms: of one half of the batch, of the other, of their mean; got {value!r}"
        ) from None
    norms = real("halves[0]", first), real("halves[1]", second), real("halves[2]", mean)
    if min(norms) < 0.0 or (all(map(math.isfinite, norms)) and 2 * norms[2] > (norms[0] + norms[1]) * 1.001):
        raise ValueError(
            f"halves must be norms, and that of the mean at most the mean of the other two, got {value!r}"
        )
    return norms


def status(value: Any) -> Status:
    """What ``opt.status()`` of pfopt returns."""
    if not isinstance(value, Status):
        raise TypeError(f"status must be a pfopt.Status, got {type(value).__name__}")
    return value
