"""Numbers that a format cannot hold, and losses that jump."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import optax
import torch
from torch import nn
from torch.optim import SGD, Adagrad, AdamW

import pfopt.optax
from experiments.studies.faults_seen.common import MAKES, STEPS, mean_loss, network, train
from pfopt.torch import ParameterFree, ParameterFreeSGD


def half_optax() -> str:
    """Row 7."""
    params: Any
    tx, params = pfopt.optax.parameter_free_sgd(1000), jnp.zeros(4, jnp.float16)
    step, state = jax.jit(tx.update), tx.init(params)
    for _ in range(1000):
        updates, state = step((params - 3).astype(jnp.float16), state, params)
        params = optax.apply_updates(params, updates)
    return f"optax, float16, minimum at 3: ends {float(jnp.abs(params - 3).max()):.1g} from it"


def sparse_base() -> str:
    """Row 8."""
    found = []
    for base in (torch.optim.SparseAdam, Adagrad):
        torch.manual_seed(0)
        table = nn.Embedding(20, 4, sparse=True)
        optimizer = ParameterFree(base(table.parameters()), STEPS)
        for step in range(STEPS):
            optimizer.zero_grad()
            factor = math.nan if step == 200 else 1.0
            (factor * (table(torch.arange(5) + step % 15) - 1).square().mean()).backward()
            optimizer.step()
        found.append(float((table.weight.detach() - 1).square().mean()))
    return f"one NaN batch of sparse gradients, SparseAdam, Adagrad: end at {found[0]:.1g}, {found[1]:.1g} (begun at 2)"


def small_half() -> str:
    """Row 10."""
    half = nn.Parameter(torch.zeros(10, dtype=torch.float16))
    train(
        ParameterFree(SGD([half], 0.1), STEPS), lambda _: (1e-3 * (half.float() - 3)).square().sum(), 0, STEPS
    )
    ends = [float((half.detach() - 3).abs().max())]
    for factor in (1e-10, 1e-24):
        wide = nn.Parameter(torch.zeros(10))
        train(
            ParameterFreeSGD([wide], STEPS), lambda _, w=wide, f=factor: f * (w - 3).square().sum(), 0, STEPS
        )
        ends.append(float((wide.detach() - 3).abs().max()))
    params: Any
    tx, params = pfopt.optax.parameter_free_sgd(STEPS), jnp.zeros(10)
    step, state = jax.jit(tx.update), tx.init(params)
    for _ in range(STEPS):
        updates, state = step(2e-24 * (params - 3), state, params)
        params = optax.apply_updates(params, updates)
    ends.append(float(jnp.abs(params - 3).max()))
    told = ", ".join(f"{end:.1g}" for end in ends)
    runs = "float16 under SGD with small gradients, float32 at 1e-10 and 1e-24, optax at 1e-24"
    return f"{runs}: {told} from the minimum at 3"


def jump() -> str:
    """Row 14."""
    found = []
    for make in (*MAKES.values(), lambda params: AdamW(params, 3e-3), lambda params: SGD(params, 0.05)):
        model, loss = network()
        optimizer = make(model.parameters())
        train(optimizer, loss, 0, 320)
        before = mean_loss(loss)
        train(optimizer, loss, 320, STEPS, 1000.0)
        found.append(f"{before:.2g} → {mean_loss(loss):.2g}")
    return "the loss times 1000 at 80 %, ours, around AdamW, AdamW(3e-3), SGD(0.05): " + "; ".join(found)


def loud() -> str:
    """Row 17."""
    found = []
    for make in MAKES.values():
        model, loss = network()
        optimizer, told = make(model.parameters()), []
        for step in range(STEPS):
            told.append(float(loss(step).detach()))
            train(optimizer, loss, step, step + 1)
        found.append((sum(each > 10 * told[0] for each in told), max(told) / told[0]))
    return "losses above ten times the first, and the largest: " + "; ".join(
        f"{n}, {m:.2g} times" for n, m in found
    )


def scaler() -> str:
    """Row 18."""
    found = []
    for make in MAKES.values():
        model, loss = network()
        optimizer, scale = (
            make(model.parameters()),
            torch.amp.GradScaler("cpu", init_scale=2.0**16, growth_interval=20),
        )  # type: ignore[attr-defined]
        for step in range(STEPS):
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.float16):
                value = loss(step)
            scale.scale(value).backward()
            scale.step(optimizer)
            scale.update()
        found.append(f"{optimizer.status().phase}, scale {scale.get_scale():.2g}, loss {mean_loss(loss):.2g}")
    return "; ".join(found)
