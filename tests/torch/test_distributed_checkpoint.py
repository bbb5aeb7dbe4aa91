"""torch.distributed.checkpoint on one process: round trips, and an initialisation that is neutral."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)

import pfopt
from pfopt.torch import ParameterFreeSGD
from tests.torch.problems import Regression, assert_same, run, snapshot

STEPS = 40
FLAT = pytest.mark.parametrize("flat", [False, True])
KWARGS = pytest.mark.parametrize(
    "kwargs",
    [
        {},
        {"momentum": 0.9, "weight_decay": 0.01},
        {"plan": pfopt.Practical(scope="tensor")},
        {"plan": "certified"},
        {"total_steps": None},
    ],
    ids=str,
)


def make(kwargs: dict[str, Any], dtype: torch.dtype = torch.float32) -> tuple[Regression, ParameterFreeSGD]:
    model = Regression(dtype=dtype)
    groups = [{"params": [model.weight]}, {"params": [model.bias], "weight_decay": 0.0, "lr": 0.5}]
    return model, ParameterFreeSGD(groups, **{"total_steps": STEPS, **kwargs})


@FLAT
@KWARGS
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("stop", [0, 2, 9, 30, STEPS])
def test_round_trip(stop: int, dtype: torch.dtype, kwargs: dict[str, Any], flat: bool) -> None:
    options = StateDictOptions(flatten_optimizer_state_dict=flat)
    model, optimizer = make(kwargs, dtype)
    run(model, optimizer, stop)
    optimizer.zero_grad()
    content = get_optimizer_state_dict(model, optimizer, options=options)
    other, other_optimizer = make(kwargs, dtype)
    set_model_state_dict(other, get_model_state_dict(model))
    set_optimizer_state_dict(other, other_optimizer, copy.deepcopy(content), options=options)
    assert other_optimizer.status() == optimizer.status()
    run(model, optimizer, STEPS - stop, first=stop)
    run(other, other_optimizer, STEPS - stop, first=stop)
    assert_same(snapshot(other), snapshot(model))


@FLAT
@KWARGS
def test_looking_at_a_fresh_optimizer_changes_nothing(kwargs: dict[str, Any], flat: bool) -> None:
    """DCP creates the state by a step with zero gradients and lr 0."""
    options = StateDictOptions(flatten_optimizer_state_dict=flat)
    reference, reference_optimizer = make(kwargs)
    model, optimizer = make(kwargs)
    before = snapshot(model)
    content = get_optimizer_state_dict(model, optimizer, options=options)
    assert_same(snapshot(model), before)
    assert set(optimizer.state) == set(model.parameters())
    set_optimizer_state_dict(model, optimizer, content, options=options)
    for step in range(STEPS):
        run(reference, reference_optimizer, 1, first=step)
        run(model, optimizer, 1, first=step)
        assert_same(snapshot(model), snapshot(reference), f"step {step}")


@KWARGS
def test_flat_values_are_of_the_admitted_types(kwargs: dict[str, Any]) -> None:
    model, optimizer = make(kwargs)
    run(model, optimizer, 5)
    for state in optimizer.state.values():
        assert all(isinstance(value, (torch.Tensor, int, float)) for value in state.values())
