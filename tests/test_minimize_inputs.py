"""Wrong arguments and oracles: a TypeError or ValueError that names the argument, the rule and what came."""

from typing import Any

import numpy as np
import pytest

import pfopt
from paper_repro.problems import Oracle, logistic

PROBLEM = logistic(3)
D = PROBLEM.x0.size
WRONG_TYPE, WRONG_VALUE, EITHER = (TypeError,), (ValueError,), (TypeError, ValueError)
NAN = float("nan")


def minimize(oracle: Any = None, **changes: Any) -> pfopt.Result:
    """A correct call but for these changes."""
    arguments: dict[str, Any] = {"x0": np.zeros(D), "budget": 64, "initial_step": 1e-3, **changes}
    return pfopt.minimize(Oracle(PROBLEM) if oracle is None else oracle, **arguments)


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"budget": 0}, WRONG_VALUE, ["budget", "0"]),
        ({"budget": -1}, WRONG_VALUE, ["budget", "-1"]),
        ({"budget": 7}, WRONG_VALUE, ["budget", "8", "7"]),
        ({"budget": 2.5}, WRONG_TYPE, ["budget", "integer", "2.5"]),
        ({"budget": 64.0}, WRONG_TYPE, ["budget", "integer", "64.0"]),
        ({"budget": True}, WRONG_TYPE, ["budget", "integer", "True"]),
        ({"budget": "10"}, WRONG_TYPE, ["budget", "integer", "'10'"]),
        ({"budget": None}, WRONG_TYPE, ["budget", "integer", "None"]),
        ({"budget": 15, "plan": "train"}, WRONG_VALUE, ["budget", "16", "15"]),
        ({"x0": np.full(D, NAN)}, WRONG_VALUE, ["x0", "finite", "NaN"]),
        ({"x0": np.full(D, np.inf)}, WRONG_VALUE, ["x0", "finite", "inf"]),
        ({"x0": np.zeros(D, dtype=complex)}, WRONG_TYPE, ["x0", "real", "complex128"]),
        ({"x0": np.zeros(D, dtype=bool)}, WRONG_TYPE, ["x0", "real", "bool"]),
        ({"x0": "zero"}, WRONG_TYPE, ["x0", "real", "<U4"]),
        ({"x0": None}, WRONG_TYPE, ["x0", "real"]),
        ({"x0": [[1.0, 2.0], [3.0]]}, EITHER, ["x0"]),
        ({"x0": np.zeros((0, 2))}, WRONG_VALUE, ["x0", "at least one", "(0, 2)"]),
        ({"plan": "fast"}, WRONG_VALUE, ["plan", "'certified'", "'train'", "'fast'"]),
        ({"plan": None}, EITHER, ["plan", "'certified'", "None"]),
        ({"schedule": "cosine"}, WRONG_VALUE, ["schedule", "'constant'", "'linear'", "'cosine'"]),
        ({"schedule": 3}, EITHER, ["schedule", "'constant'", "3"]),
        ({"restarts": "daily"}, WRONG_VALUE, ["restarts", "'doubling'", "'daily'"]),
        ({"restarts": "doubling", "plan": "train"}, WRONG_VALUE, ["restarts", "plan", "'train'"]),
        ({"initial_step": 0.0}, WRONG_VALUE, ["initial_step", "positive", "0.0"]),
        ({"initial_step": -1.0}, WRONG_VALUE, ["initial_step", "positive", "-1.0"]),
        ({"initial_step": np.inf}, WRONG_VALUE, ["initial_step", "finite", "inf"]),
        ({"initial_step": NAN}, WRONG_VALUE, ["initial_step", "NaN"]),
        ({"initial_step": "1"}, WRONG_TYPE, ["initial_step", "number", "'1'"]),
        ({"initial_step": True}, WRONG_TYPE, ["initial_step", "number", "True"]),
        ({"alpha": 1.0}, WRONG_VALUE, ["alpha", "greater than 1", "1.0"]),
        ({"alpha": -2}, WRONG_VALUE, ["alpha", "greater than 1", "-2"]),
        ({"alpha": NAN}, WRONG_VALUE, ["alpha", "NaN"]),
        ({"alpha": np.inf}, WRONG_VALUE, ["alpha", "finite", "inf"]),
        ({"alpha": "3"}, WRONG_TYPE, ["alpha", "number", "'3'"]),
        ({"beta": -1e-9}, WRONG_VALUE, ["beta", "at least 0", "-1e-09"]),
        ({"beta": NAN}, WRONG_VALUE, ["beta", "NaN"]),
        ({"beta": None}, WRONG_TYPE, ["beta", "number", "None"]),
        ({"lipschitz": 1.0}, WRONG_VALUE, ["lipschitz", "delta", "together", "1.0", "None"]),
        ({"delta": 0.1}, WRONG_VALUE, ["lipschitz", "delta", "together", "0.1", "None"]),
        ({"lipschitz": 0.0, "delta": 0.1}, WRONG_VALUE, ["lipschitz", "positive", "0.0"]),
        ({"lipschitz": "1", "delta": 0.1}, WRONG_TYPE, ["lipschitz", "number", "'1'"]),
        ({"lipschitz": 1.0, "delta": 0.0}, WRONG_VALUE, ["delta", "(0, 1)", "0.0"]),
        ({"lipschitz": 1.0, "delta": 1}, WRONG_VALUE, ["delta", "(0, 1)", "1"]),
        ({"lipschitz": 1.0, "delta": NAN}, WRONG_VALUE, ["delta", "NaN"]),
        ({"lipschitz": 1.0, "delta": 0.1, "plan": "train"}, WRONG_VALUE, ["lipschitz", "plan", "'train'"]),
        ({"oracle": 3}, WRONG_TYPE, ["oracle", "callable", "3"]),
        ({"callback": 3}, WRONG_TYPE, ["callback", "callable", "3"]),
    ],
)
def test_wrong_arguments(changes: dict, error: tuple, said: list[str]) -> None:
    inner = Oracle(PROBLEM)
    with pytest.raises(error) as caught:
        minimize(**{"oracle": inner, **changes})
    for words in said:
        assert words in str(caught.value)
    assert inner.calls == 0  # the call is refused before the oracle is asked


@pytest.mark.parametrize("call", [1, 10])
@pytest.mark.parametrize(
    ("answer", "error", "said"),
    [
        (np.zeros(D + 1), WRONG_VALUE, ["oracle", "shape", f"({D},)", f"({D + 1},)"]),
        (np.zeros((D, 1)), WRONG_VALUE, ["oracle", "shape", f"({D},)", f"({D}, 1)"]),
        (1.0, WRONG_VALUE, ["oracle", "shape", f"({D},)", "()"]),
        (np.zeros(D, dtype=complex), WRONG_TYPE, ["oracle", "real", "complex128"]),
        (np.zeros(D, dtype=bool), WRONG_TYPE, ["oracle", "real", "bool"]),
        (np.array(["a"] * D), WRONG_TYPE, ["oracle", "real", "<U1"]),
        (None, EITHER, ["oracle"]),
        ((1.0, None), EITHER, ["oracle"]),
        ((1.0, np.zeros(D + 1)), WRONG_VALUE, ["oracle", "shape", f"({D},)", f"({D + 1},)"]),
        ((np.ones(2), np.ones(D)), EITHER, ["oracle", "scalar", "(2,)"]),
        ((np.ones(1), np.ones(D)), EITHER, ["oracle", "scalar", "(1,)"]),
        (("1", np.ones(D)), EITHER, ["oracle", "scalar", "1"]),
        ((None, np.ones(D)), EITHER, ["oracle", "scalar", "None"]),
        ((1j, np.ones(D)), EITHER, ["oracle", "scalar", "1j"]),
        ((1.0, np.ones(D), {}), EITHER, ["oracle", "(value, grad)", "3"]),
        ((np.ones(D),), EITHER, ["oracle", "(value, grad)", "1"]),
        ((), EITHER, ["oracle", "(value, grad)", "0"]),
    ],
)
@pytest.mark.parametrize("plan", ["certified", "train"])
def test_wrong_answers(answer: Any, error: tuple, said: list[str], call: int, plan: str) -> None:
    inner = Oracle(PROBLEM)
    with pytest.raises(error) as caught:
        minimize(lambda x: answer if inner.calls + 1 == call else inner(x), plan=plan)
    for words in said:
        assert words in str(caught.value)


@pytest.mark.parametrize("value", [1, 1.0, np.float32(1), np.float64(1), np.array(1.0), np.int64(1)])
def test_scalars_of_every_kind_are_values(value: Any) -> None:
    inner = Oracle(PROBLEM)
    assert [p.mean_value for p in minimize(lambda x: (value, inner(x))).probes] == pytest.approx([1.0] * 7)


def test_other_numbers_that_are_accepted() -> None:
    plain, inner = minimize(), Oracle(PROBLEM)
    for same in (
        minimize(budget=np.int64(64)),
        minimize(x0=[0.0] * D),
        minimize(x0=[0] * D),
        minimize(x0=np.zeros(D, dtype=np.int32)),
        minimize(initial_step=np.float64(1e-3), alpha=3, beta=0),
        minimize(lambda x: inner(x).tolist()),
    ):
        assert same.x.dtype == np.float64
        np.testing.assert_array_equal(same.x, plain.x)


@pytest.mark.parametrize("plan", ["certified", "train"])
@pytest.mark.parametrize("schedule", ["constant", "linear"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.longdouble])
def test_the_oracle_is_asked_in_the_dtype_of_x0(dtype: type, schedule: str, plan: str) -> None:
    inner, seen = Oracle(PROBLEM), set()

    def oracle(x: np.ndarray) -> np.ndarray:
        seen.add((x.dtype, x.shape))
        return inner(x.astype(np.float64))

    result = minimize(oracle, x0=np.zeros(D, dtype=dtype), schedule=schedule, plan=plan)
    assert seen == {(np.dtype(dtype), (D,))}
    assert result.x.dtype == dtype
    assert PROBLEM.value(result.x.astype(np.float64)) < PROBLEM.value(PROBLEM.x0)
