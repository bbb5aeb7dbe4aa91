"""`buffers=` are restored with the parameters whenever a run restarts from the anchor."""

from __future__ import annotations

import math

import pytest
import torch

from pfopt.torch import ParameterFreeSGD
from tests.torch.problems import Regression, all_finite, assert_same, feed_step, snapshot

BUFFERS = ("norm.running_mean", "norm.running_var", "norm.num_batches_tracked")


@pytest.mark.parametrize(("plan", "steps"), [("train", 400), ("certified", 64)])
def test_buffers_restart_with_the_parameters(plan: str, steps: int) -> None:
    model = Regression(batch_norm=True)
    anchor = snapshot(model)
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
    """A probe's forward pass that overflows makes the running statistics NaN; they must not stay."""
    model = Regression(batch_norm=True)
    optimizer = ParameterFreeSGD(model.parameters(), 400, buffers=list(model.buffers()))
    probe = optimizer.status().probe
    poisoned = False
    for step in range(400):
        if step in (2, 3):
            with torch.no_grad():
                for name in BUFFERS[:2]:
                    model.state_dict(keep_vars=True)[name].fill_(math.nan)
            poisoned = True
        feed_step(model, optimizer, step)
        if optimizer.status().probe > probe:
            assert all_finite(model)
            probe = math.inf
    assert poisoned
    assert all_finite(model)


def test_buffers_at_the_end_are_those_of_the_returned_run() -> None:
    model = Regression(batch_norm=True)
    optimizer = ParameterFreeSGD(model.parameters(), 200, buffers=model.buffers())
    for step in range(200):
        feed_step(model, optimizer, step)
    spent_on_probes = sum(record.steps for record in optimizer.history())
    assert int(model.state_dict()[BUFFERS[2]]) == 200 - spent_on_probes
