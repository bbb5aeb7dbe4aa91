"""What takes part, what stands still, and what others write."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import optax
import torch
from torch import Tensor, nn

import pfopt.optax
from experiments.studies.faults_seen.common import MAKES, STEPS, mean_loss, network, sentences, train
from pfopt.torch import ParameterFreeSGD


def frozen() -> str:
    """Row 1."""
    found = []
    for make in MAKES.values():
        for how in ("requires_grad", "lr"):
            model, loss = network()
            optimizer = make(
                [{"params": list(model[0].parameters())}, {"params": list(model[2].parameters())}]
            )
            train(optimizer, loss, 0, STEPS // 2)
            kept = model[0].weight.detach().clone()
            if how == "lr":
                optimizer.param_groups[0]["lr"] = 0.0
            else:
                model[0].requires_grad_(False)
            train(optimizer, loss, STEPS // 2, STEPS)
            optimizer.eval()
            found.append(float((model[0].weight.detach() - kept).norm() / kept.norm()))
    params: Any
    tx, params = pfopt.optax.parameter_free_sgd(STEPS), {"a": jnp.zeros(4), "b": jnp.zeros(3)}
    step = jax.jit(lambda grads, state, params: tx.update(grads, state, params))
    state, kept_ = tx.init(params), params
    for count in range(STEPS):
        grads = {name: leaf - 1 + 0.1 * (count % 3) for name, leaf in params.items()}
        if count >= STEPS // 2:
            grads["a"] = jnp.zeros(4)
        kept_ = params if count == STEPS // 2 else kept_
        updates, state = step(grads, state, params)
        params = optax.apply_updates(params, updates)
    moved = float(jnp.abs(params["a"] - kept_["a"]).max())
    return f"frozen or lr = 0 half-way, two optimizers: moved by {max(found):g} of the norm; optax: {moved:g}"


def pruned() -> str:
    """Row 2."""
    weight = nn.Parameter(torch.zeros(8))
    optimizer, noise = ParameterFreeSGD([weight], STEPS), torch.Generator().manual_seed(0)
    for step in range(STEPS):
        if step == 200:
            weight.data[:4] = 0.0
        weight.grad = 2 * (weight.detach() - 1) + 0.1 * torch.randn(8, generator=noise)
        if step >= 200:
            weight.grad[:4] = 0.0
        optimizer.step()
    late = f"set to 0 at step 200 of 400, its gradient masked: ends at {float(weight.detach()[:4].abs().max()):g}"
    model, loss = network()
    optimizer = ParameterFreeSGD(model.parameters(), STEPS)
    train(optimizer, loss, 0, 5)
    model[0].weight.data.zero_()
    (sentence,) = sentences(lambda: train(optimizer, loss, 5, 8))[:1]
    return f"{late}; written inside a probe: undone at its end, with a warning (“…{sentence[18:60]}…”)"


def eager_state() -> str:
    """Row 3."""
    body, head = (
        nn.Parameter(torch.zeros(4_000_000, dtype=torch.bfloat16), requires_grad=False),
        nn.Linear(8, 1),
    )
    optimizer = ParameterFreeSGD([body, *head.parameters()], STEPS)
    train(optimizer, lambda _: (head(torch.ones(8)) - 1).square().sum(), 0, 5)
    held = sum(t.nbytes for own in optimizer.state.values() for t in own.values() if isinstance(t, Tensor))
    return f"{held} bytes of state beside 8 MB of frozen weights"


def stale_buffers() -> str:
    """Row 4."""
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 1))
    optimizer = ParameterFreeSGD(model.parameters(), STEPS, buffers=model)
    model.double()
    inputs = torch.randn(64, 4, dtype=torch.float64)
    train(optimizer, lambda _: (model(inputs) - 1).square().mean(), 0, STEPS)
    largest = float(torch.as_tensor(model[1].running_var).max())
    return f"a model that was cast after construction: running_var at most {largest:.2g}"


def groups_go() -> str:
    """Row 5."""
    ends = []
    for place in (0, 1):
        model, loss = network()
        optimizer = ParameterFreeSGD(
            [{"params": list(model[0].parameters())}, {"params": list(model[2].parameters())}], STEPS
        )
        train(optimizer, loss, 0, 150)
        probes = len(optimizer.history())
        del optimizer.param_groups[place]
        train(optimizer, loss, 150, STEPS)
        ends.append((mean_loss(loss), len(optimizer.history()) - probes))
    told = ", ".join(f"{end:.2g}" for end, _ in ends)
    return f"first or second group removed at 150 of 400: goes on to {told}; {sum(n for _, n in ends)} new probes"


def frozen_oddities() -> str:
    """Row 6."""
    taken = 0
    for value in (
        torch.ones(3, dtype=torch.int8),
        torch.ones(3).to(torch.float8_e4m3fn),
        torch.tensor([-math.inf]),
    ):
        weight = nn.Parameter(torch.zeros(3))
        optimizer = ParameterFreeSGD([nn.Parameter(value, requires_grad=False), weight], 40)
        train(optimizer, lambda _, w=weight: (w - 1).square().sum(), 0, 40)
        taken += float((weight.detach() - 1).abs().max()) < 0.1
    return f"frozen int8, float8 and -inf among the parameters: {taken} of 3 train"
