"""Algorithm 1 and the practical plan's search on exponents: which probe comes next, and what is found."""

import itertools
from collections.abc import Callable, Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pfopt
from pfopt import options
from pfopt.core import bisection
from pfopt.core.records import Bracket, Run, Stage
from tests.core.runs import ended, fresh, place
from tests.reference.algorithm1 import root_finding_bisection

RUN = ended(10, 3.0, 7.0)


def configured(total: int) -> Any:
    return options.configure(pfopt.Certified(), total)


class Judge:
    """Certifies every step size up to 2^threshold, and keeps the probes; gradients fall with the step size."""

    def __init__(self, threshold: float):
        self.threshold = threshold
        self.probes: list[tuple[int, int, bool]] = []

    def search(self, bracket: Bracket, advance: Callable[[Bracket, bool, Run], Bracket]) -> Bracket:
        """The bracket at the end."""
        while bracket.stage != Stage.END:
            accepted = bracket.exponent <= self.threshold
            self.probes.append((int(bracket.k), int(bracket.exponent), accepted))
            bracket = advance(bracket, accepted, ended(10, 4.0 ** -len(self.probes), 7.0))
        return bracket


def literal_algorithm_1(total: int, threshold: float) -> Iterator[tuple[int, int, bool]]:
    """The probes of the slow literal oracle."""
    for k in (k for k in (2, 4, 8) if k <= total / 4):
        sgd = lambda j: SimpleNamespace(finite=True, rbar=1.0, G=0.0 if j <= threshold else np.inf)  # noqa: E731
        found, _, runs = root_finding_bisection(cast(Any, sgd), lambda j: 1.0, 0, 2**k, 1.0, 0.0)
        yield from ((k, j, accepted) for j, _, accepted in runs)
        if found < np.inf:
            return


@pytest.mark.parametrize("total", [8, 15, 16, 31, 32, 1000])
def test_algorithm_1_probes_as_the_literal_one_wherever_the_threshold_is(total: int) -> None:
    advance = partial(bisection.advance_algorithm_1, configured(total))
    for threshold in (-1, *range(258)):
        judge = Judge(threshold)
        bracket = judge.search(bisection.begin(Stage.RAISE, 0, np), advance)
        assert judge.probes == list(literal_algorithm_1(total, threshold))
        if bracket.has_lo and bracket.has_hi:
            assert (bracket.lo, bracket.hi) == (threshold, threshold + 1)


def literal_search_from_a_guess(threshold: float, first: int) -> Iterator[tuple[int, int]]:
    """k and exponent of every probe: the guess, growing ranges on one side of it, the bisection."""
    sign = 1 if threshold >= 0 else -1
    yield first, 0
    last = 0
    for k in range(first, 9) if sign > 0 else (k for k in (1, 2, 4, 8) if k >= first):
        yield k, sign * 2**k
        if (sign * 2**k <= threshold) == (sign < 0):
            lo, hi = sorted((last, sign * 2**k))
            while hi - lo > 1:
                middle = (lo + hi) // 2
                yield k, middle
                lo, hi = (middle, hi) if middle <= threshold else (lo, middle)
            return
        last = sign * 2**k


@pytest.mark.parametrize("first", [1, 2])
def test_from_a_guess_the_threshold_is_found_wherever_it_is(first: int) -> None:
    for threshold in range(-258, 259):
        judge = Judge(threshold)
        bracket = judge.search(bisection.begin(Stage.START, 0, np, first), bisection.advance_from_guess)
        assert [probe[:2] for probe in judge.probes] == list(literal_search_from_a_guess(threshold, first))
        assert bracket.has_lo == (threshold >= -256)
        assert bracket.has_hi == (threshold < 256)
        if bracket.has_lo and bracket.has_hi:
            assert (bracket.lo, bracket.hi) == (threshold, threshold + 1)


@given(st.lists(st.booleans(), min_size=20, max_size=20), st.booleans())
def test_whatever_is_certified_the_bracket_closes(answers: list[bool], certified_plan: bool) -> None:
    config, asked = configured(1000), []
    bracket = bisection.begin(Stage.RAISE if certified_plan else Stage.START, 0, np)
    for accepted in answers:
        if bracket.stage == Stage.END:
            break
        asked.append((bracket.k, bracket.exponent))
        if certified_plan:
            bracket = bisection.advance_algorithm_1(config, bracket, accepted, RUN)
        else:
            bracket = bisection.advance_from_guess(bracket, accepted, RUN._replace(frozen=not accepted))
        if bracket.stage == Stage.BISECT:
            assert bracket.lo < bracket.exponent < bracket.hi
    assert bracket.stage == Stage.END
    assert len(set(asked)) == len(asked)


def test_what_a_probe_measured_is_kept_at_its_end_of_the_bracket() -> None:
    run = fresh(2)._replace(
        grad_sq_sum=np.asarray([5.0, 3.0, 2.0]), distance_sq=np.asarray([4.0, 1.0, 3.0]), frozen=False
    )
    begin = bisection.begin(Stage.START, 2, np)
    assert not (begin.has_lo | begin.has_hi | begin.hi_diverged)
    assert begin.lo_distance_sq.shape == (3,)
    low = bisection.advance_from_guess(begin, True, run)
    assert (low.lo, low.has_lo, low.has_hi, low.lo_grad_sq_sum) == (0, True, False, 5.0)
    np.testing.assert_array_equal(low.lo_distance_sq, run.distance_sq)
    high = bisection.advance_from_guess(low, False, run)
    assert (high.hi, high.has_hi, high.hi_diverged, high.hi_distance_sq, high.hi_grad_sq_sum) == (
        4,
        True,
        False,
        4.0,
        5.0,
    )
    assert place(high) == (Stage.BISECT, 2, 2)
    for broken in (run._replace(frozen=True), run._replace(nonfinite_in_a_row=1)):
        assert bisection.advance_from_guess(low, False, broken).hi_diverged
        assert bisection.advance_algorithm_1(configured(100), low, False, broken).hi_diverged


def test_a_lower_exit_leaves_the_bracket_as_it_is() -> None:
    config, begin = configured(100), bisection.begin(Stage.RAISE, 0, np)
    floor = bisection.advance_algorithm_1(config, begin, False, RUN)
    assert place(floor) == (Stage.FLOOR, 2, 0)
    end = bisection.advance_algorithm_1(config, floor, False, RUN)
    assert end == floor._replace(stage=Stage.END)


@pytest.mark.parametrize(
    ("k", "sign", "largest", "expected"),
    [
        (4, +1, 8, (Stage.RAISE, 4, 16)),
        (8, +1, 8, (Stage.RAISE, 8, 256)),
        (3, -1, 8, (Stage.RAISE, 3, -8)),
        (4, +1, 4, (Stage.RAISE, 4, 16)),
        (4, +1, 3, (Stage.END, 2, 1)),
        (8, +1, 7, (Stage.END, 2, 1)),
        (9, +1, 99, (Stage.END, 2, 1)),
    ],
)
def test_ranges_double_up_to_the_largest(k: int, sign: int, largest: int, expected: tuple[int, ...]) -> None:
    bracket = bisection.begin(Stage.RAISE, 0, np)._replace(exponent=1)
    assert place(bisection.widen(bracket, sign, k, largest)) == expected
    if largest == 8:
        assert place(bisection.widen(bracket, sign, k)) == expected


@pytest.mark.parametrize(
    ("lo", "hi", "stage", "exponent"),
    [(0, 4, Stage.BISECT, 2), (0, 3, Stage.BISECT, 1), (-4, -1, Stage.BISECT, -3), (2, 3, Stage.END, 9)],
)
def test_the_middle_is_the_mean_of_exponents_rounded_down(
    lo: int, hi: int, stage: Stage, exponent: int
) -> None:
    bracket = bisection.begin(Stage.RAISE, 0, np)._replace(lo=lo, hi=hi, exponent=9)
    assert bisection.bisect(bracket) == bracket._replace(stage=stage, exponent=exponent)


def test_noise_is_a_small_step_that_meets_gradients_at_least_half_as_large() -> None:
    for stage, accepted, frozen, diverged, mean_sq in itertools.product(
        Stage, (False, True), (False, True), (False, True), (0.99, 1.0, 3.0)
    ):
        bracket = bisection.begin(stage, 0, np)._replace(hi_grad_sq_sum=20.0, hi_diverged=diverged)
        run = ended(10, mean_sq, 1.0, frozen=frozen)
        noise = stage == Stage.LOWER and not accepted and not frozen and not diverged and mean_sq >= 1.0
        assert bisection.is_noise(bracket, accepted, run) == noise
        assert not bisection.is_noise(bracket._replace(k=1), accepted, run)
        for k in (2, 4, 8):
            too_large = k == 8 and stage == Stage.LOWER and not accepted and not noise
            assert bisection.is_too_large_throughout(bracket._replace(k=k), accepted, run) == too_large


def test_noise_ends_the_range_below_the_guess() -> None:
    bracket = bisection.begin(Stage.START, 0, np)
    lower = bisection.advance_from_guess(bracket, False, RUN)
    assert place(lower) == (Stage.LOWER, 2, -4)
    assert bisection.advance_from_guess(lower, False, RUN) == lower._replace(stage=Stage.END)
    quieter = ended(10, 1.0, 1.0)
    widened = bisection.advance_from_guess(lower, False, quieter)
    assert place(widened) == (Stage.LOWER, 4, -16)
    assert (widened.hi, widened.hi_grad_sq_sum) == (-4, 10.0)


def lower_at(k: int, exponent: int, hi: int) -> Bracket:
    return bisection.begin(Stage.LOWER, 0, np)._replace(k=k, exponent=exponent, hi=hi, hi_grad_sq_sum=5.0)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (lower_at(4, -16, -4), lower_at(2, -10, -4)),  # at the end of its range: the range is left
        (lower_at(8, -256, -16), lower_at(4, -136, -16)),
        (lower_at(2, -10, -4), lower_at(2, -7, -4)),  # in the middle of it already
        (lower_at(4, -136, -16), lower_at(4, -76, -16)),
    ],
)
def test_longer_probes_go_on_in_the_middle(before: Bracket, after: Bracket) -> None:
    assert bisection.lengthened(before, 4, np) == after._replace(hi_grad_sq_sum=20.0)


@pytest.mark.parametrize("scopes", [0, 3])
def test_longer_probes_test_the_guess_again_after_the_first_range(scopes: int) -> None:
    before = bisection.begin(Stage.LOWER, scopes, np)._replace(exponent=-4, has_hi=True, hi_grad_sq_sum=5.0)
    begin = bisection.begin(Stage.START, scopes, np)
    again = bisection.lengthened(before, 4, np)
    np.testing.assert_array_equal(again.lo_distance_sq, begin.lo_distance_sq, strict=True)
    assert again._replace(lo_distance_sq=0) == begin._replace(lo_distance_sq=0)


def three_ranges(alphas: tuple[float, ...], betas: tuple[float, ...]) -> Any:
    return configured(100)._replace(alphas=alphas, betas=betas)


@pytest.mark.parametrize(("k", "alpha", "beta"), [(2, 2.0, 0.0), (4, 3.0, 2.0), (8, 5.0, 7.0)])
def test_a_probe_is_judged_by_the_constants_of_its_range(k: int, alpha: float, beta: float) -> None:
    """Steps of 2^3 · 0.25 = 2 and gradients of Σ‖g‖² = 10: a tie is accepted."""
    config = three_ranges((2.0, 3.0, 5.0), (0.0, 2.0, 7.0))
    bracket = bisection.begin(Stage.RAISE, 0, np)._replace(k=k, exponent=3)
    tie = 4.0 * (alpha * 10.0 + beta)
    assert bisection.accepts(config, bracket, ended(5, 2.0, tie), 0.25)
    assert not bisection.accepts(config, bracket, ended(5, 2.0, np.nextafter(tie, 0)), 0.25)
    for broken in ({"frozen": True}, {"nonfinite_in_a_row": 1}):
        assert not bisection.accepts(config, bracket, ended(5, 2.0, 2 * tie, **broken), 0.25)


@pytest.mark.parametrize(("k", "alpha", "beta"), [(2, 2.0, 0.0), (4, 3.0, 2.0), (8, 5.0, 7.0)])
def test_hi_is_preferred_up_to_a_tie(k: int, alpha: float, beta: float) -> None:
    config = three_ranges((2.0, 3.0, 5.0), (0.0, 2.0, 7.0))
    tie = 4.0 * (alpha * 10.0 + beta)
    bracket = bisection.begin(Stage.END, 2, np)._replace(k=k, hi=3, hi_grad_sq_sum=10.0)
    for distance_sq, expected in ((tie, True), (np.nextafter(tie, 0), False)):
        at = bracket._replace(lo_distance_sq=np.asarray([distance_sq, 1e9, 0.0]))
        assert bisection.prefers_hi(config, at, 0.25) == expected
        assert not bisection.prefers_hi(config, at._replace(hi_diverged=True), 0.25)
