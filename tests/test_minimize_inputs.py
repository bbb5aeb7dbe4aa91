"""Wrong arguments and oracles: a TypeError or ValueError that names the argument, the rule and what came."""

from typing import Any

import numpy as np
import pytest

import pfopt
from paper_repro.problems import Oracle, logistic
from pfopt.options import PlanLike

PROBLEM = logistic(3)
D = PROBLEM.x0.size
WRONG_TYPE, WRONG_VALUE, EITHER = (TypeError,), (ValueError,), (TypeError, ValueError)
NAN = float("nan")


def minimize(oracle: Any = None, **changes: Any) -> pfopt.Result:
    """A correct call but for these changes."""
    arguments: dict[str, Any] = {"x0": np.zeros(D), "total_steps": 64, "initial_step": 1e-3, **changes}
    return pfopt.minimize(Oracle(PROBLEM) if oracle is None else oracle, **arguments)


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"total_steps": 0}, WRONG_VALUE, ["total_steps", "0"]),
        ({"total_steps": 15}, WRONG_VALUE, ["total_steps", "practical", "16", "15"]),
        ({"total_steps": 7, "plan": "certified"}, WRONG_VALUE, ["total_steps", "certified", "8", "7"]),
        ({"total_steps": 2.5}, WRONG_TYPE, ["total_steps", "integer", "2.5"]),
        ({"x0": np.full(D, NAN)}, WRONG_VALUE, ["x0", "finite", f"{D} entries"]),
        ({"x0": np.array([0.0, np.inf])}, WRONG_VALUE, ["x0", "finite", "1 entries"]),
        ({"x0": np.zeros(D, dtype=complex)}, WRONG_TYPE, ["x0", "real", "complex128"]),
        ({"x0": np.zeros(D, dtype=bool)}, WRONG_TYPE, ["x0", "real", "bool"]),
        ({"x0": "zero"}, WRONG_TYPE, ["x0", "real", "<U4"]),
        ({"x0": None}, WRONG_TYPE, ["x0", "real"]),
        ({"x0": [[1.0, 2.0], [3.0]]}, WRONG_VALUE, ["x0", "real"]),
        ({"x0": np.zeros((0, 2))}, WRONG_VALUE, ["x0", "at least one", "(0, 2)"]),
        ({"plan": "fast"}, WRONG_VALUE, ["plan", '"practical"', '"certified"', "'fast'"]),
        ({"plan": pfopt.Practical(scope="tensor")}, WRONG_VALUE, ["scope", "'tensor'"]),
        ({"plan": pfopt.Practical(scope="group")}, WRONG_VALUE, ["scope", "'group'"]),
        ({"initial_step": 0.0}, WRONG_VALUE, ["initial_step", "positive", "0.0"]),
        ({"initial_step": "1"}, WRONG_TYPE, ["initial_step", "number", "'1'"]),
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
@pytest.mark.parametrize("plan", ["certified", "practical"])
def test_wrong_answers(answer: Any, error: tuple, said: list[str], call: int, plan: str) -> None:
    inner = Oracle(PROBLEM)
    with pytest.raises(error) as caught:
        minimize(lambda x: answer if inner.calls + 1 == call else inner(x), plan=plan)
    for words in said:
        assert words in str(caught.value)


@pytest.mark.parametrize("value", [1, 1.0, np.float32(1), np.float64(1), np.array(1.0), np.int64(1)])
def test_scalars_of_every_kind_are_values(value: Any) -> None:
    inner = Oracle(PROBLEM)
    probes = minimize(lambda x: (value, inner(x)), plan="certified").probes
    assert [probe.mean_value for probe in probes] == pytest.approx([1.0] * 7)


def test_other_numbers_that_are_accepted() -> None:
    plain, inner = minimize(), Oracle(PROBLEM)
    for same in (
        minimize(total_steps=np.int64(64)),
        minimize(x0=[0.0] * D),
        minimize(x0=[0] * D),
        minimize(x0=np.zeros(D, dtype=np.int32)),
        minimize(initial_step=np.float64(1e-3)),
        minimize(plan=pfopt.Practical(anneal="averaging")),
        minimize(lambda x: inner(x).tolist()),
    ):
        assert same.x.dtype == np.float64
        np.testing.assert_array_equal(same.x, plain.x)


@pytest.mark.parametrize("plan", ["certified", "practical", pfopt.Certified(output="last")], ids=str)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.longdouble])
def test_the_oracle_is_asked_in_the_dtype_of_x0(dtype: type, plan: PlanLike) -> None:
    inner, seen = Oracle(PROBLEM), set()

    def oracle(x: np.ndarray) -> np.ndarray:
        seen.add((x.dtype, x.shape))
        return inner(x.astype(np.float64))

    result = minimize(oracle, x0=np.zeros(D, dtype=dtype), plan=plan)
    assert seen == {(np.dtype(dtype), (D,))}
    assert result.x.dtype == dtype
    assert PROBLEM.value(result.x.astype(np.float64)) < PROBLEM.value(PROBLEM.x0)
