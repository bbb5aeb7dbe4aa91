"""Which array library a number belongs to, and the few operations that the libraries spell differently.

``core`` runs on numbers of the host (``float``, of which ``numpy.float64`` is one) and numpy arrays, on torch tensors,
and on traced jax arrays. A function takes its namespace from its arguments, so that no caller passes one. Bisection,
budget and transitions run on host numbers or traced jax only: torch reads its device once at the end of a run.

Host numbers take a short way through the functions below: a call into numpy costs twenty times as much as one of them.
"""

import math
import sys
from typing import Any

import numpy as np

Array = Any  # an array of some coordinates, of any shape
Vector = (
    Any  # shape=(1 + scopes,): entry 0 stands for all parameters, the others for scopes, groups or tensors;
)
# where the host measures no scopes, the number that entry 0 would be
Real = Any  # a float on the host, otherwise shape=() and floating
Count = Any  # an int on the host, otherwise shape=() and int32
Flag = Any  # a bool on the host, otherwise shape=() and bool
Namespace = Any  # numpy, torch or jax.numpy
Record = Any  # a named tuple, of which the fields may be named tuples again


def namespace(*values: Array) -> Namespace:
    """``torch`` or ``jax.numpy`` if any of the values belongs there, else ``numpy``."""
    for value in values:  # without a cache, which ``torch.compile`` would warn of
        module = type(value).__module__
        if module not in _HOST:
            library = _LIBRARIES.get(module.partition(".")[0])
            if library is not None:
                return sys.modules[library]
    return np


def largest(value: Real) -> float:
    """The largest number of a value's dtype; of a number of Python, which a loaded record has, that of float64."""
    return float(namespace(value).finfo(getattr(value, "dtype", np.float64)).max)


_HOST = ("builtins", "numpy")
_LIBRARIES = {"torch": "torch", "jax": "jax.numpy", "jaxlib": "jax.numpy"}


def where(condition: Flag, yes: Array, no: Array) -> Array:
    """``yes`` where ``condition`` holds, else ``no``; a flag of the host picks one without reading the other."""
    if is_of_host(condition):
        return yes if condition else no
    return namespace(condition, yes, no).where(condition, yes, no)


def is_of_host(condition: Flag) -> bool:
    """Whether a flag is one that Python may branch on without waiting or tracing."""
    return isinstance(condition, (bool, np.bool_))


def choose(condition: Flag, yes: Record, no: Record) -> Record:
    """``where``, field by field for named tuples of one type."""
    if isinstance(yes, tuple) and not is_of_host(condition):
        fields = (choose(condition, a, b) for a, b in zip(yes, no, strict=True))
        return type(yes)(*fields)  # type: ignore[call-arg]
    return where(condition, yes, no)


def on_host(record: Record) -> Record:
    """The same record with Python numbers in place of zero-dimensional arrays; vectors become numpy arrays."""
    if isinstance(record, tuple):
        return type(record)(*map(on_host, record))  # type: ignore[call-arg]
    array = np.asarray(record)
    return array.item() if array.ndim == 0 else array


def zeros(scopes: int, xp: Namespace, **kind: Any) -> Vector:
    """A vector of zeros for so many scopes beside the whole; ``kind`` is its dtype and, for torch, its device."""
    return np.float64(0.0) if xp is np and not scopes else xp.zeros(1 + scopes, **kind)


def whole(vector: Vector) -> Real:
    """The entry that stands for all parameters."""
    return vector if isinstance(vector, float) else vector[0]


def count_scopes(vector: Vector) -> int:
    """How many scopes a vector has beside the whole."""
    return 0 if isinstance(vector, float) else len(vector) - 1


def zeros_like(x: Array) -> Array:
    """Zeros of the same kind."""
    return type(x)(0) if isinstance(x, (float, int)) else namespace(x).zeros_like(x)


def ones_like(x: Array) -> Array:
    """Ones of the same kind."""
    return type(x)(1) if isinstance(x, (float, int)) else namespace(x).ones_like(x)


def real(count: Count, like: Real) -> Real:
    """A counter in the dtype of ``like``: torch and jax divide two integers in their default dtype."""
    return float(count) if isinstance(count, int) and isinstance(like, float) else count + zeros_like(like)


def doublings(x: Real, exponent: Count) -> Real:
    """``x * 2**exponent``, without rounding."""
    return x * 2.0**exponent if isinstance(exponent, int) else namespace(x, exponent).ldexp(x, exponent)


def power_of_two(exponent: Count) -> Count:
    """``2**exponent`` as an integer."""
    return 1 << exponent if isinstance(exponent, int) else namespace(exponent).left_shift(1, exponent)


def sqrt(x: Array) -> Array:
    """The square root of what is not negative."""
    return math.sqrt(x) if isinstance(x, float) else namespace(x).sqrt(x)


def isfinite(x: Array) -> Flag:
    """Whether entries are neither infinite nor NaN."""
    return math.isfinite(x) if isinstance(x, float) else namespace(x).isfinite(x)


def maximum(a: Array, b: Array) -> Array:
    """The larger of two of the same kind; NaN where one is."""
    if isinstance(a, (float, int)) and isinstance(b, (float, int)):
        return a if a >= b or a != a else b
    return namespace(a, b).maximum(a, b)


def minimum(a: Array, b: Array) -> Array:
    """The smaller of two of the same kind; NaN where one is."""
    if isinstance(a, (float, int)) and isinstance(b, (float, int)):
        return a if a <= b or a != a else b
    return namespace(a, b).minimum(a, b)


def at_least(x: Array, least: Real) -> Array:
    """The larger of an array and a number, which may be one of the host."""
    xp = namespace(x, least)
    return maximum(x, least) if xp is np else xp.clip(x, least, None)


def at_most(x: Array, most: Real) -> Array:
    """The smaller of an array and a number, which may be one of the host."""
    xp = namespace(x, most)
    return minimum(x, most) if xp is np else xp.clip(x, None, most)


def clip(x: Array, least: Real, most: Real) -> Array:
    """The entries at least one number and at most another; numpy's own takes ten times as long on few of them."""
    xp = namespace(x, least, most)
    return at_most(at_least(x, least), most) if xp is np else xp.clip(x, least, most)


def positive(x: Array) -> Array:
    """``x``, or 1 where it is zero: nothing was measured yet, and what is divided by it is zero as well."""
    return where(x > 0, x, ones_like(x))


def negated(condition: Flag) -> Flag:
    """Logical "not": Python's ``~`` turns ``True`` into −2."""
    return not condition if is_of_host(condition) else namespace(condition).logical_not(condition)
