"""Habits: checkpoints, learning rates, schedules and decay that are handed on."""

from __future__ import annotations

import copy

import torch

from experiments.studies.faults_seen.common import STEPS, mean_loss, network, sentences, train
from pfopt.torch import ParameterFreeAdamW, ParameterFreeSGD


def resumed() -> str:
    """Row 12."""
    model, loss = network()
    optimizer = ParameterFreeSGD(model.parameters(), 100)
    train(optimizer, loss, 0, 100)
    before, longer = mean_loss(loss), ParameterFreeSGD(model.parameters(), STEPS)
    told = sentences(lambda: longer.load_state_dict(optimizer.state_dict()))
    longer.extend(STEPS - 100)
    train(longer, loss, 100, STEPS)
    warned = "total_steps" in told[0]
    return f"loading warns, {warned}; after `extend` it trains on, {before:.2g} to {mean_loss(loss):.2g}"


def other_mode() -> str:
    """Row 13."""
    model, loss = network()
    optimizer = ParameterFreeSGD(model.parameters(), STEPS)
    train(optimizer, loss, 0, 200)
    with optimizer.averaged():
        weights = copy.deepcopy(model.state_dict())
    other, _ = network()
    loaded = ParameterFreeSGD(other.parameters(), STEPS)
    other.load_state_dict(weights)
    loaded.load_state_dict(optimizer.state_dict())
    told = sentences(lambda: train(loaded, lambda _: other(torch.ones(1, 8)).sum(), 0, 1))
    return f"the first step warns: {any('not those that they were when the state was saved' in each for each in told)}"


def habit() -> str:
    """Row 20."""
    model, loss = network()
    told = sentences(lambda: train(ParameterFreeSGD(model.parameters(), STEPS, lr=0.01), loss, 0, 2))
    return f"lr=0.01: {len(told)} warning (“…{told[0][18:80]}…”)"


def schedule() -> str:
    """Row 21."""
    model, loss = network()
    optimizer = ParameterFreeAdamW(model.parameters(), STEPS)
    schedule_ = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.01, STEPS)

    def run() -> None:
        for step in range(STEPS):
            train(optimizer, loss, step, step + 1)
            schedule_.step()

    return f"a linear schedule around AdamW: {sum('lr falls' in each for each in sentences(run))} warning"


def second_fit() -> str:
    """Row 23."""
    model, loss = network()
    optimizer = ParameterFreeSGD(model.parameters(), 100)
    train(optimizer, loss, 0, 100)
    before = mean_loss(loss)
    told = sentences(lambda: train(optimizer, loss, 100, 102))
    optimizer.extend(300)
    train(optimizer, loss, 102, STEPS)
    return f"{len(told)} warning; with `extend` a second fit trains, {before:.2g} to {mean_loss(loss):.2g}"


def dropped_loss() -> str:
    """Row 24."""
    model, loss = network()
    optimizer = ParameterFreeSGD(model.parameters(), STEPS)
    for step in range(100):
        optimizer.zero_grad()
        value = loss(step)
        value.backward()
        optimizer.step(lambda: None, loss=value)
    known = all(record.mean_value is not None for record in optimizer.history())
    return f"a closure that returns None beside loss=: the probes have mean losses, {known}"


def decay() -> str:
    """Row 28."""
    found = []
    for decay in (0.0, 0.01):
        model, loss = network()
        train(ParameterFreeSGD(model.parameters(), STEPS, weight_decay=decay), loss, 0, STEPS)
        found.append(mean_loss(loss))
    return "the loss without a decay and with that of AdamW's recipes: {:.3g}, {:.3g}".format(*found)
