"""step_in_backward(): tensors move in hooks, gradients are let go, and step() decides by what was measured."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD, AdamW, NAdam

import pfopt
from pfopt.torch import ParameterFree, ParameterFreeSGD
from tests.torch.problems import Regression, all_finite, assert_same, feed_step, run, snapshot
from tests.torch.test_no_sync import reads_of

STEPS = 96
Make = Callable[[nn.Module], ParameterFreeSGD | ParameterFree]


class CountsInItsGroups(SGD):
    """A number of the whole group changes at every step, as in Schedule-Free and Prodigy."""

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        super().step(closure)
        for group in self.param_groups:
            group["k"] = group.get("k", 0) + 1


def split(model: nn.Module) -> ParameterFree:
    weights = [param for param in model.parameters() if param.ndim > 1]
    others = [param for param in model.parameters() if param.ndim < 2]
    return ParameterFree([SGD(weights, lr=0.1), AdamW(others, lr=0.1)], STEPS)


MAKES: dict[str, Make] = {
    "SGD": lambda model: ParameterFreeSGD(model.parameters(), STEPS),
    "SGD, momentum and decay": lambda model: ParameterFreeSGD(
        model.parameters(), STEPS, momentum=0.9, weight_decay=1e-3
    ),
    "SGD, by tensor": lambda model: ParameterFreeSGD(
        model.parameters(), STEPS, plan=pfopt.Practical(scope="tensor")
    ),
    "AdamW": lambda model: ParameterFree(AdamW(model.parameters(), weight_decay=0.1), STEPS),
    "SGD and AdamW": split,
}
ENDLESS: dict[str, Make] = {
    "SGD, endless": lambda model: ParameterFreeSGD(model.parameters()),
    "NAdam, endless": lambda model: ParameterFree(NAdam(model.parameters())),
}


def start(make: Make, model: nn.Module | None = None, *, on_device: bool = False) -> tuple[Regression, Any]:
    """A model, and its optimizer that steps in the backward pass; with the controller where accelerators have it."""
    model = model or Regression()
    optimizer = make(model)
    optimizer.step_in_backward()
    for group in optimizer.param_groups:
        group["capturable"] = on_device
    return model, optimizer  # type: ignore[return-value]


def until_main(model: Regression, optimizer: Any, more: int = 0) -> int:
    """Steps until so many of the main run are taken; how many it were."""
    step = 0
    while optimizer.status().phase == "search":
        feed_step(model, optimizer, step)
        step += 1
    run(model, optimizer, more, first=step)
    return step + more


@pytest.mark.parametrize("name", MAKES)
def test_probes_are_the_same_and_the_main_run_ends_as_low(name: str) -> None:
    """Of a probe nothing is late: from the second one on it has the bits of one that steps afterwards."""
    model, optimizer = start(MAKES[name])
    other_model = Regression()
    other = MAKES[name](other_model)
    probe = optimizer._setting().config.total_steps // 16  # gradients
    for step in range(STEPS):
        feed_step(model, optimizer, step)
        feed_step(other_model, other, step)
        assert all(param.grad is None for param in model.parameters())
        if step == probe + probe // 2:
            assert optimizer.history()[0].step_size == pytest.approx(other.history()[0].step_size, rel=1e-5)
            torch.testing.assert_close(snapshot(model), snapshot(other_model))
    assert optimizer.status().phase == "done"
    assert [probe.accepted for probe in optimizer.history()] == [probe.accepted for probe in other.history()]
    assert model.full_loss() < max(1.5 * other_model.full_loss(), 0.05)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", [*MAKES, *ENDLESS])
def test_resumes_bit_for_bit(name: str, dtype: torch.dtype) -> None:
    make = {**MAKES, **ENDLESS}[name]
    model, optimizer = start(make, Regression(dtype=dtype))
    done = until_main(model, optimizer, 5)
    other_model, other = start(make, Regression(dtype=dtype))
    other_model.load_state_dict(model.state_dict())
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for each in ((model, optimizer), (other_model, other)):
        run(*each, 5, first=done)
    assert_same(snapshot(model), snapshot(other_model))
    with optimizer.averaged():
        assert all_finite(model)
    assert_same(snapshot(model), snapshot(other_model))


@pytest.mark.parametrize("fault", [torch.nan, torch.inf, 1e30])
@pytest.mark.parametrize(
    ("name", "on_device"), [("SGD", False), ("SGD, momentum and decay", True), ("AdamW", False)]
)
def test_what_is_not_finite_reaches_no_parameter(name: str, on_device: bool, fault: float) -> None:
    """Of one tensor alone, in a probe and in the main run; after four in a row the run goes back to the anchor."""
    model, optimizer = start(MAKES[name], on_device=on_device)
    weight, factor = model.weight, [1.0]
    weight.register_hook(lambda gradient: gradient * factor[0])
    anchor = weight.detach().clone()

    def step_with(value: float, number: int) -> bool:
        factor[0], before = value, weight.detach().clone()
        feed_step(model, optimizer, number)
        return torch.equal(weight, before)

    assert step_with(1.0, 0)  # the first one only measures
    assert not step_with(1.0, 1)
    assert step_with(fault, 3) or name == "AdamW"  # the base steps with a gradient of zero
    factor[0] = 1.0
    until_main(model, optimizer, 8)
    assert step_with(fault, 0) or name == "AdamW"
    for number in range(3):
        step_with(fault, number)
    assert torch.equal(weight, anchor)
    assert optimizer._memory().read().run.restarts == 1
    assert step_with(1.0, 0)
    assert not step_with(1.0, 1)
    assert all_finite(model)


def test_an_accelerator_decides_alike_and_is_not_waited_for() -> None:
    model, optimizer = start(MAKES["SGD, momentum and decay"])
    other_model, other = start(MAKES["SGD, momentum and decay"], on_device=True)
    done = until_main(model, optimizer, 6)
    run(other_model, other, done)
    torch.testing.assert_close(snapshot(model), snapshot(other_model), rtol=1e-3, atol=1e-4)
    assert not reads_of(lambda: feed_step(other_model, other, done))


def test_the_first_gradients_only_measure() -> None:
    """Of all and, since the mean norm of its gradients is not known, of the main run."""
    model, optimizer = start(MAKES["SGD"])
    anchor = snapshot(model)
    feed_step(model, optimizer, 0)
    assert_same(snapshot(model), anchor)
    feed_step(model, optimizer, 1)
    assert not torch.equal(model.weight, anchor["weight"])
    step = until_main(model, optimizer, 1)
    assert_same(snapshot(model), anchor)
    run(model, optimizer, 1, first=step)
    assert not torch.equal(model.weight, anchor["weight"])


@pytest.mark.parametrize("make", [MAKES["SGD"], MAKES["AdamW"]])
def test_what_is_frozen_or_has_no_rate_stays_and_may_join_later(make: Make) -> None:
    model = Regression()
    model.bias.requires_grad_(False)
    _, optimizer = start(make, model)
    step = until_main(model, optimizer, 3)
    assert not model.bias.any()
    model.bias.requires_grad_(True)
    run(model, optimizer, 3, first=step)
    assert model.bias.all()
    optimizer.param_groups[0]["lr"] = 0.0
    before = snapshot(model)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*lr falls in the main run")
        run(model, optimizer, 2)
    assert_same(snapshot(model), before)


@pytest.mark.parametrize("base", [None, SGD])
def test_a_probe_counts_the_distance_of_what_has_no_gradient(base: Any) -> None:
    found = []
    for in_backward in (False, True):
        often, seldom = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(3))
        params = [often, seldom]
        optimizer = ParameterFree(base(params, lr=1.0), 320) if base else ParameterFreeSGD(params, 320)
        if in_backward:
            optimizer.step_in_backward()
        for step in range(48):
            optimizer.zero_grad()
            loss = often.square().sum() + (seldom.square().sum() if step % 16 < 8 else 0.0)
            loss.backward()
            optimizer.step()
        found.append([(each.step_size, each.accepted, each.distance) for each in optimizer.history()[1:3]])
    assert len(found[0]) == 2
    for one, other in zip(*found, strict=True):
        assert one == pytest.approx(other, rel=1e-5)


def test_the_end_is_the_returned_point_and_gradients_after_it_are_idle() -> None:
    model, optimizer = start(MAKES["SGD"])
    run(model, optimizer, STEPS)
    point = snapshot(model)
    with pytest.warns(UserWarning, match="is spent"):
        feed_step(model, optimizer, 0)
    assert_same(snapshot(model), point)
    optimizer.extend(20)
    run(model, optimizer, 20)
    assert optimizer.status().phase == "done"
    assert not torch.equal(model.weight, point["weight"])


def test_the_handle_gives_the_gradients_back() -> None:
    model = Regression()
    optimizer = MAKES["SGD"](model)
    with optimizer.step_in_backward():
        feed_step(model, optimizer, 0)
        assert model.weight.grad is None
    feed_step(model, optimizer, 1)
    assert model.weight.grad is not None
    optimizer.zero_grad()
    optimizer.step()  # without a gradient it does nothing
    assert optimizer.status().step == 2


def refused(how: str, **options: Any) -> Callable[[], Any]:
    model = Regression()
    base = CountsInItsGroups(model.parameters(), lr=0.1) if how == "base" else None
    sgd = ParameterFreeSGD(model.parameters(), STEPS, **options)
    optimizer: Any = ParameterFree(base, STEPS) if base else sgd

    def action() -> None:
        optimizer.step_in_backward()
        if how == "twice":
            optimizer.step_in_backward()
        feed_step(model, optimizer, 0)
        feed_step(model, optimizer, 1)
        if how == "deployed":
            optimizer.state[model.weight]["anchor"].add_(1.0)
            optimizer.eval()
        if how == "scaler":
            optimizer.grad_scale, optimizer.found_inf = None, torch.zeros(())
        model.loss(2).backward()
        if how == "saved":
            optimizer.state_dict()
        if how == "accumulated":
            model.loss(2).backward()
        optimizer.step()

    return action


@pytest.mark.parametrize(
    ("action", "error", "message"),
    [
        (refused("", plan="certified"), ValueError, "plan"),
        (refused("", capturable=True), ValueError, "capturable"),
        (refused("base"), ValueError, r"one parameter at a time, got CountsInItsGroups, .*\['k'\]"),
        (refused("twice"), ValueError, "once"),
        (refused("deployed"), RuntimeError, r"train\(\)"),
        (refused("scaler"), RuntimeError, "GradScaler"),
        (refused("saved"), RuntimeError, r"state_dict\(\) must come after step"),
        (refused("accumulated"), RuntimeError, "accumulated"),
    ],
)
def test_what_does_not_fit_is_refused(
    action: Callable[[], Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        action()
