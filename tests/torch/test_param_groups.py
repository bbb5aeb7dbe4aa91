"""Parameter groups, late groups, missing gradients, frozen layers, sparse gradients."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from pfopt import Certified, Practical
from pfopt.torch import ParameterFree, ParameterFreeSGD
from tests.torch.problems import Regression, all_finite, assert_same, run, snapshot

SCOPES: list[Any] = ["global", "group", "tensor"]


def both_groups(model: Regression, **of_second: Any) -> list[dict[str, Any]]:
    return [{"params": [model.weight]}, {"params": [model.bias], **of_second}]


def test_named_parameters() -> None:
    reference, model = Regression(), Regression()
    run(reference, ParameterFreeSGD(reference.parameters(), 40), 40)
    optimizer = ParameterFreeSGD(model.named_parameters(), 40)
    run(model, optimizer, 40)
    assert optimizer.param_groups[0]["param_names"] == ["weight", "bias"]
    assert_same(snapshot(model), snapshot(reference))


@pytest.mark.parametrize("scope", ["auto", "global"])
def test_splitting_into_groups_changes_nothing(scope: Any) -> None:
    """The statistics are those of the whole parameter vector, up to the order of a sum."""
    reference, model = Regression(), Regression()
    reference_optimizer = ParameterFreeSGD(reference.parameters(), 60, plan=Practical(scope=scope))
    run(reference, reference_optimizer, 60)
    optimizer = ParameterFreeSGD(both_groups(model), 60, plan=Practical(scope=scope))
    run(model, optimizer, 60)
    torch.testing.assert_close(snapshot(model), snapshot(reference))
    ours, theirs = optimizer.history(), reference_optimizer.history()
    assert [(r.exponent, r.accepted) for r in ours] == [(r.exponent, r.accepted) for r in theirs]


@pytest.mark.parametrize("plan", ["practical", "certified"])
@pytest.mark.parametrize("ratio", [0.5, 0.25, 0.0])
def test_ratio_of_the_groups_lr_is_the_ratio_of_their_steps(plan: Any, ratio: float) -> None:
    anchor = torch.tensor([1.0, -2.0, 4.0])
    fast, slow = nn.Parameter(anchor.clone()), nn.Parameter(anchor.clone())
    groups = [{"params": [fast], "lr": 1.0}, {"params": [slow], "lr": ratio}]
    optimizer = ParameterFreeSGD(groups, 64, plan=plan)
    for _ in range(2):
        for param in (fast, slow):
            param.grad = torch.tensor([1.0, 1.0, -1.0])
        optimizer.step()
    moved, moved_slowly = fast.detach() - anchor, slow.detach() - anchor
    assert bool((moved != 0).any())
    torch.testing.assert_close(moved_slowly, ratio * moved, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("initial", [True, False], ids=["scheduler", "by hand"])
def test_a_warm_up_from_zero_keeps_the_ratio_of_the_groups(initial: bool) -> None:
    """Where every lr is 0 the ratio is that of initial_lr; the first gradient may well be zero there."""
    plain, model = Regression(), Regression()
    plain_optimizer = ParameterFreeSGD(both_groups(plain, lr=0.25), 60)
    run(plain, plain_optimizer, 60)
    optimizer = ParameterFreeSGD(both_groups(model, lr=0.25), 60)
    if initial:
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(step / 10, 1.0))
        run(model, optimizer, 60, after_step=lambda _: scheduler.step())
    else:
        for group, lr in zip(optimizer.param_groups, (1.0, 0.25), strict=True):
            group["lr"] = 0.0
            for param in group["params"]:
                param.grad = torch.zeros_like(param)
            group["later"] = lr
        optimizer.step()
        for group in optimizer.param_groups:
            group["lr"] = group["later"]
        run(model, optimizer, 60)
    assert optimizer.history() == plain_optimizer.history()


def test_a_tiny_lr_does_not_stretch_the_length_of_the_anchor() -> None:
    """In the metric of the groups its parameters would be 1e14 times as long."""
    plain, model = Regression(), Regression()
    plain_optimizer = ParameterFreeSGD([plain.weight], 60)
    optimizer = ParameterFreeSGD(both_groups(model, lr=1e-28), 60)
    for one, one_optimizer in ((plain, plain_optimizer), (model, optimizer)):
        with torch.no_grad():
            one.bias.fill_(1.0)
        run(one, one_optimizer, 60)
    first, of_plain = optimizer.history()[0], plain_optimizer.history()[0]
    assert first.step_size == pytest.approx(of_plain.step_size, rel=1e-6)
    assert model.full_loss() == pytest.approx(plain.full_loss(), rel=1e-3)


def test_momentum_may_begin_late() -> None:
    """As a scheduler that cycles momentum may do to an optimizer made without."""
    model = Regression()
    optimizer = ParameterFreeSGD(both_groups(model), 120)
    run(model, optimizer, 60)
    for group in optimizer.param_groups:
        group["momentum"] = 0.9
    run(model, optimizer, 60, first=60)
    assert model.full_loss() < 0.5 * Regression().full_loss()


@pytest.mark.parametrize("foreach", [True, False])
@pytest.mark.parametrize("steps", [400, None])
def test_weights_decay_by_a_share_of_the_run_whatever_moves_them(steps: int | None, foreach: bool) -> None:
    """Of those that no gradient holds the iterates shrink to exp(−κ), and the average of them is above that."""
    ends: dict[float, torch.Tensor] = {}
    for decay in (0.0, 3.0):
        model = Regression()
        idle, shown = nn.Parameter(torch.full((3, 2), 2.0)), nn.Parameter(torch.full((2,), 2.0))
        groups = [
            {"params": [*model.parameters(), shown]},
            {"params": [idle], "weight_decay": decay},
        ]
        optimizer = ParameterFreeSGD(groups, steps, foreach=foreach)
        for step in range(400):
            optimizer.zero_grad()
            (model.loss(step) + 0 * idle.sum() + 0 * shown.sum()).backward()
            optimizer.step()
        with optimizer.averaged():
            assert torch.equal(shown, torch.full((2,), 2.0))
            assert torch.equal(idle, idle[0, 0].expand(3, 2))
            ends[decay] = idle[0, 0].detach().clone()
    assert ends[0.0] == 2
    share = 1 if steps else 400 / 1024
    assert 2 * math.exp(-3 * share) < ends[3.0] < 2 * math.exp(-share)


@pytest.mark.parametrize("plan", [Certified(), *(Practical(scope=scope) for scope in SCOPES)], ids=str)
@pytest.mark.parametrize("when", [0, 1, 3, 8, 20, 39])
def test_add_param_group_after_steps(plan: Any, when: int) -> None:
    model = Regression()
    optimizer = ParameterFreeSGD([model.weight], 80, plan=plan)
    anchor, bias = model.full_loss(), model.bias.detach().clone()
    run(model, optimizer, when)
    assert_same(model.bias.detach(), bias)
    optimizer.add_param_group({"params": [model.bias], "lr": 0.5})
    run(model, optimizer, 80 - when, first=when)
    assert all_finite(model)
    assert model.full_loss() <= anchor
    assert optimizer.status().phase == "done"
    assert len(optimizer.state) == 2
    if isinstance(plan, Practical):
        assert not torch.equal(model.bias.detach(), bias)


def test_unknown_group_keys_are_tolerated() -> None:
    reference, model = Regression(), Regression()
    run(reference, ParameterFreeSGD(both_groups(reference), 40), 40)
    groups = both_groups(model, lr_scale=0.1, tag="no decay", initial_lr=1.0)
    optimizer = ParameterFreeSGD(groups, 40)
    run(model, optimizer, 40)
    assert_same(snapshot(model), snapshot(reference))
    assert optimizer.param_groups[1]["tag"] == "no decay"


def test_missing_gradients_are_not_zero_gradients_of_others() -> None:
    """A parameter without a gradient stays; the others train as if it were not there."""
    reference, model = Regression(), Regression()
    spare = nn.Parameter(torch.ones(2))
    run(reference, ParameterFreeSGD(reference.parameters(), 40), 40)
    optimizer = ParameterFreeSGD([*model.parameters(), spare], 40, plan=Practical(scope="global"))
    run(model, optimizer, 40)
    assert_same(spare.detach(), torch.ones(2))
    assert model.full_loss() < Regression().full_loss()
    assert optimizer.status().phase == "done"


def test_steps_without_gradients_spend_nothing() -> None:
    reference, model = Regression(), Regression()
    run(reference, ParameterFreeSGD(reference.parameters(), 40), 40)
    optimizer = ParameterFreeSGD(model.parameters(), 40)
    start = snapshot(model)
    for _ in range(50):  # zeros before the first other gradient
        for param in model.parameters():
            param.grad = torch.zeros_like(param)
        optimizer.step()
    assert_same(snapshot(model), start)

    def idle(_: int) -> None:
        before = snapshot(model)
        optimizer.zero_grad()
        optimizer.step()
        assert_same(snapshot(model), before)

    run(model, optimizer, 20, after_step=idle)
    run(model, optimizer, 20, first=20)
    assert_same(snapshot(model), snapshot(reference))


@pytest.mark.parametrize(
    ("scope", "foreach"),
    [("auto", True), ("auto", False), ("global", True), ("group", False), ("tensor", True)],
)
def test_frozen_layers_stay_and_thaw(scope: Any, foreach: bool) -> None:
    """A tensor that never moved in the search has displacement 0, and must move all the same."""
    model = Regression()
    model.bias.requires_grad_(False)
    optimizer = ParameterFreeSGD(model.parameters(), 120, plan=Practical(scope=scope), foreach=foreach)
    bias = model.bias.detach().clone()
    run(model, optimizer, 60, after_step=lambda _: assert_same(model.bias.detach(), bias))
    model.bias.requires_grad_(True)
    run(model, optimizer, 60, first=60)
    assert not torch.equal(model.bias.detach(), bias)
    assert model.full_loss() < 0.5 * Regression().full_loss()


@pytest.mark.parametrize(
    ("scope", "momentum"), [("auto", 0.0), ("global", 0.9), ("group", 0.0), ("tensor", 0.9)]
)
def test_sparse_gradients_are_those_of_the_dense_embedding(scope: Any, momentum: float) -> None:
    results = []
    for sparse in (False, True):
        torch.manual_seed(0)
        embedding = nn.Embedding(6, 3, sparse=sparse)
        target = torch.randn(6, 3)
        optimizer = ParameterFreeSGD(
            embedding.parameters(), 200, plan=Practical(scope=scope), momentum=momentum
        )
        initial = float((embedding.weight - target).square().sum().detach())
        for step in range(200):
            optimizer.zero_grad()
            rows = torch.tensor([step % 6, (step + 1) % 6, step % 6])
            (embedding(rows) - target[rows]).square().sum().backward()
            optimizer.step()
        assert float((embedding.weight - target).square().sum().detach()) < 0.5 * initial
        results.append(embedding.weight.detach())
    torch.testing.assert_close(results[0], results[1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("scope", ["auto", "global", "group", "tensor"])
@pytest.mark.parametrize("removed", [0, 1])
@pytest.mark.parametrize("when", [10, 60])
def test_a_group_may_go(scope: Any, removed: int, when: int) -> None:
    """The search goes on, whichever it is; also after it was saved and loaded."""
    model, plan = Regression(), Practical(scope=scope)
    optimizer = ParameterFreeSGD(both_groups(model, lr=0.5), 120, plan=plan)
    run(model, optimizer, when)
    probes = optimizer.history()
    gone = optimizer.param_groups.pop(removed)["params"][0]
    stays, before = [model.weight, model.bias][1 - removed], gone.detach().clone()
    ratio = [1.0, 0.5][1 - removed]
    saved = optimizer.state_dict()
    run(model, optimizer, 5, first=when)
    assert optimizer.status().step == when + 5
    assert optimizer.history()[: len(probes)] == probes
    assert_same(gone.detach(), before)
    assert set(optimizer.state) == {stays}
    run(model, optimizer, 115 - when, first=when + 5)
    assert optimizer.status().phase == "done"
    assert all_finite(model)
    again = Regression()
    loaded = ParameterFreeSGD([[again.weight], [again.bias]][1 - removed], 120, plan=plan, lr=ratio)
    loaded.load_state_dict(saved)
    assert loaded.history() == probes


def test_a_parameter_may_go() -> None:
    model, spare = Regression(), nn.Parameter(torch.ones(2))
    kept = torch.zeros(2)
    optimizer = ParameterFreeSGD([spare, *model.parameters()], 120, plan=Practical(scope="tensor"))
    for step in range(120):
        spare.grad = torch.ones(2)
        run(model, optimizer, 1, first=step)
        if step == 40:
            optimizer.param_groups[0]["params"].pop(0)
            kept = spare.detach().clone()
    assert_same(spare.detach(), kept)
    assert optimizer.status().phase == "done"
    assert model.full_loss() < 0.5 * Regression().full_loss()


def test_a_group_that_the_base_still_has() -> None:
    model = Regression()
    optimizer = ParameterFree(torch.optim.Adam(both_groups(model)), 100)
    run(model, optimizer, 10)
    optimizer.param_groups.pop(0)
    with pytest.raises(ValueError, match=r"base must have the groups .*base\.param_groups"):
        run(model, optimizer, 1)
    optimizer.base.param_groups.pop(0)
    run(model, optimizer, 90, first=10)
    assert optimizer.status().phase == "done"
