"""Groups, what is frozen, schedules, closures and shapes: what a training script does with an optimizer."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.optim import lr_scheduler

from pfopt.testing.findings import STEPS, demand, refusal
from pfopt.testing.torch.problems import (
    Make,
    Regression,
    apart,
    demand_descent,
    deployed,
    finite,
    ready,
    same,
    snapshot,
    train,
)

HALF = STEPS // 2


def leaves_frozen_parameters_alone(make: Make) -> None:
    """A layer that is frozen half-way (``requires_grad_(False)``, its gradients None) must not move by a bit.

    Gradual unfreezing, adapters and GANs freeze what takes part again later. An optimizer that pulls parameters
    towards an average, or that decays them, moves what nobody trains; at the end, too, where it swaps a point in.
    """
    problem = Regression()
    optimizer = ready(make, problem.params)
    train(problem, optimizer, range(HALF))
    frozen = problem.params[:2]
    for param in frozen:
        param.requires_grad_(False).grad = None
    _demand_still(problem, optimizer, frozen, "The frozen layer")


def leaves_groups_at_rate_zero_alone(make: Make) -> None:
    """A group whose ``lr`` becomes 0 half-way must not move by a bit from then on.

    It is the other way to freeze, and the one that schedules and warm-ups come by.
    """
    problem = Regression()
    frozen, rest = problem.params[:2], problem.params[2:]
    optimizer = ready(make, [{"params": frozen}, {"params": rest}])
    train(problem, optimizer, range(HALF))
    optimizer.param_groups[0]["lr"] = 0.0
    _demand_still(problem, optimizer, frozen, "The group at lr = 0")


def skips_absent_gradients(make: Make) -> None:
    """Parameters without a gradient, at one step or at all, must stay, and so must all at a step without any."""
    problem = Regression()
    unused = nn.Parameter(torch.ones(3))
    optimizer = ready(make, [*problem.params, unused])
    before = snapshot(problem.params)
    optimizer.step()
    demand(same(before, problem.params), "A step without any gradient moved parameters.")
    value = problem.value()
    train(problem, optimizer)
    demand(bool((unused == 1).all()), "A parameter that never had a gradient was moved.")
    demand_descent(problem, optimizer, value, "Beside an unused parameter")


def stays_at_zero_gradients(make: Make) -> None:
    """A first step at gradients that are exactly zero must leave the parameters finite, and where they are.

    A start at the minimum, a layer that is switched off and torch's distributed checkpoints give such gradients; a
    method that divides by their norm is NaN from then on. What comes after must train. A decay of weights, a hundred
    thousandth in AdamW's step, is allowed.
    """
    problem = Regression()
    optimizer = ready(make, problem.params)
    before, value = snapshot(problem.params), problem.value()
    for param in problem.params:
        param.grad = torch.zeros_like(param)
    optimizer.step()
    moved = [torch.allclose(a, b.detach(), rtol=1e-4) for a, b in zip(before, problem.params, strict=True)]
    demand(all(moved), "A step at zero gradients moved parameters.")
    train(problem, optimizer)
    demand_descent(problem, optimizer, value, "After a step at zero gradients")


def takes_groups(make: Make) -> None:
    """A group that is added half-way must train, with the caller's own keys kept, at rates that may differ.

    Fine-tuning unfreezes layers by ``add_param_group``, and layer decay multiplies the groups' rates by numbers that
    it keeps in the groups, such as timm's ``lr_scale``; a key that is dropped is an option that is ignored.
    """
    problem = Regression()
    first, second = problem.params[:2], problem.params[2:]
    optimizer = ready(make, [{"params": second, "callers_own": 0.5}])
    value = problem.value()
    train(problem, optimizer, range(HALF))
    before = snapshot(first)
    optimizer.add_param_group({"params": first, "callers_own": 0.25})
    if "lr" in optimizer.param_groups[0]:
        optimizer.param_groups[1]["lr"] = optimizer.param_groups[0]["lr"] / 2
    train(problem, optimizer, range(HALF, STEPS))
    keys = [group.get("callers_own") for group in optimizer.state_dict()["param_groups"]]
    demand(keys == [0.5, 0.25], f"The groups' own key was 0.5 and 0.25, and is {keys}.")
    demand(not same(before, first), "The group that was added half-way does not move.")
    demand_descent(problem, optimizer, value, "With a group added half-way")


SCHEDULES: dict[str, Callable[[Any], Any]] = {
    "StepLR": lambda optimizer: lr_scheduler.StepLR(optimizer, HALF),
    "CosineAnnealingLR": lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, STEPS),
    "a warm-up from 0": lambda optimizer: lr_scheduler.LambdaLR(optimizer, lambda step: min(step / 5, 1.0)),
    "ReduceLROnPlateau": lambda optimizer: lr_scheduler.ReduceLROnPlateau(optimizer),
}


def takes_learning_rate_schedules(make: Make) -> None:
    """Learning-rate schedules must run over it, a warm-up that begins at a rate of 0 included, and the run train.

    Trainers put a schedule on every optimizer, asked or not.
    """
    for name, schedule in SCHEDULES.items():
        problem = Regression()
        optimizer = ready(make, problem.params)
        value, scheduler = problem.value(), schedule(optimizer)
        for step in range(STEPS):
            loss = problem.backward(step)
            optimizer.step()
            scheduler.step(*[loss.detach()] if name == "ReduceLROnPlateau" else [])
        demand_descent(problem, optimizer, value, f"Under {name}")


def calls_closures(make: Make) -> None:
    """A closure must be called once, with gradients enabled, and its loss returned; the path is that without one.

    Lightning and skorch train by closures alone, some from under ``torch.no_grad()``.
    """
    plain, problem = Regression(), Regression()
    train(plain, ready(make, plain.params), range(HALF))
    optimizer, calls = ready(make, problem.params), []
    for step in range(HALF):

        def closure(step: int = step) -> torch.Tensor:
            calls.append(torch.is_grad_enabled())
            return problem.backward(step)

        with torch.no_grad():
            loss = optimizer.step(closure)
        demand(calls == [True], f"The closure was called {len(calls)} times; with gradients: {calls}.")
        calls.clear()
        demand(loss is not None, "The closure's loss is not returned.")
    demand(same(plain.params, problem.params), "The path is another one than without the closure.")


def takes_odd_shapes(make: Make) -> None:
    """Parameters of no entry, of no dimension and of one entry must train beside others."""
    shapes = [(0,), (), (1,), (2, 0, 3), (3, 2)]
    params = [nn.Parameter(torch.ones(shape)) for shape in shapes]
    optimizer = ready(make, params)
    start = snapshot(params)
    for _ in range(STEPS):
        for param in params:
            param.grad = None
        torch.stack([(param - 3).square().sum() for param in params]).sum().backward()
        optimizer.step()
    with deployed(optimizer):
        demand(finite(params), "A parameter is not finite.")
        still = [
            str(shape)
            for shape, a, b in zip(shapes, start, params, strict=True)
            if a.numel() and same([a], [b])
        ]
        demand(not still, f"Parameters of shape {', '.join(still)} do not move.")


def takes_complex_parameters(make: Make) -> None:
    """A complex parameter must move as the pair of real ones that it is, or be refused by a sentence.

    One that is squared as if it were real gives a norm that is complex, or of the real part alone.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        start = torch.randn(4, dtype=torch.complex64)
    point = nn.Parameter(start.clone())
    pair = nn.Parameter(torch.view_as_real(start).clone())
    try:
        optimizers = [ready(make, [param]) for param in (point, pair)]
        for step in range(STEPS // 2):
            target = torch.view_as_real(start.roll(1) + 1 + 0.1 * (step % 3))
            for param in (point, pair):
                param.grad = None
            (torch.view_as_real(point) - target).square().sum().backward()
            (pair - target).square().sum().backward()
            for optimizer in optimizers:
                optimizer.step()
    except Exception as error:
        raise refusal(error, "complex") from None
    distance = apart([point], [torch.view_as_complex(pair.detach())], [start])
    demand(distance < 1e-4, f"It ends {distance:.1%} of the way from where the pair of real ones ends.")


def _demand_still(problem: Regression, optimizer: Any, frozen: list[nn.Parameter], what: str) -> None:
    """The second half of the run moves the others alone."""
    before, others = snapshot(frozen), snapshot(problem.params[2:])
    size = sum(float(param.norm()) for param in before)
    for step in range(HALF, STEPS):
        for param in problem.params:
            param.grad = None
        problem.loss(step).backward()
        optimizer.step()
        moved = sum(float((a - b.detach()).norm()) for a, b in zip(before, frozen, strict=True))
        demand(
            same(before, frozen),
            f"{what} moved by {moved / size:.1%} of its norm after {step + 1 - HALF} steps.",
        )
    demand(not same(others, problem.params[2:]), "Nothing moves any more.")
    with deployed(optimizer):
        moved = sum(float((a - b.detach()).norm()) for a, b in zip(before, frozen, strict=True))
        demand(
            same(before, frozen),
            f"{what} moved by {moved / size:.1%} of its norm in eval().",
        )
