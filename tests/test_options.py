"""What a user chooses: defaults, checks and their messages, and what the core is told."""

from typing import Any

import numpy as np
import pytest

import pfopt
from pfopt import options
from pfopt.core.certificate import theorem_constants
from pfopt.core.config import ALGORITHM_1, AROUND_BASE, PLAIN_AVERAGE_GAMMA, PRACTICAL, Config

NAN, INF = float("nan"), float("inf")

# what is constructed, what is wrong with it, the whole message
WRONG = [
    (
        pfopt.Certified,
        {"output": "median"},
        ValueError,
        "output must be one of 'average', 'last', got 'median'",
    ),
    (pfopt.Certified, {"output": None}, ValueError, "output must be one of 'average', 'last', got None"),
    (
        pfopt.Certified,
        {"output": ["last"]},
        ValueError,
        "output must be one of 'average', 'last', got ['last']",
    ),
    (
        pfopt.Certified,
        {"restarts": "daily"},
        ValueError,
        "restarts must be one of None, 'doubling', got 'daily'",
    ),
    (pfopt.Certified, {"restarts": 0}, ValueError, "restarts must be one of None, 'doubling', got 0"),
    (pfopt.Certified, {"alpha": 1}, ValueError, "alpha must be greater than 1 and finite, got 1"),
    (pfopt.Certified, {"alpha": -2.5}, ValueError, "alpha must be greater than 1 and finite, got -2.5"),
    (pfopt.Certified, {"alpha": INF}, ValueError, "alpha must be greater than 1 and finite, got inf"),
    (pfopt.Certified, {"alpha": NAN}, ValueError, "alpha must not be NaN"),
    (pfopt.Certified, {"alpha": "3"}, TypeError, "alpha must be a number, got '3'"),
    (pfopt.Certified, {"alpha": True}, TypeError, "alpha must be a number, got True"),
    (pfopt.Certified, {"beta": -1e-9}, ValueError, "beta must be at least 0 and finite, got -1e-09"),
    (pfopt.Certified, {"beta": INF}, ValueError, "beta must be at least 0 and finite, got inf"),
    (pfopt.Certified, {"beta": None}, TypeError, "beta must be a number, got None"),
    (
        pfopt.Certified,
        {"lipschitz": 1.5},
        ValueError,
        "lipschitz and delta go together, got lipschitz=1.5, delta=None",
    ),
    (
        pfopt.Certified,
        {"delta": 0.1},
        ValueError,
        "lipschitz and delta go together, got lipschitz=None, delta=0.1",
    ),
    (
        pfopt.Certified,
        {"lipschitz": 0.0, "delta": 0.1},
        ValueError,
        "lipschitz must be positive and finite, got 0.0",
    ),
    (
        pfopt.Certified,
        {"lipschitz": INF, "delta": 0.1},
        ValueError,
        "lipschitz must be positive and finite, got inf",
    ),
    (pfopt.Certified, {"lipschitz": "1", "delta": 0.1}, TypeError, "lipschitz must be a number, got '1'"),
    (pfopt.Certified, {"lipschitz": 1.0, "delta": 0.0}, ValueError, "delta must be in (0, 1), got 0.0"),
    (pfopt.Certified, {"lipschitz": 1.0, "delta": 1}, ValueError, "delta must be in (0, 1), got 1"),
    (pfopt.Certified, {"lipschitz": 1.0, "delta": NAN}, ValueError, "delta must not be NaN"),
    (
        pfopt.Practical,
        {"anneal": "fast"},
        ValueError,
        "anneal must be one of None, 'averaging', 'linear', got 'fast'",
    ),
    (
        pfopt.Practical,
        {"scope": "layer"},
        ValueError,
        "scope must be one of 'auto', 'global', 'group', 'tensor', got 'layer'",
    ),
    (
        pfopt.Practical,
        {"scope": None},
        ValueError,
        "scope must be one of 'auto', 'global', 'group', 'tensor', got None",
    ),
]


@pytest.mark.parametrize(("kind", "arguments", "error", "message"), WRONG, ids=str)
def test_wrong_options(kind: Any, arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        kind(**arguments)
    assert str(caught.value) == message


def test_right_options() -> None:
    assert pfopt.Certified() == pfopt.Certified("average", 3.0, 0.0, None, None, None)
    assert pfopt.Practical() == pfopt.Practical(None, "auto")
    numbers: dict[str, Any] = {"alpha": np.float32(1.5), "beta": np.int64(0)}
    pfopt.Certified(output="last", restarts="doubling", **numbers)
    pfopt.Certified(alpha=np.nextafter(1.0, 2.0), lipschitz=1e-300, delta=np.nextafter(1.0, 0.0))
    for anneal in (None, "averaging", "linear"):
        for scope in ("auto", "global", "group", "tensor"):
            pfopt.Practical(anneal, scope)


def test_options_do_not_change() -> None:
    for plan in (pfopt.Certified(), pfopt.Practical()):
        assert hash(plan) == hash(type(plan)())
        with pytest.raises(AttributeError):
            plan.output = "last"  # type: ignore[misc, union-attr]


def test_the_strings_stand_for_the_objects_at_their_defaults() -> None:
    assert options.plan("practical") == pfopt.Practical()
    assert options.plan("certified") == pfopt.Certified()
    for chosen in (pfopt.Practical(anneal="linear"), pfopt.Certified(alpha=2.0)):
        assert options.plan(chosen) is chosen


@pytest.mark.parametrize("value", ["fast", "Practical", "", None, 3, pfopt.Practical])
def test_other_plans(value: Any) -> None:
    with pytest.raises(ValueError, match="plan must be") as caught:
        options.plan(value)
    assert str(caught.value) == (
        f'plan must be "practical", "certified", pfopt.Practical(…) or pfopt.Certified(…), got {value!r}'
    )


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (2.5, TypeError, "total_steps must be an integer, got 2.5"),
        (64.0, TypeError, "total_steps must be an integer, got 64.0"),
        (float("inf"), TypeError, "total_steps must be an integer, or None where it is unknown, got inf"),
        (True, TypeError, "total_steps must be an integer, got True"),
        ("10", TypeError, "total_steps must be an integer, got '10'"),
        (None, TypeError, "total_steps must be an integer, got None"),
        (0, ValueError, "total_steps must be positive, got 0"),
        (-1, ValueError, "total_steps must be positive, got -1"),
    ],
)
@pytest.mark.parametrize("plan", [pfopt.Practical(), pfopt.Certified()], ids=str)
def test_wrong_total_steps(plan: Any, value: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        options.total_steps(value, plan)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("plan", "least"), [(pfopt.Practical(), 16), (pfopt.Certified(), 8)], ids=["practical", "certified"]
)
def test_least_total_steps(plan: Any, least: int) -> None:
    name = type(plan).__name__.lower()
    assert options.total_steps(least, plan) == least
    assert type(options.total_steps(np.int64(least), plan)) is int
    with pytest.raises(ValueError, match="too small") as caught:
        options.total_steps(least - 1, plan)
    assert str(caught.value) == (
        f'total_steps is too small to search: plan="{name}" takes at least {least} steps, got {least - 1}'
    )


@pytest.mark.parametrize("output", ["average", "last"])
def test_the_core_is_told_of_a_certified_plan(output: Any) -> None:
    config = options.configure(pfopt.Certified(output=output, alpha=2.5, beta=0.5), 100)
    assert config == Config(100, True, output == "average", (2.5,) * 3, (0.5,) * 3, constants=ALGORITHM_1)
    assert config.constants.alpha == 3.0
    assert config.constants.first_step == 2.0**-20
    assert not config.stages


def test_lipschitz_and_delta_replace_alpha_and_beta() -> None:
    plan = pfopt.Certified(alpha=2.5, lipschitz=0.7, delta=0.1)
    for delta, used in ((None, 0.1), (0.05, 0.05)):
        config = options.configure(plan, 100, delta=delta)
        assert (config.alphas, config.betas) == theorem_constants(100, 0.7, used)


# anneal, around a base, horizon unknown -> returns the average, interpolates, decays, in stages
PRACTICAL_CHOICES = {
    (None, False, False): (True, True, False, False),
    (None, False, True): (True, True, False, False),
    (None, True, False): (False, False, True, False),
    (None, True, True): (True, False, True, True),  # a stage may be left before its steps have decayed
    ("averaging", False, False): (True, True, False, False),
    ("averaging", False, True): (True, True, False, False),
    ("averaging", True, False): (True, False, False, False),
    ("averaging", True, True): (True, False, False, False),
    ("linear", False, False): (False, False, True, False),
    ("linear", False, True): (True, False, True, True),
    ("linear", True, False): (False, False, True, False),
    ("linear", True, True): (True, False, True, True),
}


@pytest.mark.parametrize(("choice", "expected"), PRACTICAL_CHOICES.items(), ids=str)
def test_the_core_is_told_of_a_practical_plan(choice: Any, expected: tuple[bool, ...]) -> None:
    anneal, based, unknown = choice
    config = options.configure(pfopt.Practical(anneal=anneal), None if unknown else 100, based=based)
    told = config.returns_average, config.interpolates, config.decays, config.stages
    assert told == expected
    assert config.unknown_horizon == unknown
    assert config.total_steps == (1024 if unknown else 100)
    assert not config.certified
    gamma = 0.5 if config.interpolates else PLAIN_AVERAGE_GAMMA
    assert config.lags == based
    assert config.constants == (AROUND_BASE if based else PRACTICAL)._replace(average_gamma=gamma)
    assert (config.alphas, config.betas) == ((1.5,) * 3, (0.0,) * 3)


def test_a_certified_optimizer_is_plain_sgd_with_a_known_horizon() -> None:
    options.sgd_only(pfopt.Practical(), None, momentum=0.9, weight_decay=1.0)
    options.sgd_only(pfopt.Certified(), 100, momentum=0)
    options.sgd_only(pfopt.Certified(), 100, momentum=0.0, weight_decay=0.0)
    for plan, steps, momentum, message in (
        (pfopt.Certified(), None, 0, 'total_steps must be an integer where plan="certified", got None'),
        (
            pfopt.Certified(restarts="doubling"),
            100,
            0,
            "restarts must be None but in pfopt.minimize, got 'doubling'",
        ),
        (pfopt.Certified(), 100, 0.5, 'plan="certified" is plain SGD: momentum must be 0, got 0.5'),
        (pfopt.Certified(), 100, "0", "plan=\"certified\" is plain SGD: momentum must be 0, got '0'"),
    ):
        with pytest.raises(ValueError, match="must be") as caught:
            options.sgd_only(plan, steps, momentum=momentum)
        assert str(caught.value) == message


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((1.0, False, 0.0), ValueError, "momentum must be in [0, 1), got 1.0"),
        ((-0.1, False, 0.0), ValueError, "momentum must be in [0, 1), got -0.1"),
        (("0", False, 0.0), TypeError, "momentum must be a number, got '0'"),
        ((0.0, 1, 0.0), TypeError, "nesterov must be True or False, got 1"),
        ((0.0, True, 0.0), ValueError, "nesterov=True needs momentum greater than 0, got momentum=0.0"),
        ((0.0, False, -1.0), ValueError, "weight_decay must be at least 0 and finite, got -1.0"),
        ((0.0, False, NAN), ValueError, "weight_decay must not be NaN"),
    ],
)
def test_wrong_hyperparameters(arguments: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        options.hyperparameters(*arguments)
    assert str(caught.value) == message


def test_right_hyperparameters() -> None:
    options.hyperparameters(0, False, 0)
    options.hyperparameters(0.9, True, 1e-4)


def test_numbers_and_functions() -> None:
    assert options.positive("step", np.float32(0.5)) == 0.5
    assert type(options.positive("step", 2)) is float
    assert options.at_least_zero("step", 0) == 0.0
    assert options.fraction("share", 0) == 0.0
    options.function("callback", print)
    with pytest.raises(TypeError, match=r"^callback must be callable, got 3$"):
        options.function("callback", 3)
