"""Bad input raises at the call that received it, naming the argument, the rule and the value."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from pfopt import Certified, Practical
from pfopt.torch import ParameterFree, ParameterFreeSGD
from tests.torch.problems import Regression, assert_same, feed_step, run, snapshot, until_done

BAD_ARGUMENTS: list[tuple[dict[str, Any], type[Exception], str]] = [
    # total_steps
    ({"total_steps": 0}, ValueError, "total_steps .* 0"),
    ({"total_steps": -5}, ValueError, "total_steps .* -5"),
    ({"total_steps": 15}, ValueError, "total_steps .*16.* 15"),
    ({"total_steps": 7, "plan": "certified"}, ValueError, "total_steps .*8.* 7"),
    ({"total_steps": 100.0}, TypeError, r"total_steps .*int.* 100\.0"),
    ({"total_steps": 100.5}, TypeError, r"total_steps .*int.* 100\.5"),
    ({"total_steps": "100"}, TypeError, "total_steps .*int.* '100'"),
    ({"total_steps": True}, TypeError, "total_steps .*int.* True"),
    ({"total_steps": math.nan}, TypeError, "total_steps .*int.* (nan|NaN)"),
    # choices
    ({"plan": "fast"}, ValueError, "plan .*certified.*'fast'"),
    ({"plan": "train"}, ValueError, "plan .*practical.*certified.*'train'"),
    ({"plan": Certified(restarts="doubling")}, ValueError, "restarts .*None.*'doubling'"),
    # numbers
    ({"lr": -0.1}, ValueError, r"lr .*-0\.1"),
    ({"lr": math.nan}, ValueError, "lr .*(nan|NaN)"),
    ({"lr": math.inf}, ValueError, "lr .*inf"),
    ({"lr": "1"}, TypeError, "lr .*'1'"),
    ({"lr": torch.tensor(1.0)}, ValueError, "lr as a Tensor is not supported"),
    ({"lr": torch.tensor([1.0, 2.0])}, ValueError, "Tensor lr must be 1-element"),
    ({"momentum": 1.0}, ValueError, r"momentum .*\[0, 1\).* 1\.0"),
    ({"momentum": -0.1}, ValueError, r"momentum .*\[0, 1\).*-0\.1"),
    ({"momentum": math.nan}, ValueError, "momentum .*(nan|NaN)"),
    ({"momentum": None}, TypeError, "momentum .*None"),
    ({"weight_decay": -1.0}, ValueError, r"weight_decay .*-1\.0"),
    ({"weight_decay": math.nan}, ValueError, "weight_decay .*(nan|NaN)"),
    ({"nesterov": True}, ValueError, "[Nn]esterov.*momentum.*0"),
    ({"nesterov": 1}, TypeError, "nesterov .*True or False.* 1"),
    ({"maximize": None}, TypeError, "maximize .*True or False.* None"),
    ({"capturable": "no"}, TypeError, "capturable .*True or False.* 'no'"),
    ({"foreach": "yes"}, TypeError, "foreach .*True, False or None.* 'yes'"),
    ({"fused": 1}, TypeError, "fused .*True, False or None.* 1"),
    ({"foreach": True, "fused": True}, ValueError, "fused .*foreach=True and fused=True"),
    ({"plan": "certified", "total_steps": None}, ValueError, "total_steps .*certified.*None"),
    ({"plan": "certified", "momentum": 0.5}, ValueError, r"certified.*momentum.*0\.5"),
    # buffers
    ({"buffers": 3}, TypeError, "buffers .*iterable.* 3"),
    ({"buffers": torch.zeros(3)}, TypeError, "buffers .*iterable.*tensor"),
    ({"buffers": [1.0]}, TypeError, "buffers .*tensors.*1.0"),
]


@pytest.mark.parametrize(("kwargs", "error", "pattern"), BAD_ARGUMENTS, ids=lambda value: str(value)[:60])
def test_bad_argument(kwargs: dict[str, Any], error: type[Exception], pattern: str) -> None:
    with pytest.raises(error, match=pattern):
        ParameterFreeSGD([nn.Parameter(torch.ones(2))], **{"total_steps": 100, **kwargs})


@pytest.mark.parametrize("key", ["lr", "weight_decay"])
@pytest.mark.parametrize("late", [False, True])
def test_bad_group_value(key: str, late: bool) -> None:
    first, second = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(3))
    bad: dict[str, Any] = {"params": [second], key: -0.25}
    if late:
        optimizer = ParameterFreeSGD([first], 100)
        with pytest.raises(ValueError, match=rf"{key} .*-0\.25"):
            optimizer.add_param_group(bad)
        assert len(optimizer.param_groups) == 1
    else:
        with pytest.raises(ValueError, match=rf"{key} .*-0\.25"):
            ParameterFreeSGD([{"params": [first]}, bad], 100)


@pytest.mark.parametrize(
    ("params", "error", "pattern"),
    [
        (list, ValueError, "empty parameter list"),
        (lambda: iter([]), ValueError, "empty parameter list"),
        (lambda: nn.Parameter(torch.ones(2)), TypeError, "iterable of Tensors or dicts"),
        (lambda: torch.ones(2), TypeError, "iterable of Tensors or dicts"),
        (lambda: [1.0], TypeError, "Tensors"),
        (lambda: [nn.Parameter(torch.ones(2)) * 2], ValueError, "non-leaf"),
        (lambda: [nn.Parameter(torch.tensor([1.0, math.nan]))], ValueError, "params?.*finite"),
        (lambda: [nn.Parameter(torch.tensor([1.0, math.inf]))], ValueError, "params?.*finite"),
        (
            lambda: [
                ("first", nn.Parameter(torch.ones(2))),
                ("second", nn.Parameter(torch.tensor([-math.inf]))),
            ],
            ValueError,
            "params.*finite.*(second|parameter 1)",
        ),
    ],
)
def test_bad_params(params: Callable[[], Any], error: Any, pattern: str) -> None:
    with pytest.raises(error, match=pattern):
        ParameterFreeSGD(params(), 100)


@pytest.mark.parametrize(("key", "value"), [("maximize", True), ("total_steps", 50), ("plan", "certified")])
def test_a_group_cannot_change_what_holds_for_all(key: str, value: Any) -> None:
    params = [nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(3))]
    with pytest.raises(ValueError, match=rf"{key} .*every group.*{value}"):
        ParameterFreeSGD([{"params": params[:1]}, {"params": params[1:], key: value}], 100)


@pytest.mark.parametrize("buffers", [None, [torch.zeros(3)], [torch.zeros(2), torch.zeros(3)]])
def test_a_checkpoint_with_other_buffers(buffers: list[torch.Tensor] | None) -> None:
    model, held = Regression(), [torch.zeros(2)]
    saved = ParameterFreeSGD(model.parameters(), 40, buffers=held)
    run(model, saved, 3)
    other = ParameterFreeSGD(Regression().parameters(), 40, buffers=buffers)
    with pytest.raises(ValueError, match=r"buffers .*saved.*\(2,\)"):
        other.load_state_dict(saved.state_dict())


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: torch.optim.SGD(Regression().parameters(), 0.1), "of an optimizer of pfopt.torch"),
        (lambda: ParameterFree(torch.optim.SGD(Regression().parameters()), 40), "state of a base"),
        (lambda: ParameterFreeSGD([nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(3))], 40), r"\(2,\)"),
    ],
)
def test_a_checkpoint_of_another_optimizer(make: Callable[[], Any], sentence: str) -> None:
    saved, own = make(), ParameterFreeSGD(Regression().parameters(), 40)
    for param in saved.param_groups[0]["params"]:
        param.grad = torch.ones_like(param)
    saved.step()
    with pytest.raises(ValueError, match=sentence):
        own.load_state_dict(saved.state_dict())


def test_a_loss_in_the_place_of_a_closure() -> None:
    model = Regression()
    loss = model.loss()
    with pytest.raises(TypeError, match=r"closure must be callable .*loss=loss"):
        ParameterFreeSGD(model.parameters(), 40).step(loss)  # type: ignore[arg-type]


@pytest.mark.parametrize("scope", ["auto", "group", "tensor", "global"])
def test_groups_without_parameters(scope: Any) -> None:
    model = Regression()
    groups = [{"params": []}, {"params": list(model.parameters())}]
    optimizer = ParameterFreeSGD(groups, 40, plan=Practical(scope=scope))
    run(model, optimizer, 40)
    assert optimizer.status().phase == "done"
    empty = ParameterFreeSGD([{"params": []}], 40)
    empty.step()
    assert empty.status().step == 0


def test_nested_views_of_the_average() -> None:
    model = Regression()
    optimizer = ParameterFreeSGD(model.parameters(), 200)
    run(model, optimizer, 150)
    with optimizer.averaged():
        outer = model.full_loss()
        with optimizer.averaged():
            assert model.full_loss() == outer
        assert model.full_loss() == outer
    assert model.full_loss() != outer


def test_nan_in_a_late_group() -> None:
    optimizer = ParameterFreeSGD([nn.Parameter(torch.ones(2))], 100)
    with pytest.raises(ValueError, match=r"params?.*finite"):
        optimizer.add_param_group({"params": [nn.Parameter(torch.tensor([math.nan]))]})
    assert len(optimizer.param_groups) == 1


@pytest.mark.parametrize(
    ("loss", "error", "pattern"),
    [
        (torch.ones(2), ValueError, r"loss .*scalar.*\(2,?\)|loss .*scalar.*\[2\]"),
        (torch.ones(0), ValueError, r"loss .*scalar.*\(0,?\)|loss .*scalar.*\[0\]"),
        (torch.ones(1, 2), ValueError, r"loss .*scalar.*\(1, 2\)|loss .*scalar.*\[1, 2\]"),
        (torch.tensor(1.0 + 2.0j), (TypeError, ValueError), "loss .*real.*complex"),
        ("0.5", TypeError, "loss .*'0.5'|loss .*str"),
        ([0.5], TypeError, "loss .*list|loss .*0.5"),
    ],
    ids=str,
)
@pytest.mark.parametrize("by_closure", [False, True])
def test_bad_loss(loss: Any, error: Any, pattern: str, by_closure: bool) -> None:
    """Nothing has happened when it is refused."""
    model, reference = Regression(), Regression()
    optimizer = ParameterFreeSGD(model.parameters(), 40)
    run(model, optimizer, 3)
    model.loss(3).backward()
    before, status = snapshot(model), optimizer.status()
    with pytest.raises(error, match=pattern):
        optimizer.step(lambda: loss) if by_closure else optimizer.step(loss=loss)
    assert_same(snapshot(model), before)
    assert optimizer.status() == status
    run(model, optimizer, 37, first=3)
    run(reference, ParameterFreeSGD(reference.parameters(), 40), 40)
    assert_same(snapshot(model), snapshot(reference))


def test_a_loss_beside_a_closure_that_returns_none() -> None:
    """As Lightning's manual optimisation has it; what a closure does return counts."""
    model = Regression()
    optimizer = ParameterFreeSGD(model.parameters(), 400)
    for returned, given, told in ((None, 0.5, 0.5), (0.25, 0.5, 0.25), (None, None, None)):
        model.loss().backward()
        assert optimizer.step(lambda returned=returned: returned, loss=given) == told
    run(model, optimizer, 13)
    assert optimizer.history()[0].mean_value == pytest.approx((0.5 + 0.25) / 2)


@pytest.mark.parametrize("loss", [0.5, 1, np.float32(0.5), torch.tensor(0.5), torch.ones(1), torch.tensor(1)])
def test_scalars_of_all_kinds_are_losses(loss: Any) -> None:
    model = Regression()
    optimizer = ParameterFreeSGD(model.parameters(), 40)
    model.loss().backward()
    optimizer.step(loss=loss)
    assert optimizer.status().step == 1


@pytest.mark.parametrize("total_steps", [np.int64(100), np.int32(100), torch.tensor(100).item()])
def test_integers_of_all_kinds_are_budgets(total_steps: Any) -> None:
    model = Regression()
    run(model, ParameterFreeSGD(model.parameters(), total_steps), 100)


@pytest.mark.parametrize("plan", ["practical", "certified"])
def test_smallest_budget_works_and_the_message_says_which(plan: Any) -> None:
    smallest = {"practical": 16, "certified": 8}[plan]
    model = Regression()
    optimizer = ParameterFreeSGD(model.parameters(), smallest, plan=plan)
    run(model, optimizer, smallest)
    assert optimizer.status().phase == "done"
    with pytest.raises(ValueError, match=rf"\b{smallest}\b"):
        ParameterFreeSGD(model.parameters(), smallest - 1, plan=plan)


@pytest.mark.parametrize("plan", ["practical", "certified"])
@pytest.mark.parametrize("feed", ["gradients", "loss", "closure"])
def test_steps_after_the_budget_warn_once_and_change_nothing(plan: Any, feed: str) -> None:
    model = Regression()
    optimizer = ParameterFreeSGD(model.parameters(), 32, plan=plan)
    for steps in until_done(optimizer, 32):
        feed_step(model, optimizer, steps, feed)
    done = snapshot(model)
    run(model, optimizer, optimizer.status().steps_left or 0, feed=feed)  # plan certified may be done earlier
    assert_same(snapshot(model), done)
    status, state = optimizer.status(), optimizer.state_dict()
    state = {"state": state["state"], "param_groups": [dict(group) for group in state["param_groups"]]}
    with pytest.warns(UserWarning, match=r"budget|total_steps") as caught:
        run(model, optimizer, 5, feed=feed)
    assert len(caught) == 1
    assert caught[0].filename.endswith("problems.py")  # the line that called step()
    assert re.search(r"\b32\b", str(caught[0].message))
    assert_same(snapshot(model), done)
    assert optimizer.status() == status
    assert status.steps_left == 0
    assert_same(optimizer.state_dict()["state"], state["state"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(model, optimizer, 5, feed=feed)
