"""A base whose step is not proportional to its learning rate is refused at the first gradient, and no other is."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from pfopt.torch import ParameterFree
from tests.torch.problems import Regression, assert_same, feed_step, run, snapshot

STEPS = 40


class DecayAfterTheMove(torch.optim.SGD):
    """As SOAP has it in pytorch_optimizer."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        super().step(closure)
        for group in self.param_groups:
            for param in group["params"]:
                param.mul_(1 - 0.01 * group["lr"])


class IdleAtFirst(DecayAfterTheMove):
    """SOAP again: its first step only looks."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        params = [param for group in self.param_groups for param in group["params"]]
        if all("seen" in self.state[param] for param in params):
            super().step(closure)
        for param in params:
            self.state[param]["seen"] = 1


REFUSED = {
    "Adafactor without decay": lambda params: torch.optim.Adafactor(params),
    "Adafactor": lambda params: torch.optim.Adafactor(params, weight_decay=0.1),
    "ASGD": lambda params: torch.optim.ASGD(params),
    "Rprop": lambda params: torch.optim.Rprop(params),
    "decay after the move": lambda params: DecayAfterTheMove(params, lr=0.1),
    "idle at first": lambda params: IdleAtFirst(params, lr=0.1),
}

TAKEN = {
    "SGD": lambda params: torch.optim.SGD(params),
    "SGD, momentum": lambda params: torch.optim.SGD(
        params, momentum=0.9, nesterov=True, weight_decay=0.1, lr=0.1
    ),
    "SGD, dampening": lambda params: torch.optim.SGD(params, momentum=0.9, dampening=0.5),
    "Adam": lambda params: torch.optim.Adam(params, weight_decay=0.1, amsgrad=True),
    "AdamW": lambda params: torch.optim.AdamW(params, weight_decay=0.5),
    "AdamW, one by one": lambda params: torch.optim.AdamW(params, foreach=False),
    "RMSprop": lambda params: torch.optim.RMSprop(params, momentum=0.9, centered=True),
    "NAdam": lambda params: torch.optim.NAdam(params, weight_decay=0.1, decoupled_weight_decay=True),
    "RAdam": lambda params: torch.optim.RAdam(params, weight_decay=0.1, decoupled_weight_decay=True),
    "Adamax": lambda params: torch.optim.Adamax(params),
    "Adagrad": lambda params: torch.optim.Adagrad(params, lr_decay=0.1),
    "Adadelta": lambda params: torch.optim.Adadelta(params),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    model = Regression()
    optimizer = ParameterFree(REFUSED[name](model.parameters()), STEPS)
    before = snapshot(model)
    kind = type(optimizer.base).__name__
    with pytest.raises(ValueError, match=f"base must move .*proportional to its lr, got {kind}"):
        feed_step(model, optimizer, 0)
    assert_same(snapshot(model), before)


@pytest.mark.parametrize("name", TAKEN)
@pytest.mark.parametrize(
    ("dtype", "scale"),
    [(torch.float32, 1.0), (torch.float32, 1e-12), (torch.bfloat16, 1.0), (torch.float16, 1e-3)],
    ids=str,
)
def test_taken(name: str, dtype: torch.dtype, scale: float) -> None:
    model = Regression(dtype=dtype)
    optimizer = ParameterFree(TAKEN[name](model.parameters()), STEPS)
    for step in range(3):
        optimizer.zero_grad()
        (scale * model.loss(step)).backward()
        optimizer.step()
    assert optimizer.status().step == 3


def test_bases_of_their_own_kind_of_gradient() -> None:
    torch.manual_seed(0)
    embedding = nn.Embedding(6, 3, sparse=True)
    sparse = ParameterFree(torch.optim.SparseAdam(embedding.parameters()), 200)
    for step in range(200):
        sparse.zero_grad()
        (embedding(torch.tensor([step % 6, (step + 1) % 6])) - 1).square().sum().backward()
        sparse.step()
    assert float((embedding.weight - 1).detach().square().mean()) < 0.5
    matrix = nn.Parameter(torch.ones(4, 3))
    muon = ParameterFree(torch.optim.Muon([matrix]), STEPS)
    matrix.grad = torch.linspace(-1, 1, 12).reshape(4, 3)
    muon.step()
    assert muon.status().step == 1


def test_the_first_gradient_leaves_no_trace_of_the_trial() -> None:
    """Of the base's state, nor of the gradients; one that is not finite is not judged."""
    model = Regression()
    optimizer = ParameterFree(torch.optim.Adam(model.parameters()), STEPS)
    model.loss(0).backward()
    assert model.weight.grad is not None
    kept = model.weight.grad.clone()
    model.weight.grad.fill_(math.inf)
    optimizer.step()
    assert not optimizer.base.state
    model.weight.grad.copy_(kept)
    optimizer.step()
    assert_same(model.weight.grad, kept)
    assert float(optimizer.base.state[model.weight]["step"]) == 1
    run(model, optimizer, STEPS - 2)
    assert optimizer.status().phase == "done"
