"""Bases that cannot be stepped, and what they remember."""

from __future__ import annotations

import copy
import io
from typing import Any

import torch
from torch import Tensor
from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict, set_optimizer_state_dict
from torch.optim import SGD, AdamW

from experiments.studies.faults_seen.common import STEPS, network, sentences, train
from pfopt.torch import ParameterFree


def refused_bases() -> str:
    """Row 9."""
    names = []
    for base in (torch.optim.Adafactor, torch.optim.ASGD, torch.optim.Rprop):
        model, loss = network()
        optimizer = ParameterFree(base(model.parameters()), STEPS)
        told = sentences(lambda o=optimizer, f=loss: train(o, f, 0, 1))
        names += [base.__name__] if told and "proportional to its lr" in told[0] else []
    return f"refused at the first gradient: {', '.join(names)}"


def moved_checkpoint() -> str:
    """Row 11."""
    model, loss = network()
    optimizer = ParameterFree(AdamW(model.parameters()), None)
    train(optimizer, loss, 0, 200)
    other = copy.deepcopy(model).double()
    loaded = ParameterFree(AdamW(other.parameters()), None)
    loaded.load_state_dict(optimizer.state_dict())
    kinds = {
        str(v.dtype)
        for own in loaded.state.values()
        for part in ("base", "base_anchor")
        for k, v in own[part].items()
        if isinstance(v, Tensor) and k != "step"
    }
    return f"loaded in float64, the base's state at the anchor is {', '.join(sorted(kinds)) or 'empty'}"


def distributed() -> str:
    """Row 19."""
    model, loss = network()
    optimizer = ParameterFree(AdamW(model.parameters()), STEPS)
    train(optimizer, loss, 0, 150)
    saved = copy.deepcopy(get_optimizer_state_dict(model, optimizer))
    weights = copy.deepcopy(model.state_dict())
    train(optimizer, loss, 150, STEPS)
    other, loss_ = network()
    other.load_state_dict(weights)
    loaded = ParameterFree(AdamW(other.parameters()), STEPS)
    set_optimizer_state_dict(other, loaded, saved)
    train(loaded, loss_, 150, STEPS)
    same = all(map(torch.equal, model.parameters(), other.parameters()))
    return f"saved and loaded at 150 of 400: the same run, {same}"


def decay_after() -> str:
    """Row 22."""

    class Late(SGD):
        @torch.no_grad()
        def step(self, closure: Any = None) -> None:  # type: ignore[override]
            super().step(closure)
            for group in self.param_groups:
                for param in group["params"]:
                    param.mul_(1 - 0.01 * group["lr"])

    model, loss = network()
    told = sentences(lambda: train(ParameterFree(Late(model.parameters(), 0.1), STEPS), loss, 0, 1))
    return f"decay after the move: {told[0].partition(',')[0]}"


def group_keys() -> str:
    """Row 26."""
    model, _ = network()
    base = AdamW(
        [{"params": list(model[0].parameters()), "lr_scale": 0.5}, {"params": list(model[2].parameters())}]
    )
    optimizer = ParameterFree(base, STEPS)
    kept = [each.param_groups[0].get("lr_scale") for each in (optimizer, base)]
    return f"timm's lr_scale is kept in this optimizer and the base: {kept[0]}, {kept[1]}"


def base_counts() -> str:
    """Row 27."""

    class Counts(SGD):
        def step(self, closure: Any = None) -> Any:  # type: ignore[override]
            for group in self.param_groups:
                group["count"] = group.get("count", 0) + 1
            return super().step(closure)

    model, loss = network()
    optimizer = ParameterFree(Counts(model.parameters(), 0.1), STEPS)
    train(optimizer, loss, 0, 200)
    file = io.BytesIO()
    torch.save((model.state_dict(), optimizer.state_dict()), file)
    file.seek(0)
    train(optimizer, loss, 200, STEPS)
    other, loss_ = network()
    loaded = ParameterFree(Counts(other.parameters(), 0.1), STEPS)
    weights, state = torch.load(file, weights_only=True)
    other.load_state_dict(weights)
    loaded.load_state_dict(state)
    train(loaded, loss_, 200, STEPS)
    counts = [each.base.param_groups[0]["count"] for each in (optimizer, loaded)]
    return (
        f"a base that counts in its groups restarts and resumes as a whole: counts {counts[0]}, {counts[1]}"
    )
