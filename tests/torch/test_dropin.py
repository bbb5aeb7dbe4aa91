"""The optimizer takes the place of torch.optim.SGD among the tools of a training loop."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch._dynamo.testing import CompileCounter
from torch.optim import lr_scheduler

from pfopt import Certified, Practical
from pfopt.core.records import Phase
from pfopt.torch import ParameterFreeSGD
from pfopt.torch.step import take_gradient
from tests.torch.problems import Regression, all_finite, assert_same, feed_step, run, snapshot

STEPS = 200

SCHEDULERS: dict[str, Callable[[Any], Any]] = {
    "warm-up from 0": lambda opt: lr_scheduler.LambdaLR(opt, lambda step: min(step / 20, 1.0)),
    "cosine": lambda opt: lr_scheduler.CosineAnnealingLR(opt, T_max=STEPS),
    "one cycle": lambda opt: lr_scheduler.OneCycleLR(opt, max_lr=1.0, total_steps=STEPS + 1),
    "plateau": lambda opt: lr_scheduler.ReduceLROnPlateau(opt, patience=60),
    "linear to 0": lambda opt: lr_scheduler.LinearLR(
        opt, start_factor=1.0, end_factor=0.0, total_iters=STEPS
    ),
    "chained": lambda opt: lr_scheduler.SequentialLR(
        opt,
        [lr_scheduler.LinearLR(opt, 0.01, total_iters=10), lr_scheduler.ExponentialLR(opt, 0.99)],
        milestones=[10],
    ),
}


def trained(
    steps: int = STEPS, feed: str = "gradients", **kwargs: Any
) -> tuple[Regression, ParameterFreeSGD]:
    model = Regression()
    optimizer = ParameterFreeSGD(model.parameters(), steps, **kwargs)
    run(model, optimizer, steps, feed=feed)
    return model, optimizer


@pytest.mark.parametrize(
    ("name", "momentum"), [(name, 0.9 * (place % 2)) for place, name in enumerate(SCHEDULERS)]
)
def test_schedulers_compose(name: str, momentum: float) -> None:
    model = Regression()
    optimizer = ParameterFreeSGD(model.parameters(), STEPS, momentum=momentum)
    initial, scheduler = model.full_loss(), SCHEDULERS[name](optimizer)
    rates = []
    for step in range(STEPS):
        feed_step(model, optimizer, step)
        scheduler.step(*([model.full_loss()] if name == "plateau" else []))
        rates.append(optimizer.param_groups[0]["lr"])
    assert len(set(rates)) > 1 or name == "plateau"
    assert all_finite(model)
    assert model.full_loss() < 0.2 * initial
    assert optimizer.status().phase == "done"


@pytest.mark.parametrize("name", ["warm-up from 0", "cosine", "one cycle", "chained"])
def test_schedulers_do_not_mislead_the_search(name: str) -> None:
    """Only the ratio of the groups' lr counts there: a warm-up must not look like a short distance."""
    _, plain = trained()
    model = Regression()
    optimizer = ParameterFreeSGD(model.parameters(), STEPS)
    scheduler = SCHEDULERS[name](optimizer)
    run(model, optimizer, STEPS, after_step=lambda _: scheduler.step())
    assert len(plain.history()) >= 2
    assert optimizer.history() == plain.history()


def test_lr_scales_the_main_run_only() -> None:
    model, optimizer = trained()
    with pytest.warns(UserWarning, match="lr is a multiplier"):
        gentle, gentle_optimizer = trained(lr=1e-3)
    assert gentle_optimizer.history() == optimizer.history()
    anchor = snapshot(Regression())
    moved, moved_gently = (
        math.sqrt(sum(float((anchor[k] - v).square().sum()) for k, v in snapshot(m).items()))
        for m in (model, gentle)
    )
    assert 0 < moved_gently < 0.1 * moved


def test_grad_scaler_with_an_overflow() -> None:
    """A step that a scaler would leave out is one of the budget: the run is that of the same gradients without it."""
    runs = []
    for scaled in (False, True):
        model = Regression()
        optimizer = ParameterFreeSGD(model.parameters(), 60)
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10, growth_interval=1000, enabled=scaled)
        for step in range(60):
            optimizer.zero_grad()
            scaler.scale(model.loss(step)).backward()
            if step in (0, 3, 40):
                assert model.weight.grad is not None
                model.weight.grad[0, 0] = math.inf
            scaler.step(optimizer)
            scaler.update()
        assert optimizer.status().phase == "done"
        assert scaler.get_scale() == (2.0**7 if scaled else 1.0)
        runs.append((snapshot(model), optimizer.history()))
    assert_same(runs[0][0], runs[1][0])
    assert runs[0][1] == runs[1][1]


@pytest.mark.parametrize("clip", ["norm", "value"])
def test_gradient_clipping(clip: str) -> None:
    model = Regression()
    optimizer = ParameterFreeSGD(model.parameters(), STEPS)
    initial = model.full_loss()
    for step in range(STEPS):
        optimizer.zero_grad()
        model.loss(step).backward()
        if clip == "norm":
            torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        else:
            torch.nn.utils.clip_grad_value_(model.parameters(), 0.05)
        optimizer.step()
    assert model.full_loss() < 0.5 * initial


def test_compiled_model() -> None:
    reference, _ = trained(40)
    model = Regression()
    optimizer = ParameterFreeSGD(model.parameters(), 40)
    compiled: Any = torch.compile(model, backend="eager")
    for step in range(40):
        optimizer.zero_grad()
        rows = slice(8 * step % 24, 8 * step % 24 + 8)
        (compiled(model.inputs[rows]) - model.targets[rows]).square().mean().backward()
        optimizer.step()
    assert_same(snapshot(model), snapshot(reference))


def test_compiled_training_step() -> None:
    reference, _ = trained(40)
    model = Regression()
    optimizer = ParameterFreeSGD(model.parameters(), 40)
    counter = CompileCounter()

    @torch.compile(backend=counter)
    def train(inputs: torch.Tensor, targets: torch.Tensor) -> None:
        optimizer.zero_grad()
        (model(inputs) - targets).square().mean().backward()
        optimizer.step()

    for step in range(40):
        rows = slice(8 * step % 24, 8 * step % 24 + 8)
        train(model.inputs[rows], model.targets[rows])
    assert_same(snapshot(model), snapshot(reference))
    assert 0 < counter.op_count < 20  # the model and its loss


def test_closure_is_called_once_with_gradients_enabled() -> None:
    model = Regression()
    optimizer = ParameterFreeSGD(model.parameters(), 32)
    calls = []
    for step in range(32):

        def closure(step: int = step) -> torch.Tensor:
            assert torch.is_grad_enabled()
            optimizer.zero_grad()
            loss = model.loss(step)
            loss.backward()
            calls.append(loss)
            return loss

        with torch.no_grad():
            assert optimizer.step(closure) is calls[-1]
            assert not torch.is_grad_enabled()
        assert len(calls) == step + 1


@pytest.mark.parametrize("steps", [40, 200])
def test_all_ways_to_pass_the_loss_agree(steps: int) -> None:
    by_closure, optimizer = trained(steps, feed="closure")
    by_keyword, optimizer_of_keyword = trained(steps, feed="loss")
    assert_same(snapshot(by_closure), snapshot(by_keyword))
    assert optimizer.history() == optimizer_of_keyword.history()
    assert all(record.mean_value is not None for record in optimizer.history())
    model = Regression()
    by_number = ParameterFreeSGD(model.parameters(), steps)
    for step in range(steps):
        by_number.zero_grad()
        loss = model.loss(step)
        loss.backward()
        by_number.step(loss=loss.item())
    torch.testing.assert_close(snapshot(model), snapshot(by_keyword))


def test_finite_losses_change_no_step() -> None:
    told, _ = trained(200, feed="loss")
    untold, optimizer = trained(200, feed="gradient")
    assert_same(snapshot(told), snapshot(untold))
    assert all(record.mean_value is None for record in optimizer.history())


@pytest.mark.parametrize(
    ("kwargs", "maximize", "foreach"),
    [
        ({}, False, True),
        ({}, True, False),
        ({"momentum": 0.9, "nesterov": True, "weight_decay": 0.1}, True, True),
        ({"momentum": 0.9, "nesterov": True, "weight_decay": 0.1}, False, False),
    ],
)
def test_gradients_are_not_mutated(kwargs: dict[str, Any], maximize: bool, foreach: bool) -> None:
    model = Regression()
    optimizer = ParameterFreeSGD(model.parameters(), 40, maximize=maximize, foreach=foreach, **kwargs)
    homes = [param.data_ptr() for param in model.parameters()]
    for step in range(40):
        optimizer.zero_grad()
        (model.loss(step) * (-1 if maximize else 1)).backward()
        grads = [param.grad for param in model.parameters()]
        before = [grad.clone() for grad in grads if grad is not None]
        optimizer.step()
        assert all(param.grad is grad for param, grad in zip(model.parameters(), grads, strict=True))
        assert_same(grads, before)
    assert [param.data_ptr() for param in model.parameters()] == homes


@pytest.mark.parametrize("plan", ["practical", "certified"])
def test_maximize_is_minimize_of_the_negative(plan: Any) -> None:
    reference, _ = trained(64, plan=plan)
    model = Regression()
    optimizer = ParameterFreeSGD(model.parameters(), 64, plan=plan, maximize=True)
    for step in range(64):
        optimizer.zero_grad()
        (-model.loss(step)).backward()
        optimizer.step()
    assert_same(snapshot(model), snapshot(reference))


def test_momentum_and_nesterov_reach_the_same_minimum_by_other_ways() -> None:
    ways: list[dict[str, Any]] = [{}, {"momentum": 0.9}, {"momentum": 0.9, "nesterov": True}]
    results = [trained(240, **kwargs)[0] for kwargs in ways]
    initial = Regression().full_loss()
    assert all(model.full_loss() < 0.05 * initial for model in results)
    assert len({float(snapshot(model)["weight"].sum()) for model in results}) == 3


@pytest.mark.parametrize("kwargs", [{}, {"plan": "certified"}, {"total_steps": None}])
def test_train_and_eval_are_safe_at_any_time(kwargs: dict[str, Any]) -> None:
    """As the Trainer of transformers calls them: before the first step, repeatedly, around every step."""
    kwargs = {"total_steps": 48, **kwargs}
    reference, model = Regression(), Regression()
    run(reference, ParameterFreeSGD(reference.parameters(), **kwargs), 48)
    optimizer = ParameterFreeSGD(model.parameters(), **kwargs)
    for step in range(48):
        before = snapshot(model)
        optimizer.eval()
        deployed = snapshot(model)
        optimizer.eval()
        assert_same(snapshot(model), deployed)
        assert all_finite(model)
        optimizer.train()
        optimizer.train()
        assert_same(snapshot(model), before)
        with optimizer.averaged():
            assert_same(snapshot(model), deployed)
        assert_same(snapshot(model), before)
        feed_step(model, optimizer, step)
    assert_same(snapshot(model), snapshot(reference))
    done = snapshot(model)
    if kwargs["total_steps"] is not None:
        for swap in (optimizer.eval, optimizer.train):
            swap()
            assert_same(snapshot(model), done)


def test_averaged_puts_the_training_iterate_back_after_an_error() -> None:
    model = Regression()
    optimizer = ParameterFreeSGD(model.parameters(), 64)
    run(model, optimizer, 40)
    before = snapshot(model)
    inside = []

    def evaluate() -> None:
        with optimizer.averaged():
            inside.append(snapshot(model))
            raise RuntimeError("evaluation failed")

    with pytest.raises(RuntimeError, match="evaluation failed"):
        evaluate()
    assert any(not torch.equal(before[name], value) for name, value in inside[0].items())
    assert_same(snapshot(model), before)


def test_deployed_iterate_is_better_than_the_training_iterate() -> None:
    """In the middle of the main run, where step sizes are still large."""
    model = Regression()
    optimizer = ParameterFreeSGD(model.parameters(), 400)
    run(model, optimizer, 200)
    training = model.full_loss()
    with optimizer.averaged():
        assert model.full_loss() < training


def test_load_state_dict_before_the_first_step() -> None:
    """As accelerate's prepare() does."""
    reference, _ = trained(40)
    model = Regression()
    optimizer = ParameterFreeSGD(model.parameters(), 40)
    optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    run(model, optimizer, 40)
    assert_same(snapshot(model), snapshot(reference))


def test_a_closure_sees_the_training_iterate_after_eval() -> None:
    reference, _ = trained(64, feed="closure")
    model = Regression()
    optimizer = ParameterFreeSGD(model.parameters(), 64)
    run(model, optimizer, 64, feed="closure", after_step=lambda _: optimizer.eval())
    assert_same(snapshot(model), snapshot(reference))


def test_replays_of_the_main_run_are_seen_by_status() -> None:
    """What a CUDA graph leaves out is the host's part of step(); status() makes up for it."""
    reference, reference_optimizer = trained(200, capturable=True)
    model = Regression()
    optimizer = ParameterFreeSGD(model.parameters(), 200, capturable=True)
    homes: set[int] = set()
    done = snapshot(model)
    for step in range(220):  # replays beyond the end change nothing
        status = optimizer.status()
        if (status.phase == "main" and status.step > 60) or step >= 200:
            optimizer.zero_grad()
            model.loss(step).backward()
            with torch.no_grad():
                memory = optimizer._followed_memory([])
                if memory.phase == Phase.MAIN:
                    homes.add(memory.controller.run.step.data_ptr())  # type: ignore[union-attr]
                take_gradient(optimizer._work(memory, []), None)
        else:
            feed_step(model, optimizer, step)
        if step == 199:
            optimizer.status()
            done = snapshot(model)
    assert_same(snapshot(model), done)
    assert_same(snapshot(model), snapshot(reference))
    assert optimizer.status()._replace(step_size=0.0) == reference_optimizer.status()._replace(step_size=0.0)
    assert len(homes) == 1


def test_positional_closure_none_and_return_value() -> None:
    model = Regression()
    optimizer = ParameterFreeSGD(model.parameters(), 40)
    model.loss().backward()
    assert optimizer.step(None) is None
    assert optimizer.status().step == 1


@pytest.mark.parametrize(
    ("kwargs", "names"),
    [
        ({}, {"anchor", "average", "mean_square"}),
        ({"plan": Practical(anneal="linear", scope="tensor")}, {"anchor"}),
        ({"momentum": 0.9}, {"anchor", "average", "mean_square", "momentum_buffer"}),
        ({"plan": "certified"}, {"anchor", "average", "lo", "hi"}),
        ({"plan": Certified(output="last")}, {"anchor", "grad_sum", "lo", "hi"}),
    ],
)
def test_no_tensor_is_kept_in_vain(kwargs: dict[str, Any], names: set[str]) -> None:
    _, optimizer = trained(64, **kwargs)
    assert all(set(state) == names for state in optimizer.state.values())
