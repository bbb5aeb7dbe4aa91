"""What takes no gradient does not move, and what others write into parameters counts once."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

import pfopt
from pfopt.torch import ParameterFree, ParameterFreeSGD

STEPS = 300
Make = Callable[..., Any]
MAKES: dict[str, Make] = {
    "sgd": ParameterFreeSGD,
    "momentum": partial(ParameterFreeSGD, momentum=0.9),
    "one by one": partial(ParameterFreeSGD, foreach=False),
    "tensor": partial(ParameterFreeSGD, plan=pfopt.Practical(scope="tensor")),
    "adamw": lambda params, steps: ParameterFree(torch.optim.AdamW(params), steps),
}


def problem(
    dtype: torch.dtype = torch.float32,
) -> tuple[torch.nn.Linear, torch.nn.Linear, Callable[[int], Tensor]]:
    """Two layers, and the loss of a batch."""
    torch.manual_seed(0)
    first, second = torch.nn.Linear(6, 5, dtype=dtype), torch.nn.Linear(5, 3, dtype=dtype)
    inputs = torch.randn(64, 6, dtype=dtype)
    targets = torch.randn(64, 3, dtype=dtype)

    def loss(step: int) -> Tensor:
        rows = torch.randint(64, (16,), generator=torch.Generator().manual_seed(step))
        return (second(torch.tanh(first(inputs[rows]))) - targets[rows]).float().square().mean()

    return first, second, loss


def take(opt: torch.optim.Optimizer, loss: Callable[[int], Tensor], step: int) -> None:
    opt.zero_grad()
    loss(step).backward()
    opt.step()


def held(layer: torch.nn.Module) -> list[Tensor]:
    return [param.detach().clone() for param in layer.parameters()]


def same(layer: torch.nn.Module, kept: list[Tensor]) -> bool:
    return all(torch.equal(param, own) for param, own in zip(layer.parameters(), kept, strict=True))


@pytest.mark.parametrize(
    ("name", "way", "steps"),
    [
        *((name, "requires_grad", STEPS) for name in MAKES),
        *(("sgd", way, steps) for way in ("grad", "lr") for steps in (STEPS, None)),
        ("momentum", "lr", STEPS),
        ("adamw", "grad", None),
        ("adamw", "lr", STEPS),
    ],
)
def test_what_is_frozen_half_way_does_not_move(name: str, way: str, steps: int | None) -> None:
    first, second, loss = problem()
    groups = [{"params": list(first.parameters())}, {"params": list(second.parameters())}]
    opt = MAKES[name](groups, steps)
    frozen: list[Tensor] = []
    for step in range(STEPS):
        if step == STEPS // 2:
            frozen = held(first)
            if way == "requires_grad":
                first.requires_grad_(False)
            elif way == "lr":
                opt.param_groups[0]["lr"] = 0.0
        opt.zero_grad()
        loss(step).backward()
        if way == "grad" and frozen:
            for param in first.parameters():
                param.grad = None
        opt.step()
        assert not frozen or same(first, frozen)
        if step % 50 == 7 and opt.status().phase != "search":
            with opt.averaged():
                assert not frozen or same(first, frozen)
    assert opt.status().phase == ("done" if steps else "main")
    opt.eval()
    assert same(first, frozen)
    assert not same(second, held(problem()[1]))


@pytest.mark.parametrize("name", MAKES)
@pytest.mark.parametrize("way", ["requires_grad", "lr"])
@pytest.mark.parametrize("when", [7, 21, 40])
def test_what_is_frozen_during_the_search_does_not_move(name: str, way: str, when: int) -> None:
    first, second, loss = problem()
    groups = [{"params": list(first.parameters())}, {"params": list(second.parameters())}]
    opt, frozen = MAKES[name](groups, STEPS), held(first)
    for step in range(STEPS):
        if step == when:
            assert opt.status().phase == "search"
            frozen = held(first)
            if way == "requires_grad":
                first.requires_grad_(False)
            else:
                opt.param_groups[0]["lr"] = 0.0
        take(opt, loss, step)
        assert step < when or same(first, frozen)
    with opt.averaged():
        assert same(first, frozen)
    assert not same(second, held(problem()[1]))


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_what_is_thawed_begins_where_it_stands(name: str) -> None:
    first, second, loss = problem()
    opt, kept = MAKES[name]([*first.parameters(), *second.parameters()], STEPS), held(first)
    for step in range(40):
        if step in (5, 30):
            first.requires_grad_(step == 30)
            kept = held(first)
        take(opt, loss, step)
        if step >= 30:
            for param, own in zip(first.parameters(), kept, strict=True):
                assert torch.equal(opt.state[param]["anchor"], own)


def test_what_is_thawed_goes_on() -> None:
    first, second, loss = problem()
    opt, kept = ParameterFreeSGD([*first.parameters(), *second.parameters()], STEPS), held(first)
    for step in range(STEPS):
        first.requires_grad_(not 150 <= step < 250)
        if step == 250:
            kept = held(first)
        take(opt, loss, step)
    assert not same(first, kept)
    assert torch.stack([loss(step) for step in range(20)]).mean() < 0.95


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("sgd", torch.float32),
        ("sgd", torch.float64),
        ("sgd", torch.bfloat16),
        ("one by one", torch.float32),
        ("tensor", torch.float32),
    ],
)
@pytest.mark.parametrize("through_data", [False, True])
def test_a_pruned_weight_stays_where_it_was_put(name: str, dtype: torch.dtype, through_data: bool) -> None:
    first, second, loss = problem(dtype)
    opt = MAKES[name]([*first.parameters(), *second.parameters()], STEPS)
    mask = torch.zeros_like(first.weight)
    mask[:, 2:] = 1
    for step in range(STEPS):
        if step == STEPS // 2:
            (first.weight.data if through_data else first.weight.detach()).mul_(mask)
            first.weight.register_hook(lambda grad: grad * mask)
        take(opt, loss, step)
    assert opt.status().phase == "done"
    assert not first.weight[:, :2].any()


def test_a_write_counts_once() -> None:
    """The loss is flat: nothing else moves the weight."""
    weight = torch.nn.Parameter(torch.zeros(8))
    opt = ParameterFreeSGD([weight], STEPS)
    for step in range(STEPS):
        if step == 200:
            with torch.no_grad():
                weight.fill_(5.0)
        flat = step >= 200
        weight.grad = torch.zeros(8) if flat else 2 * (weight.detach() - 1) + 0.1 * torch.randn(8)
        opt.step()
    assert torch.equal(weight.detach(), torch.full((8,), 5.0))


def test_without_writes_nothing_changes() -> None:
    """Runs that look at the parameters in between, or put back what they found there, are the same run."""
    ends = []
    for meddles in (False, True):
        first, second, loss = problem()
        opt = ParameterFreeSGD([*first.parameters(), *second.parameters()], STEPS)
        for step in range(STEPS):
            take(opt, loss, step)
            if meddles:
                with opt.averaged(), torch.no_grad():
                    loss(step)
                first.weight.data.mul_(1.0)
        ends.append(held(first) + held(second))
    assert all(torch.equal(one, other) for one, other in zip(*ends, strict=True))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_weight_that_is_not_finite_does_not_stay(value: float) -> None:
    weight = torch.nn.Parameter(torch.zeros(3))
    opt = ParameterFreeSGD([weight], 120)
    for step in range(120):
        if step == 60:
            weight.data[0] = value
        opt.zero_grad()
        (weight - 0.3).square().sum().backward()
        opt.step()
    assert (weight - 0.3).abs().max() < 0.01


@pytest.mark.parametrize("name", ["sgd", "adamw"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_written_at_a_probes_begin_moves_the_anchor(name: str, dtype: torch.dtype) -> None:
    """Weights that are loaded after a few steps, say; both layers, in one bundle and in two."""
    first, second, loss = problem(dtype)
    opt, probes = MAKES[name]([*first.parameters(), *second.parameters()], STEPS), 0
    for step in range(60):
        if len(opt.history()) == 1 and not probes:
            probes = 1
            first.weight.data.fill_(0.25)
            first.bias.data[:2] = torch.tensor([float("nan"), 1e30])
        take(opt, loss, step)
    anchor = opt.state[first.weight]["anchor"]
    assert len(opt.history()) > 1
    assert torch.equal(anchor, torch.full_like(anchor, 0.25))
    assert all(state["anchor"].abs().max() < 1e3 for state in opt.state.values())


def test_what_is_written_in_a_probe_is_undone_with_a_sentence() -> None:
    first, second, loss = problem()
    opt, start = ParameterFreeSGD([*first.parameters(), *second.parameters()], STEPS), held(first)
    for step in range(5):
        take(opt, loss, step)
    first.weight.data.zero_()
    with pytest.warns(UserWarning, match="written to while the search runs"):
        take(opt, loss, 5)
    for step in range(6, 20):
        first.weight.data.clamp_(-1, 1)
        take(opt, loss, step)
    opt.eval()
    assert same(first, start)


@pytest.mark.parametrize("name", ["sgd", "tensor"])
@pytest.mark.parametrize("value", [float("inf"), -1e30])
def test_a_weight_that_cannot_be_squared_does_not_stay(name: str, value: float) -> None:
    """Gradients are finite there."""
    first, second, loss = problem()
    opt = MAKES[name]([*first.parameters(), *second.parameters()], STEPS)
    for step in range(STEPS):
        if step == 200:
            first.weight.data[0, 0] = value
        take(opt, loss, step)
        assert step < 201 or all(param.abs().max() < 1e3 for param in held(first))
