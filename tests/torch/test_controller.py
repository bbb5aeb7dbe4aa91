"""The controller computes on numbers of the host or on tensors of a device, and goes from one to the other."""

from __future__ import annotations

import copy
import io
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import Module

import pfopt
from pfopt.torch import ParameterFree, ParameterFreeSGD
from tests.torch.problems import Regression, all_finite, assert_same, run, snapshot

STEPS = 200
CASES: dict[str, dict[str, Any]] = {
    "default": {},
    "momentum": {"momentum": 0.9, "nesterov": True, "weight_decay": 0.01},
    "one scope": {"plan": pfopt.Practical(scope="global")},
    "linear": {"plan": pfopt.Practical(anneal="linear", scope="tensor")},
    "certified": {"plan": "certified"},
    "certified, last": {"plan": pfopt.Certified(output="last")},
    "around a base": {"base": True},
}


def make(name: str, *, on_device: bool) -> tuple[Regression, Any]:
    """``capturable`` is what makes tensors of the controller's numbers on a CPU."""
    model, kwargs = Regression(), dict(CASES[name])
    if kwargs.pop("base", False):
        optimizer: Any = ParameterFree(torch.optim.Adam(model.parameters()), STEPS, **kwargs)
    else:
        optimizer = ParameterFreeSGD(model.parameters(), STEPS, **kwargs)
    place(optimizer, on_device=on_device)
    return model, optimizer


def place(optimizer: Any, *, on_device: bool) -> None:
    for group in optimizer.param_groups:
        group["capturable"] = on_device


def leaves(value: Any) -> list[Any]:
    """Numbers, strings and tensors in dictionaries and lists."""
    if isinstance(value, dict):
        return [leaf for entry in value.values() for leaf in leaves(entry)]
    return [leaf for entry in value for leaf in leaves(entry)] if isinstance(value, list) else [value]


@pytest.mark.parametrize("name", CASES)
def test_both_take_the_same_decisions(name: str) -> None:
    results = []
    for on_device in (False, True):
        model, optimizer = make(name, on_device=on_device)
        run(model, optimizer, STEPS, feed="loss")
        results.append((snapshot(model), optimizer.history(), optimizer.status()))
    (ours, probes, status), (theirs, other_probes, other_status) = results
    assert [(p.exponent, p.steps, p.accepted) for p in probes] == [
        (p.exponent, p.steps, p.accepted) for p in other_probes
    ]
    assert status[:4] == other_status[:4]
    assert status[4:7] == pytest.approx(other_status[4:7], rel=1e-3)
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("on_device", [False, True])
@pytest.mark.parametrize("name", ["default", "around a base"])
def test_a_run_whose_loss_stands_still_is_not_called_certified(name: str, on_device: bool) -> None:
    model, optimizer = make(name, on_device=on_device)
    for turn in range(STEPS):
        optimizer.zero_grad()
        model.loss(turn).backward()
        optimizer.step(loss=torch.tensor(3.0))
    assert optimizer.status().message == pfopt.Outcome.NO_PROGRESS.message


@pytest.mark.parametrize(("stop", "first"), [(3, True), (150, False)], ids=["from a device", "from the host"])
@pytest.mark.parametrize("name", CASES)
def test_a_state_goes_on_where_the_other_kind_left_it(name: str, first: bool, stop: int) -> None:
    whole, optimizer = make(name, on_device=first)
    run(whole, optimizer, stop, feed="loss")
    model, resumed = make(name, on_device=not first)
    model.load_state_dict(whole.state_dict())
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    place(resumed, on_device=not first)
    assert resumed.status() == optimizer.status()
    run(whole, optimizer, STEPS - stop, first=stop, feed="loss")
    run(model, resumed, STEPS - stop, first=stop, feed="loss")
    assert [p.exponent for p in resumed.history()] == [p.exponent for p in optimizer.history()]
    torch.testing.assert_close(snapshot(model), snapshot(whole), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("on_device", [False, True])
@pytest.mark.parametrize("name", ["default", "certified", "around a base"])
def test_what_is_saved_is_plain_and_the_same_kind_wherever_it_came_from(name: str, on_device: bool) -> None:
    model, optimizer = make(name, on_device=on_device)
    run(model, optimizer, 30)
    saved = optimizer.state_dict()["param_groups"]
    for leaf in leaves(saved):
        assert leaf is None or isinstance(leaf, (bool, int, float, str, tuple)), type(leaf)  # betas of a base
        assert not isinstance(leaf, (np.generic, Tensor))
    file = io.BytesIO()
    torch.save(saved, file)
    file.seek(0)
    assert_same(torch.load(file, weights_only=True), saved)


def test_the_plan_is_loaded_with_its_options() -> None:
    model = Regression()
    plan = pfopt.Certified(output="last", lipschitz=2.0, delta=0.1)
    optimizer = ParameterFreeSGD(model.parameters(), STEPS, plan=plan)
    run(model, optimizer, 3)
    other = ParameterFreeSGD(Regression().parameters(), 40)
    with pytest.warns(UserWarning, match="total_steps=40 of the constructor"):
        other.load_state_dict(optimizer.state_dict())
    saved = dict(other.param_groups[0]["plan"])
    assert saved.pop("name") == "certified"
    assert pfopt.Certified(**saved) == plan
    assert other.status().steps_left == STEPS - 3


def test_a_group_that_is_added_late_has_room_on_a_device_too() -> None:
    model = Regression()
    optimizer = ParameterFreeSGD([model.weight], STEPS, capturable=True)
    run(model, optimizer, 100)
    optimizer.add_param_group({"params": [model.bias]})
    run(model, optimizer, STEPS - 100, first=100)
    assert optimizer.status().phase == "done"
    assert model.full_loss() < 0.5 * Regression().full_loss()


def test_buffers_of_a_module_are_those_that_it_has_now() -> None:
    """A module that is cast or moved has new buffers; the old ones mean nothing any more."""
    model = Regression(batch_norm=True)
    assert isinstance(model.norm, Module)
    optimizer = ParameterFreeSGD(model.parameters(), STEPS, buffers=model.norm)
    run(model, optimizer, 3)
    model.norm.double()
    kept = model.norm.running_mean
    assert isinstance(kept, Tensor)
    kept.fill_(torch.nan)
    while not optimizer.status().probe:
        for param in model.parameters():
            param.grad = param.detach() - 1
        optimizer.step()
    assert optimizer.status().phase == "search"
    assert model.norm.running_mean is kept
    assert all_finite(model)
