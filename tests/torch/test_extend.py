"""A run is prolonged or cut, and what loggers and trainers see."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import pfopt.torch
from pfopt.torch import ParameterFree, ParameterFreeAdamW, ParameterFreeSGD
from tests.torch.test_stands_still import held, problem, same, take

STEPS = 200
MAKES: dict[str, Callable[..., Any]] = {
    "sgd": ParameterFreeSGD,
    "adamw": lambda params, steps: ParameterFree(torch.optim.AdamW(params), steps),
}


def make(name: str, steps: int | None = STEPS) -> tuple[Any, Callable[[int], Tensor], torch.nn.ModuleList]:
    first, second, loss = problem(torch.float64)
    model = torch.nn.ModuleList([first, second])
    return MAKES[name](model.parameters(), steps), loss, model


@pytest.mark.parametrize("name", MAKES)
@pytest.mark.parametrize("at", [0, 10, 100, 195, STEPS])
@pytest.mark.parametrize("more", [60, -4])
def test_the_end_is_where_it_was_put(name: str, at: int, more: int) -> None:
    opt, loss, _ = make(name)
    if at >= 195 and more < 0:
        for step in range(at):
            take(opt, loss, step)
        with pytest.raises(ValueError, match="steps must leave total_steps at"):
            opt.extend(-100)
        return
    for step in range(STEPS + more):
        if step == at:
            opt.extend(more)
        assert opt.status().phase != "done" or step == at == STEPS
        take(opt, loss, step)
        assert opt.status().steps_left == (STEPS + (more if step >= at else 0)) - step - 1
    assert opt.status().phase == "done"
    assert opt.param_groups[0]["total_steps"] == STEPS + more
    assert loss(0) < problem(torch.float64)[2](0)
    with pytest.warns(UserWarning, match="budget"):
        take(opt, loss, 0)


@pytest.mark.parametrize("at", [100, 190])
def test_the_iterate_does_not_move(at: int) -> None:
    """There and back again is the run without either, up to rounding; so is what eval() shows."""
    ends = []
    for detour in (False, True):
        opt, loss, model = make("sgd")
        for step in range(STEPS):
            if detour and step == at:
                opt.eval()
                shown = held(model)
                opt.extend(500)
                assert same(model, shown)
                opt.extend(-500)
                opt.train()
            take(opt, loss, step)
        ends.append(held(model))
    for one, other in zip(*ends, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("more", [500, -8])
def test_what_stands_still_does_not_move_either(more: int) -> None:
    opt, loss, model = make("sgd")
    for step in range(190):
        model[0].requires_grad_(step < 180)
        take(opt, loss, step)
    frozen, others = held(model[0]), held(model[1])
    opt.extend(more)
    assert same(model[0], frozen)
    assert not same(model[1], others)


def test_a_finished_run_that_was_saved_goes_on() -> None:
    opt, loss, model = make("sgd")
    for step in range(STEPS):
        take(opt, loss, step)
    other, _, copy = make("sgd")
    copy.load_state_dict(model.state_dict())
    other.load_state_dict(opt.state_dict())
    before = held(copy)
    other.extend(STEPS)
    assert same(copy, before)
    first, second = copy
    for _ in range(STEPS):
        other.zero_grad()
        torch.manual_seed(0)
        output = second(torch.tanh(first(torch.ones(4, 6, dtype=torch.float64))))
        output.square().mean().backward()
        other.step()
    assert other.status().phase == "done"
    assert not same(copy, before)


def test_wrong_extensions() -> None:
    opt, loss, _ = make("sgd")
    with pytest.raises(TypeError, match=r"steps must be an integer, got 1\.5"):
        opt.extend(1.5)
    with pytest.raises(ValueError, match="total_steps is too small to search"):
        opt.extend(-190)
    with pytest.raises(ValueError, match="extend needs total_steps"):
        make("sgd", None)[0].extend(10)
    certified = ParameterFreeSGD([torch.nn.Parameter(torch.ones(2))], 100, plan="certified")
    certified.extend(100)
    assert certified.param_groups[0]["total_steps"] == 200
    param = certified.param_groups[0]["params"][0]
    param.grad = torch.ones(2)
    certified.step()
    with pytest.raises(ValueError, match='plan="certified" that has begun'):
        certified.extend(10)
    take(opt, loss, 0)
    opt.extend(0)
    assert opt.param_groups[0]["total_steps"] == STEPS


@pytest.mark.parametrize("name", MAKES)
def test_loggers_see_the_step_size_in_force(name: str) -> None:
    first, second, loss = problem()
    groups = [{"params": first.parameters(), "lr": 1.0}, {"params": second.parameters(), "lr": 0.5}]
    if name == "adamw":
        opt: Any = ParameterFree(torch.optim.AdamW(groups), STEPS)
    else:
        opt = ParameterFreeSGD(groups, STEPS)
    assert [group["effective_lr"] for group in opt.param_groups] == [0.0, 0.0]
    for step in range(STEPS // 2):
        take(opt, loss, step)
    whole = opt.status().step_size
    assert [group["effective_lr"] for group in opt.param_groups] == [whole, 0.5 * whole]
    assert whole > 0
    saved = opt.state_dict()
    assert all(type(group["effective_lr"]) is float for group in saved["param_groups"])


def test_adamw_as_trainers_make_it() -> None:
    """The same run as the wrapper's; lr is a multiplier as it was given."""
    ends = []
    for kind in ("wrapped", "called"):
        first, second, loss = problem()
        params = [*first.parameters(), *second.parameters()]
        if kind == "wrapped":
            opt: Any = ParameterFree(torch.optim.AdamW(params, betas=(0.8, 0.99), weight_decay=0.1), STEPS)
        else:
            opt = ParameterFreeAdamW(params, STEPS, lr=1.0, betas=(0.8, 0.99), weight_decay=0.1)
        for step in range(STEPS):
            take(opt, loss, step)
        ends.append(held(first))
    assert all(torch.equal(one, other) for one, other in zip(*ends, strict=True))
    opt = ParameterFreeAdamW(problem()[0].parameters(), STEPS, lr=1e-3)
    assert opt.param_groups[0]["lr"] == opt.defaults["lr"] == 1e-3
    for param in opt.param_groups[0]["params"]:
        param.grad = torch.ones_like(param)
    with pytest.warns(UserWarning, match="far from 1"):
        opt.step()
    with pytest.raises(ValueError, match="beta"):
        ParameterFreeAdamW(problem()[0].parameters(), STEPS, betas=(2.0, 0.9))
    assert pfopt.torch.ParameterFreeAdamW is ParameterFreeAdamW
