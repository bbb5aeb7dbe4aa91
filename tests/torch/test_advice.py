"""What is allowed and hardly ever meant is said once, at the line that called."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    LambdaLR,
    LinearLR,
    OneCycleLR,
)

from pfopt.torch import ParameterFree, ParameterFreeSGD
from tests.torch.problems import Regression, assert_same, run, snapshot

STEPS = 56


def caught(action: Callable[[], Any]) -> list[str]:
    """Warnings of pfopt; they show the line of tests/torch/problems.py that called ``step()``."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        action()
    own = [warning for warning in found if str(warning.message).startswith("ParameterFree")]
    assert all("/tests/" in warning.filename for warning in own)
    return [str(warning.message) for warning in own]


@pytest.mark.parametrize("lr", [0.01, 0.001, 30.0])
@pytest.mark.parametrize("groups", [1, 2])
def test_a_learning_rate_handed_on_by_habit(lr: float, groups: int) -> None:
    model = Regression()
    params = [{"params": [param]} for param in model.parameters()] if groups == 2 else model.parameters()
    optimizer = ParameterFreeSGD(params, STEPS, lr=lr)
    (message,) = caught(lambda: run(model, optimizer, STEPS))
    assert "lr is a multiplier" in message
    assert f"got lr={lr:g}" in message
    assert "leave it at 1" in message


SCHEDULES: dict[str, Callable[[Any], Any]] = {
    "none": lambda optimizer: None,
    "LinearLR": lambda optimizer: LinearLR(optimizer, start_factor=0.01, total_iters=10),
    "from 0": lambda optimizer: LambdaLR(optimizer, lambda step: min(step / 10, 1.0)),
    "OneCycleLR": lambda optimizer: OneCycleLR(optimizer, 1.0, STEPS, cycle_momentum=False),
}


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("lrs", [(1.0, 1.0), (0.01, 1.0), (0.2, 5.0), (0.0, 1.0)], ids=str)
def test_no_false_alarm(name: str, lrs: tuple[float, float]) -> None:
    """One group that moves slowly, a warm-up, one from zero and by hand."""
    model = Regression()
    groups = [{"params": [param], "lr": lr} for param, lr in zip(model.parameters(), lrs, strict=True)]
    optimizer = ParameterFreeSGD(groups, STEPS)
    scheduler = SCHEDULES[name](optimizer)
    assert not caught(
        lambda: run(model, optimizer, STEPS, after_step=lambda _: scheduler.step() if scheduler else None)
    )


@pytest.mark.parametrize("form", ["sgd", "adamw"])
def test_a_schedule_on_top_of_steps_that_decay(form: str) -> None:
    model = Regression()
    if form == "sgd":
        optimizer: Any = ParameterFreeSGD(model.parameters(), STEPS)
    else:
        optimizer = ParameterFree(torch.optim.AdamW(model.parameters()), STEPS)
    scheduler = CosineAnnealingLR(optimizer, STEPS)
    messages = caught(lambda: run(model, optimizer, STEPS, after_step=lambda _: scheduler.step()))
    assert len(messages) == (form == "adamw")
    assert all("keep lr constant" in message for message in messages)


def test_a_warm_up_around_a_base() -> None:
    model = Regression()
    optimizer = ParameterFree(torch.optim.AdamW(model.parameters()), STEPS)
    scheduler = LinearLR(optimizer, start_factor=0.01, total_iters=30)
    assert not caught(lambda: run(model, optimizer, STEPS, after_step=lambda _: scheduler.step()))


@pytest.mark.parametrize("stop", [5, STEPS])
@pytest.mark.parametrize("total_steps", [STEPS, 2 * STEPS, None])
def test_a_checkpoint_overrules_total_steps(stop: int, total_steps: int | None) -> None:
    model, other = Regression(), Regression()
    optimizer = ParameterFreeSGD(model.parameters(), STEPS)
    run(model, optimizer, stop)
    resumed = ParameterFreeSGD(other.parameters(), total_steps)
    messages = caught(lambda: resumed.load_state_dict(optimizer.state_dict()))
    assert len(messages) == (total_steps != STEPS)
    assert all(f"total_steps={total_steps} of the constructor is dropped" in each for each in messages)
    assert all(f"total_steps={STEPS} of the state" in each for each in messages)


@pytest.mark.parametrize(
    ("kind", "stop"), [("sgd", 6), ("sgd", 50), ("bfloat16", 50), ("adamw", 50), ("certified", 6)]
)
@pytest.mark.parametrize("inside", [(False, False), (True, True), (True, False), (False, True)], ids=str)
def test_model_and_optimizer_saved_at_different_points(
    kind: str, inside: tuple[bool, bool], stop: int
) -> None:
    """Saved together, both inside ``averaged()`` or both outside, the run goes on as if nothing had happened."""

    def make() -> tuple[Regression, Any]:
        model = Regression(dtype=torch.bfloat16 if kind == "bfloat16" else torch.float32)
        if kind == "adamw":
            return model, ParameterFree(torch.optim.AdamW(model.parameters()), None)
        plan: Any = "certified" if kind == "certified" else "practical"
        return model, ParameterFreeSGD(model.parameters(), STEPS, plan=plan)

    model, optimizer = make()
    run(model, optimizer, stop)
    with optimizer.averaged():
        points, states = [snapshot(model)], [copy.deepcopy(optimizer.state_dict())]
    points.insert(0, snapshot(model))
    states.insert(0, copy.deepcopy(optimizer.state_dict()))
    other, again = make()
    again.load_state_dict(states[inside[1]])
    other.load_state_dict(points[inside[0]])

    def go_on() -> None:
        again.train()
        run(other, again, STEPS - stop, first=stop)

    messages = caught(go_on)
    differs = inside[0] != inside[1] and any(
        not torch.equal(one, points[1][name]) for name, one in points[0].items()
    )
    assert len(messages) == differs
    run(model, optimizer, STEPS - stop, first=stop)
    if differs:
        held = "the point to deploy" if inside[1] else "the training point"
        assert held in messages[0]
        assert "save the model and the optimizer together" in messages[0]
    else:
        assert_same(snapshot(other), snapshot(model))


def test_looking_at_the_deployed_point_first_is_no_other_point() -> None:
    model, other = Regression(), Regression()
    optimizer, again = (ParameterFreeSGD(each.parameters(), STEPS) for each in (model, other))
    run(model, optimizer, 50)
    other.load_state_dict(model.state_dict())
    again.load_state_dict(optimizer.state_dict())

    def go_on() -> None:
        with again.averaged():
            other.full_loss()
        run(other, again, STEPS - 50, first=50)

    assert not caught(go_on)
