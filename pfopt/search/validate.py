"""Checks of what a caller passes in: each message names the argument, what is allowed and what came."""

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pfopt.search.plan import ALPHA, SMALLEST


def budget(value: Any, plan: str, name: str = "budget") -> int:
    """A number of gradients that is enough for one search."""
    one_of("plan", plan, tuple(SMALLEST))
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    steps = operator.index(value)
    if steps <= 0:
        raise ValueError(f"{name} must be positive, got {steps}")
    if steps < SMALLEST[plan]:
        raise ValueError(
            f'{name} is too small to search: plan="{plan}" takes at least {SMALLEST[plan]} steps, got {steps}'
        )
    return steps


def one_of(name: str, value: Any, allowed: Sequence[Any]) -> None:
    """``value`` is one of ``allowed``."""
    if not (value is None or isinstance(value, str)) or value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {value!r}")


def number(name: str, value: Any) -> float:
    """A real number that is not NaN."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"{name} must be a number, got {value!r}")
    if math.isnan(value):
        raise ValueError(f"{name} must not be NaN")
    return float(value)


def positive(name: str, value: Any) -> float:
    """A finite number above zero."""
    if not 0 < number(name, value) < math.inf:
        raise ValueError(f"{name} must be positive and finite, got {value!r}")
    return float(value)


def at_least_zero(name: str, value: Any) -> float:
    """A finite number, zero included."""
    if not 0 <= number(name, value) < math.inf:
        raise ValueError(f"{name} must be at least 0 and finite, got {value!r}")
    return float(value)


def fraction(name: str, value: Any) -> float:
    """A number in [0, 1)."""
    if not 0 <= number(name, value) < 1:
        raise ValueError(f"{name} must be in [0, 1), got {value!r}")
    return float(value)


def function(name: str, value: Any) -> None:
    """Something that can be called."""
    if not callable(value):
        raise TypeError(f"{name} must be callable, got {value!r}")


def constants(alpha: Any, beta: Any, lipschitz: Any, delta: Any, plan: str) -> None:
    """The constants of the certificate: alpha and beta, or lipschitz and delta."""
    if not 1 < number("alpha", alpha) < math.inf:
        raise ValueError(f"alpha must be greater than 1 and finite, got {alpha!r}")
    at_least_zero("beta", beta)
    if plan != "certified" and (alpha != ALPHA["certified"] or beta != 0):
        raise ValueError(
            f'alpha and beta need plan="certified", got alpha={alpha!r}, beta={beta!r}, plan={plan!r}'
        )
    if (lipschitz is None) != (delta is None):
        raise ValueError(f"lipschitz and delta go together, got lipschitz={lipschitz!r}, delta={delta!r}")
    if lipschitz is not None:
        positive("lipschitz", lipschitz)
        if not 0 < number("delta", delta) < 1:
            raise ValueError(f"delta must be in (0, 1), got {delta!r}")
        if plan != "certified":
            raise ValueError(f'lipschitz and delta need plan="certified", got plan={plan!r}')


def anchor(x0: ArrayLike) -> NDArray[Any]:
    """A finite floating-point copy of ``x0``; integers become float64."""
    try:
        x = np.array(x0)
    except ValueError as error:
        raise ValueError(f"x0 must be an array of real numbers, got {x0!r}") from error
    if np.issubdtype(x.dtype, np.integer):
        x = x.astype(np.float64)
    if not np.issubdtype(x.dtype, np.floating):
        raise TypeError(f"x0 must be an array of real numbers, got dtype {x.dtype}")
    if x.size == 0:
        raise ValueError(f"x0 must have at least one entry, got shape {x.shape}")
    bad = np.count_nonzero(~np.isfinite(x))
    if bad:
        raise ValueError(f"x0 must be finite, got {bad} entries that are NaN or infinite")
    return x


def answer(returned: Any, x: NDArray[Any]) -> tuple[NDArray[Any], np.float64 | None]:
    """The gradient and the value, if any, that an oracle returned for ``x``."""
    value = None
    if isinstance(returned, tuple):
        if len(returned) != 2:
            raise TypeError(f"oracle must return grad or (value, grad), got a tuple of {len(returned)}")
        value, returned = returned
        scalar = np.asarray(value)
        if scalar.ndim != 0 or scalar.dtype.kind not in "fiu":
            raise TypeError(
                f"oracle must return a real scalar as value, got {value!r} of shape {scalar.shape}"
            )
        value = np.float64(scalar.item())
    grad = np.asarray(returned)
    if grad.dtype.kind not in "fiu":
        raise TypeError(f"oracle must return a gradient of real numbers, got dtype {grad.dtype}")
    if grad.shape != x.shape:
        raise ValueError(f"oracle must return a gradient of shape {x.shape}, got {grad.shape}")
    return grad.astype(x.dtype, copy=False), value
