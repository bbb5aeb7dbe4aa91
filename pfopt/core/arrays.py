"""Which array library a number belongs to, and the few operations that the libraries spell differently.

``core`` runs on Python numbers and numpy arrays, on torch tensors, and on traced jax arrays. A function takes its
namespace from its arguments, so that no caller passes one. Bisection, budget and transitions run on host numbers or
traced jax only: torch reads its device once at the end of a run.
"""

import sys
from functools import cache
from typing import Any

import numpy as np

Array = Any  # an array of some coordinates, of any shape
Vector = Any  # shape=(1 + scopes,): entry 0 stands for all parameters, the others for groups or tensors
Real = Any  # a float on the host, otherwise shape=() and floating
Count = Any  # an int on the host, otherwise shape=() and int32
Flag = Any  # a bool on the host, otherwise shape=() and bool
Namespace = Any  # numpy, torch or jax.numpy
Record = Any  # a named tuple, of which the fields may be named tuples again


def namespace(*values: Array) -> Namespace:
    """``torch`` or ``jax.numpy`` if any of the values belongs there, else ``numpy``."""
    for value in values:
        library = _library(type(value))
        if library is not np:
            return library
    return np


@cache
def _library(kind: type) -> Namespace:
    names = {"torch": "torch", "jax": "jax.numpy", "jaxlib": "jax.numpy"}
    root = kind.__module__.partition(".")[0]
    return sys.modules[names[root]] if root in names else np


def where(condition: Flag, yes: Array, no: Array) -> Array:
    """``yes`` where ``condition`` holds, else ``no``; a flag of the host picks one without reading the other."""
    if isinstance(condition, (bool, np.bool_)):
        return yes if condition else no
    return namespace(condition, yes, no).where(condition, yes, no)


def choose(condition: Flag, yes: Record, no: Record) -> Record:
    """``where``, field by field for named tuples of one type."""
    if isinstance(yes, tuple) and not isinstance(condition, (bool, np.bool_)):
        fields = (choose(condition, a, b) for a, b in zip(yes, no, strict=True))
        return type(yes)(*fields)  # type: ignore[call-arg]
    return where(condition, yes, no)


def on_host(record: Record) -> Record:
    """The same record with Python numbers in place of zero-dimensional arrays; vectors become numpy arrays."""
    if isinstance(record, tuple):
        return type(record)(*map(on_host, record))  # type: ignore[call-arg]
    array = np.asarray(record)
    return array.item() if array.ndim == 0 else array


def real(count: Count, like: Real) -> Real:
    """A counter in the dtype of ``like``: torch and jax divide two integers in their default dtype."""
    return count + namespace(like).zeros_like(like)


def doublings(x: Real, exponent: Count) -> Real:
    """``x * 2**exponent``, without rounding."""
    if isinstance(exponent, int):
        return x * 2.0**exponent
    return namespace(x, exponent).ldexp(x, exponent)


def power_of_two(exponent: Count) -> Count:
    """``2**exponent`` as an integer."""
    return 1 << exponent if isinstance(exponent, int) else namespace(exponent).left_shift(1, exponent)


def positive(x: Array) -> Array:
    """``x``, or 1 where it is zero: nothing was measured yet, and what is divided by it is zero as well."""
    return where(x > 0, x, namespace(x).ones_like(x))


def at_least(x: Array, least: Real) -> Array:
    """The larger of an array and a number, which may be one of the host."""
    return namespace(x, least).clip(x, least, None)


def at_most(x: Array, most: Real) -> Array:
    """The smaller of an array and a number, which may be one of the host."""
    return namespace(x, most).clip(x, None, most)


def negated(condition: Flag) -> Flag:
    """Logical "not": Python's ``~`` turns ``True`` into −2."""
    return namespace(condition).logical_not(condition)
