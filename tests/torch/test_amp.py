"""``torch.amp.GradScaler``: a step that a scaler would leave out is one of the budget, and no probe waits for ever."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pfopt.torch import ParameterFree, ParameterFreeSGD
from tests.torch.problems import Regression, assert_same, snapshot

STEPS = 96

MAKE: dict[str, Callable[[Any], Any]] = {
    "sgd": lambda params: ParameterFreeSGD(params, STEPS),
    "in tensors": lambda params: ParameterFreeSGD(params, STEPS, capturable=True),
    "certified": lambda params: ParameterFreeSGD(params, STEPS, plan="certified"),
    "adamw": lambda params: ParameterFree(torch.optim.AdamW(params), STEPS),
    "adamw, unknown horizon": lambda params: ParameterFree(torch.optim.AdamW(params), None),
}


def scaler(scale: float = 2.0**16) -> torch.amp.GradScaler:
    return torch.amp.GradScaler("cpu", init_scale=scale)


def as_in_float16(model: nn.Module) -> None:
    """What gradients lose that were computed in float16."""
    for param in model.parameters():
        assert param.grad is not None
        param.grad = param.grad.half().float()


def deep(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 3))


@pytest.mark.parametrize(
    ("name", "unscaled"),
    [("sgd", False), ("sgd", True), ("in tensors", False), ("adamw", False), ("adamw", True)],
)
def test_a_scale_changes_nothing(name: str, unscaled: bool) -> None:
    """A power of two, whoever divides by it."""
    reference, model = Regression(), Regression()
    plain, optimizer, scales = MAKE[name](reference.parameters()), MAKE[name](model.parameters()), scaler(8.0)
    for step in range(STEPS):
        plain.zero_grad()
        reference.loss(step).backward()
        plain.step()
        optimizer.zero_grad()
        scales.scale(model.loss(step)).backward()
        if unscaled:
            scales.unscale_(optimizer)
        scales.step(optimizer)
        scales.update()
        if step == 0:
            assert_same([p.grad for p in model.parameters()], [p.grad for p in reference.parameters()])
    assert_same(snapshot(model), snapshot(reference))
    assert not hasattr(optimizer, "grad_scale")


@pytest.mark.parametrize("name", MAKE)
def test_the_budget_is_reached_where_probes_overflow(name: str) -> None:
    """And the scale survives: gradients after an explosion are taken at the anchor."""
    model, data = deep(), Regression()
    optimizer, scales = MAKE[name](model.parameters()), scaler()
    before, overflows = float((model(data.inputs) - data.targets).detach().square().mean()), 0
    for _ in range(STEPS):
        optimizer.zero_grad()
        outputs = model(data.inputs).half().float()  # infinite where activations of float16 would be
        scales.scale((outputs - data.targets).square().mean()).backward()
        as_in_float16(model)
        overflows += not all(p.grad is not None and bool(p.grad.isfinite().all()) for p in model.parameters())
        scales.step(optimizer)
        scales.update()
    assert overflows > 0
    assert optimizer.status().step == STEPS
    assert scales.get_scale() > 1
    with optimizer.averaged():
        after = float((model(data.inputs) - data.targets).detach().square().mean())
    assert (
        after <= (1.0 if name in ("certified", "adamw, unknown horizon") else 0.5) * before
    )  # these still search


@pytest.mark.parametrize("name", ["sgd", "in tensors", "adamw"])
def test_what_the_scaler_has_found_counts_where_gradients_were_mended(name: str) -> None:
    """Gradients without an infinity left, as ``nan_to_num`` leaves them, are not taken all the same."""
    model = Regression()
    optimizer, scales = MAKE[name](model.parameters()), scaler(1.0)
    for step in range(30):
        optimizer.zero_grad()
        scales.scale(model.loss(step)).backward()
        if step == 20:
            model.bias.grad[0] = torch.inf  # type: ignore[index]
        scales.unscale_(optimizer)
        for param in model.parameters():
            assert param.grad is not None
            param.grad.nan_to_num_(posinf=0.0)
        before, spent = snapshot(model), optimizer.status().step
        probes = optimizer.status().probe
        scales.step(optimizer)
        scales.update()
        if step == 20:
            assert optimizer.status().probe == probes
            assert_same(snapshot(model), before)
            assert optimizer.status().step == spent + 1


def test_sparse_gradients_are_unscaled() -> None:
    found: list[Tensor] = []
    for scale in (1.0, 1024.0):
        torch.manual_seed(0)
        embedding = nn.Embedding(6, 3, sparse=True)
        optimizer, scales = ParameterFreeSGD(embedding.parameters(), 40), scaler(scale)
        for step in range(40):
            optimizer.zero_grad()
            rows = torch.tensor([step % 6, step % 6, (step + 1) % 6])
            scales.scale((embedding(rows) - 1).square().sum()).backward()
            scales.step(optimizer)
            scales.update()
        found.append(embedding.weight.detach())
    assert_same(found[0], found[1])
