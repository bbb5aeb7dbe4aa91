"""Whatever gradients and losses do, the parameters stay finite and end no worse than they began."""

from __future__ import annotations

import itertools
import math
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import pfopt
from pfopt.core import faults as bad
from pfopt.torch import ParameterFreeSGD
from tests.torch.problems import Regression, all_finite, assert_same, feed_step, run, snapshot, until_done

PLANS: dict[str, dict[str, Any]] = {
    "practical": {"momentum": 0.9, "nesterov": True},
    "practical, group": {"plan": pfopt.Practical(scope="group")},
    "practical, linear, tensor": {"plan": pfopt.Practical(anneal="linear", scope="tensor")},
    "certified": {"plan": "certified"},
    "certified, last": {"plan": pfopt.Certified(output="last")},
}
GRAD_FAULTS = {"grad nan": math.nan, "grad inf": math.inf, "grad -inf": -math.inf}
LOSS_FAULTS = {"loss nan": math.nan, "loss inf": math.inf, "loss -inf": -math.inf}


class Run(NamedTuple):
    """A model, its optimizer, and what the objective was at the anchor."""

    model: Regression
    optimizer: ParameterFreeSGD
    at_anchor: float


def start(steps: int | None, **kwargs: Any) -> Run:
    model = Regression()
    groups = [{"params": [model.weight]}, {"params": [model.bias]}]
    return Run(model, ParameterFreeSGD(groups, steps, **kwargs), model.full_loss())


def faulty_step(running: Run, fault: str | None, *, losses: bool, scale: float = 1.0) -> None:
    """One step on the whole data set, with one entry of one gradient or the loss spoilt."""
    model, optimizer, _ = running
    optimizer.zero_grad()
    loss = scale * model.loss()
    loss.backward()
    if fault in GRAD_FAULTS:
        assert model.weight.grad is not None
        model.weight.grad[1, 2] = GRAD_FAULTS[fault]
    if losses or fault in LOSS_FAULTS:
        optimizer.step(loss=loss + LOSS_FAULTS.get(fault or "", 0.0))
    else:
        optimizer.step()
    assert all_finite(model)


def assert_safe_end(running: Run) -> None:
    assert running.optimizer.status().phase == "done"
    assert running.model.full_loss() <= running.at_anchor * (1 + 1e-6)


def pairs(names: list[str], faults: list[str]) -> list[tuple[str, str, bool]]:
    """Every two of: a name, a fault, and whether it comes once or from then on."""
    places = itertools.product(enumerate(names), enumerate(faults))
    return [(name, fault, (i + j) % 2 == 1) for (i, name), (j, fault) in places]


@pytest.mark.parametrize(("name", "fault", "forever"), pairs(list(PLANS), ["grad -inf", "loss nan"]))
def test_a_fault_at_any_step(name: str, fault: str, forever: bool) -> None:
    steps = 32 if "certified" in name else 20
    for when in range(steps):
        running = start(steps, **PLANS[name])
        for step in range(steps):
            faulty = step == when or (forever and step > when)
            faulty_step(running, fault if faulty else None, losses=fault in LOSS_FAULTS)
        assert running.model.full_loss() <= running.at_anchor * (1 + 1e-6), f"fault at step {when}"


@pytest.mark.parametrize(
    ("anneal", "fault", "forever"), pairs(["averaging", "linear"], ["grad nan", "loss nan"])
)
def test_a_fault_in_every_phase(anneal: Any, fault: str, forever: bool) -> None:
    steps = 150

    def at(when: int) -> Run:
        """A run that took ``when`` steps without a fault."""
        running = start(steps, plan=pfopt.Practical(anneal=anneal))
        for _ in range(when):
            faulty_step(running, None, losses=True)
        return running

    trained = at(steps - 1)
    assert trained.optimizer.status().phase == "main"
    change = sum(record.steps for record in trained.optimizer.history())
    for when in (change - 1, change, steps // 2, steps - 1):
        running = at(when)
        assert running.optimizer.status().phase == ("search" if when < change else "main")
        for step in range(when, steps):
            faulty_step(running, fault if step == when or forever else None, losses=True)
        assert running.model.full_loss() <= running.at_anchor * (1 + 1e-6), f"fault at step {when}"


@pytest.mark.parametrize("factor", [0.0, math.nan], ids=["zero", "nan"])
@pytest.mark.parametrize(
    "window", [(1, 60), (10, 60), (10, 150), (250, 252), (250, 300), (397, 400)], ids=str
)
def test_a_stretch_of_bad_gradients_costs_little(window: tuple[int, int], factor: float) -> None:
    """It spoils no probe but the one that is running, and where it is short nothing of the main run."""
    running = start(400)
    for step in range(400):
        running.optimizer.zero_grad()
        loss = running.model.loss(step)
        (loss * (factor if step in range(*window) else 1.0)).backward()
        running.optimizer.step()
    assert running.optimizer.status().phase == "done"
    inputs = torch.nn.functional.pad(running.model.inputs, (0, 1), value=1.0)
    best = torch.linalg.lstsq(inputs, running.model.targets).solution
    least = float((inputs @ best - running.model.targets).square().mean())
    assert running.model.full_loss() - least < 0.02 * (running.at_anchor - least)


@pytest.mark.parametrize("anneal", ["averaging", "linear"])
def test_an_explosion_is_told(anneal: Any) -> None:
    running = start(400, plan=pfopt.Practical(anneal=anneal))
    for step in range(400):
        faulty_step(running, "grad nan" if 300 <= step < 340 else None, losses=False)
        exploded = "exploded once" in running.optimizer.status().message
        assert exploded == (step >= 300 + bad.MAIN_PATIENCE - 1)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    name=st.sampled_from(list(PLANS)),
    faults=st.dictionaries(st.integers(0, 47), st.sampled_from([*GRAD_FAULTS, *LOSS_FAULTS]), max_size=20),
    losses=st.booleans(),
    log_scale=st.floats(-6, 6),
)
def test_faults_anywhere_at_any_scale(
    name: str, faults: dict[int, str], losses: bool, log_scale: float
) -> None:
    running = start(48, **PLANS[name])
    for step in until_done(running.optimizer, 48):
        faulty_step(running, faults.get(step), losses=losses, scale=10.0**log_scale)
        with running.optimizer.averaged():
            assert all_finite(running.model)
    assert_safe_end(running)


@pytest.mark.parametrize("fault", ["grad nan", "grad inf", "loss nan"])
@pytest.mark.parametrize("name", list(PLANS))
def test_nothing_but_faults_returns_the_anchor(name: str, fault: str) -> None:
    running = start(40, **PLANS[name])
    anchor = snapshot(running.model)
    for _ in until_done(running.optimizer, 40):
        faulty_step(running, fault, losses=False)
    assert_safe_end(running)
    assert_same(snapshot(running.model), anchor)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("plan", ["practical", "certified"])
def test_half_precision_gradients_that_overflow(plan: Any, dtype: torch.dtype) -> None:
    """At this scale many float16 gradients are infinite; bfloat16 holds them."""
    model = Regression(dtype=dtype)
    optimizer, at_anchor = ParameterFreeSGD(model.parameters(), 200, plan=plan), model.full_loss()
    for _ in until_done(optimizer, 200):
        optimizer.zero_grad()
        (3e4 * model.loss()).backward()
        optimizer.step()
        assert all_finite(model)
    assert model.full_loss() <= at_anchor
    if dtype == torch.bfloat16:
        assert model.full_loss() < 0.5 * at_anchor


@pytest.mark.parametrize("plan", ["practical", "certified"])
@pytest.mark.parametrize("after_backward", [False, True])
def test_an_interrupted_closure_leaves_a_usable_state(plan: Any, after_backward: bool) -> None:
    reference = start(40, plan=plan)
    run(reference.model, reference.optimizer, 40, feed="closure")
    model, optimizer, _ = start(40, plan=plan)

    def interrupted() -> torch.Tensor:
        if after_backward:
            model.loss(0).backward()
        raise KeyboardInterrupt

    for step in range(40):
        before, status = snapshot(model), optimizer.status()
        with pytest.raises(KeyboardInterrupt):
            optimizer.step(interrupted)
        assert_same(snapshot(model), before)
        assert optimizer.status() == status
        feed_step(model, optimizer, step, "closure")
    assert_same(snapshot(model), snapshot(reference.model))
