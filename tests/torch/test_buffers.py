"""`buffers=` are restored with the parameters whenever a run restarts from the anchor."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from pfopt.core import faults
from pfopt.torch import ParameterFree, ParameterFreeSGD
from tests.torch.problems import Regression, all_finite, assert_same, feed_step, run, snapshot

BUFFERS = ("norm.running_mean", "norm.running_var", "norm.num_batches_tracked")


@pytest.mark.parametrize(("plan", "steps"), [("practical", 400), ("certified", 64)])
def test_buffers_restart_with_the_parameters(plan: Any, steps: int) -> None:
    model, first = Regression(batch_norm=True), Regression(batch_norm=True)
    first.loss(0)
    anchor = snapshot(first)  # the buffers at the first step have seen the first batch
    optimizer = ParameterFreeSGD(model.parameters(), steps, plan=plan, buffers=model.buffers())
    restarts = moved = 0
    for step in range(steps):
        probe = optimizer.status().probe
        feed_step(model, optimizer, step)
        status, now = optimizer.status(), snapshot(model)
        if status.probe > probe and status.phase != "done":
            assert_same(now, anchor, f"after step {step}")
            restarts += 1
        else:
            moved += not torch.equal(now[BUFFERS[0]], anchor[BUFFERS[0]])
    assert restarts >= 2
    assert moved > steps // 2


def test_without_buffers_they_run_on() -> None:
    """What the argument is for: the same run leaves other batch-norm statistics."""
    model = Regression(batch_norm=True)
    optimizer = ParameterFreeSGD(model.parameters(), 400)
    for step in range(400):
        feed_step(model, optimizer, step)
    assert int(model.state_dict()[BUFFERS[2]]) == 400


def test_a_poisoned_probe_leaves_no_trace() -> None:
    """A forward pass that overflows makes the running statistics NaN; they must not outlive the probe."""
    model = Regression(batch_norm=True)
    optimizer = ParameterFreeSGD(model.parameters(), 400, buffers=list(model.buffers()))
    finite = []

    def poison(step: int) -> None:
        finite.append((optimizer.status().probe, all_finite(model)))
        if step == 2:
            with torch.no_grad():
                model.state_dict(keep_vars=True)[BUFFERS[0]].fill_(math.nan)

    run(model, optimizer, 400, after_step=poison)
    assert (0, False) in finite
    assert all(ok for probe, ok in finite if probe > 0)


def test_an_explosion_restores_them_in_the_main_run() -> None:
    model = Regression(batch_norm=True)
    optimizer = ParameterFreeSGD(model.parameters(), 400, buffers=list(model.buffers()))
    finite = []
    for step in range(400):
        if step in range(300, 300 + faults.MAIN_PATIENCE):
            assert optimizer.status().phase == "main"
            with torch.no_grad():
                model.state_dict(keep_vars=True)[BUFFERS[0]].fill_(math.nan)
            for param in model.parameters():
                param.grad = torch.full_like(param, math.nan)
            optimizer.step()
            finite.append(all_finite(model))
        else:
            feed_step(model, optimizer, step)
    assert finite == [False] * (faults.MAIN_PATIENCE - 1) + [True]
    assert all_finite(model)
    assert optimizer.status().phase == "done"


def test_buffers_at_the_end_are_those_of_the_returned_run() -> None:
    model = Regression(batch_norm=True)
    optimizer = ParameterFreeSGD(model.parameters(), 200, buffers=model.buffers())
    for step in range(200):
        feed_step(model, optimizer, step)
    spent_on_probes = sum(record.steps for record in optimizer.history())
    assert int(model.state_dict()[BUFFERS[2]]) == 200 - spent_on_probes + 1


@pytest.mark.parametrize("make", ["sgd", "adam"])
def test_the_buffers_of_a_module_are_looked_up(make: str) -> None:
    """A cast replaces them."""
    model = Regression(batch_norm=True)
    if make == "sgd":
        optimizer: Any = ParameterFreeSGD(model.parameters(), 100, buffers=model)
    else:
        optimizer = ParameterFree(torch.optim.Adam(model.parameters()), 100, buffers=model)
    old = dict(model.named_buffers())
    assert model.norm is not None
    for name, buffer in list(model.norm.named_buffers()):
        setattr(model.norm, name, buffer.clone())
    for step in range(20):
        probe = optimizer.status().probe
        with torch.no_grad():
            model.state_dict(keep_vars=True)[BUFFERS[1]].fill_(1.0 if step == 0 else 1e9)
        feed_step(model, optimizer, step)
        if optimizer.status().probe > probe:
            assert float(model.state_dict()[BUFFERS[1]].max()) < 10
    assert optimizer.status().probe >= 1
    assert_same(old[BUFFERS[1]], torch.ones(3))


def test_buffers_that_the_model_has_no_more() -> None:
    model = Regression(batch_norm=True)
    optimizer = ParameterFreeSGD(model.parameters(), 100, buffers=model.buffers())
    model.double()
    model.bias.grad = torch.ones_like(model.bias)
    with pytest.raises(ValueError, match=r"buffers must be .*give the module itself"):
        optimizer.step()
