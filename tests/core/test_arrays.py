"""What the libraries spell differently: the same answers for host numbers, numpy, torch and jax."""

from collections.abc import Callable
from math import inf, nan
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from pfopt.core import arrays

SPECIAL = (-inf, -2.0, -0.0, 0.0, 0.25, 4.0, inf, nan)


class Library(NamedTuple):
    """How a number is made in it, and its namespace."""

    number: Callable[[Any], Any]
    namespace: Any


LIBRARIES = {
    "python": Library(lambda x: x, np),
    "numpy scalar": Library(lambda x: np.asarray(x)[()], np),
    "numpy": Library(np.asarray, np),
    "torch": Library(lambda x: torch.as_tensor(x), torch),
    "jax": Library(lambda x: jnp.asarray(x), jnp),
}


@pytest.fixture(params=LIBRARIES)
def library(request: pytest.FixtureRequest) -> Library:
    return LIBRARIES[request.param]


def same(found: Any, expected: Any) -> None:
    np.testing.assert_array_equal(np.asarray(found), np.asarray(expected))


def test_the_namespace_of_arguments(library: Library) -> None:
    number = library.number(2.0)
    assert arrays.namespace(number) is library.namespace
    assert arrays.namespace(1.0, np.ones(2), number, True, None) is library.namespace
    assert arrays.namespace() is np


def test_the_namespace_of_relatives() -> None:
    assert arrays.namespace(torch.nn.Parameter(torch.ones(2))) is torch
    assert arrays.namespace(object()) is np
    seen = []
    jax.jit(lambda x: seen.append(arrays.namespace(1.0, x)) or x)(1.0)
    assert seen == [jnp]


@pytest.mark.parametrize("condition", [True, False])
def test_where(library: Library, condition: bool) -> None:
    expected = 2.0 if condition else 3.0
    same(arrays.where(library.number(condition), library.number(2.0), library.number(3.0)), expected)
    same(arrays.where(library.number(condition), 2.0, library.number(3.0)), expected)


def test_where_entry_by_entry() -> None:
    same(arrays.where(np.asarray([True, False]), np.asarray([1.0, 2.0]), 7.0), [1.0, 7.0])


def test_a_flag_of_the_host_reads_one_side_only() -> None:
    for flag in (True, np.True_):
        assert arrays.where(flag, "yes", object()) == "yes"
    for flag in (False, np.False_):
        assert arrays.where(flag, object(), "no") == "no"


class Inner(NamedTuple):
    a: Any
    b: Any


class Outer(NamedTuple):
    inner: Inner
    c: Any


@pytest.mark.parametrize("condition", [True, False])
def test_choose_field_by_field(library: Library, condition: bool) -> None:
    yes, no = (Outer(Inner(*map(library.number, (x, x + 1.0))), library.number(x > 1)) for x in (1.0, 5.0))
    found = arrays.choose(library.number(condition), yes, no)
    assert type(found) is Outer
    assert type(found.inner) is Inner
    expected = yes if condition else no
    same((*found.inner, found.c), (*expected.inner, expected.c))
    if isinstance(library.number(condition), (bool, np.bool_)):
        assert found is expected


def test_records_of_different_types_are_not_mixed() -> None:
    with pytest.raises(ValueError, match="argument 2 is"):
        arrays.choose(np.asarray(True), Inner(1, 2), (1, 2, 3))


def test_on_host(library: Library) -> None:
    record = Outer(Inner(library.number(2), library.number(True)), library.number([1.5, 2.5]))
    found = arrays.on_host(record)
    assert type(found) is Outer
    assert found.inner == Inner(2, True)
    assert [type(each) for each in found.inner] == [int, bool]
    assert isinstance(found.c, np.ndarray)
    same(found.c, [1.5, 2.5])


@pytest.mark.parametrize("scopes", [0, 2])
def test_vectors(library: Library, scopes: int) -> None:
    xp, kind = library.namespace, {"dtype": library.namespace.float32}
    zeros = arrays.zeros(scopes, xp, **kind)
    assert arrays.count_scopes(zeros) == scopes
    same(arrays.whole(zeros), 0.0)
    same(arrays.whole(zeros + 2.0), 2.0)
    if xp is np and not scopes:
        assert isinstance(zeros, float)
    else:
        assert zeros.shape == (1 + scopes,)
        assert zeros.dtype == xp.float32
        same(arrays.whole(zeros + xp.arange(1.0, scopes + 2.0)), 1.0)


@pytest.mark.parametrize("value", [True, 3, 2.5])
def test_zeros_and_ones_of_the_same_kind(library: Library, value: Any) -> None:
    number = library.number(value)
    for found, expected in ((arrays.zeros_like(number), 0), (arrays.ones_like(number), 1)):
        same(found, expected)
        assert np.asarray(found).dtype == np.asarray(number).dtype
        if library is LIBRARIES["python"]:
            assert type(found) is type(value)


def test_a_counter_as_a_real_number(library: Library) -> None:
    like = library.number(np.float32(7.5))
    found = arrays.real(library.number(np.int32(3)), like)
    same(found, 3.0)
    assert arrays.namespace(found) is library.namespace
    if library.namespace is not np:
        assert found.dtype == like.dtype
    assert type(arrays.real(3, 1.0)) is float
    assert arrays.real(3, np.float32(1.0)).dtype == np.float32


@pytest.mark.parametrize("exponent", [-40, -1, 0, 5, 60])
def test_powers_of_two(library: Library, exponent: int) -> None:
    same(arrays.doublings(library.number(np.float32(1.25)), library.number(exponent)), 1.25 * 2.0**exponent)
    assert arrays.doublings(1.25, exponent) == 1.25 * 2.0**exponent
    if 0 <= exponent < 31 and library.namespace is not torch:  # which moves no bracket
        same(arrays.power_of_two(library.number(exponent)), 2**exponent)
        assert type(arrays.power_of_two(exponent)) is int


def test_functions_of_one_number(library: Library) -> None:
    for x in SPECIAL:
        same(arrays.isfinite(library.number(x)), np.isfinite(x))
        if not x < 0:
            same(arrays.sqrt(library.number(x)), np.sqrt(x))
        same(arrays.positive(library.number(x)), x if x > 0 else 1.0)


def test_functions_of_two_numbers(library: Library) -> None:
    for a in SPECIAL:
        for b in SPECIAL:
            one, other = library.number(a), library.number(b)
            same(arrays.maximum(one, other), np.maximum(a, b))
            same(arrays.minimum(one, other), np.minimum(a, b))
            same(arrays.at_least(one, other), np.maximum(a, b))
            same(arrays.at_most(one, other), np.minimum(a, b))
            if b == b:  # a bound of the host is a number
                same(arrays.at_least(one, b), np.maximum(a, b))
                same(arrays.at_most(one, b), np.minimum(a, b))


def test_bounds_of_vectors(library: Library) -> None:
    vector = library.number(np.asarray([-1.0, 2.0, nan], np.float32))
    same(arrays.at_least(vector, 0.5), [0.5, 2.0, nan])
    same(arrays.at_most(vector, 0.5), [-1.0, 0.5, nan])
    same(arrays.maximum(vector, library.number(np.zeros(3, np.float32))), [0.0, 2.0, nan])
    same(arrays.minimum(vector, library.number(np.zeros(3, np.float32))), [-1.0, 0.0, nan])
    same(arrays.positive(vector), [1.0, 2.0, 1.0])


def test_logical_not(library: Library) -> None:
    for flag in (True, False):
        same(arrays.negated(library.number(flag)), not flag)
    assert arrays.negated(np.True_) is False
    same(arrays.negated(np.asarray([True, False])), [False, True])
