"""Faults of structure: killed runs, broken checkpoints, and parameters that freeze, come and go."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

from experiments.studies.faults.methods import METHODS, Method
from experiments.studies.faults.problems import PROBLEMS, STEPS
from experiments.studies.faults.training import Training, again, any_step, begin

EVERY = 10  # steps between two checkpoints
BACK = 0.1  # of the norm that pruned weights had: momentum moves them, for some steps
WORDS = 4  # of a message that is a sentence


def killed(method: Method, problem: str, draw: Generator) -> Training:
    """A run is killed at up to three random steps and resumed from the last checkpoint; bit for bit the undisturbed."""
    run = begin(method, problem, draw, tells=bool(draw.integers(2)))
    whole, fresh = again(run), again(run)
    whole.steps(range(STEPS))
    kills = sorted({any_step(draw) for _ in range(3)}, reverse=True)
    counts, checkpoint, saved_at, step = run, run.saved(), 0, 0
    while step < STEPS:
        if step % EVERY == 0:
            checkpoint, saved_at = run.saved(), step
        if kills and step == kills[-1]:
            counts.inject(f"killed at {kills.pop()}")
            run, step = again(fresh), saved_at
            run.load(checkpoint)
            continue
        run.steps([step])
        step += 1
    run.injected, run.details = counts.injected, counts.details
    equal = all(map(torch.equal, run.handed_out(), whole.handed_out()))
    run.lose("not bit for bit the undisturbed run", not equal)
    return run


def checkpoints(method: Method, problem: str, draw: Generator) -> Training:
    """A checkpoint that is cut off, of another version, of another model or of another optimizer is loaded.

    It must be refused with a sentence; or taken, and the run ends well.
    """
    run = begin(method, problem, draw)
    first = again(run)
    at = max(1, any_step(draw))
    first.steps(range(at))
    name = str(draw.choice(list(BROKEN)))
    run.inject(f"{name} at {at}")
    read = torch.load(io.BytesIO(first.saved()), weights_only=True)["optimizer"]
    try:
        if name == "cut off":
            data = first.saved()
            run.load(data[: int(draw.integers(1, len(data)))])
        else:
            run.optimizer.load_state_dict(BROKEN[name](read, draw))
        at = 0 if name in ("other model", "other optimizer") else at
        taken = True
    except Exception as error:
        taken = False
        run.lose(f"refused without a sentence: {error!r:.60}", len(str(error).split()) < WORDS)
    if not taken:
        run = again(run) if not run.lost else _with_losses(again(run), run.lost)
        run.inject(f"{name} at {at}")
        at = 0
    elif at:
        run.problem.load_state_dict(first.problem.state_dict())
    run.steps(range(at, STEPS))
    if taken and name in ("other model", "cut off"):
        run.lose(f"{name}: taken in silence")
    return run


def _with_losses(run: Training, lost: list[str]) -> Training:
    run.lost.extend(lost)
    return run


def _other_version(saved: dict, draw: Generator) -> dict:
    """Options that this version does not know, and without some that it does."""
    for group in saved["param_groups"]:
        group["an_option_of_later"] = 1.0
        for name in ("foreach", "maximize", "capturable", "fused", "differentiable"):
            if draw.random() < 0.5:
                group.pop(name, None)
    return saved


def _other_model(saved: dict, draw: Generator) -> dict:
    """Every tensor of a parameter has one row more."""
    for state in saved["state"].values():
        for key, value in state.items():
            if isinstance(value, Tensor) and value.ndim:
                state[key] = torch.cat([value, value[:1]])
    return saved


def _fewer_parameters(saved: dict, draw: Generator) -> dict:
    """The last parameter is missing."""
    group = saved["param_groups"][-1]
    saved["state"].pop(group["params"].pop(), None)
    return saved


def _other_optimizer(saved: dict, draw: Generator) -> dict:
    """AdamW's state for ours, and ours for the others."""
    shapes = [
        value.shape
        for state in saved["state"].values()
        for value in state.values()
        if isinstance(value, Tensor)
    ]
    ours = any("search" in group for group in saved["param_groups"])
    name = "AdamW(1e-3)" if ours else "ParameterFreeSGD"
    other = Training(METHODS[name], PROBLEMS["logistic"](np.random.default_rng(len(shapes))))
    other.steps(range(5))
    return other.optimizer.state_dict()


BROKEN: dict[str, Callable[[dict, Generator], dict]] = {
    "cut off": lambda saved, draw: saved,
    "other version": _other_version,
    "other model": _other_model,
    "fewer parameters": _fewer_parameters,
    "other optimizer": _other_optimizer,
}


def frozen(method: Method, problem: str, draw: Generator) -> Training:
    """The first parameter is frozen at a step, in one of three ways, and perhaps thawed later; meanwhile it stays."""
    run = begin(method, problem, draw)
    weight, rest = run.params()[0], run.params()[1:]
    run = Training(method, run.problem, [{"params": [weight]}, {"params": rest}])
    how = str(draw.choice(["requires_grad", "no gradient", "lr = 0"]))
    first = int(draw.integers(0, STEPS - 10))
    thaw = STEPS if draw.random() < 0.5 else int(draw.integers(first + 1, STEPS))
    rate = run.optimizer.param_groups[0]["lr"]
    run.steps(range(first))
    run.inject(f"{how} from {first} to {thaw}")
    held = weight.detach().clone()
    weight.requires_grad_(how != "requires_grad")
    run.optimizer.param_groups[0]["lr"] = 0.0 if how == "lr = 0" else rate
    for step in range(first, thaw):
        run.backward(step)
        if how != "lr = 0":
            weight.grad = None
        run.move()
    run.lose("a frozen weight moved", not torch.equal(held, weight.detach()))
    if thaw == STEPS:
        at_end = run.handed_out()[0]
        run.lose("a frozen weight is handed out elsewhere", not torch.equal(held, at_end))
    weight.requires_grad_(True)
    run.optimizer.param_groups[0]["lr"] = rate
    if thaw < STEPS:
        run.inject("thawed")
    run.steps(range(thaw, STEPS))
    return run


def written(method: Method, problem: str, draw: Generator) -> Training:
    """Half of a weight's entries are set to zero at a step, and their gradients masked: a pruned network stays so."""
    run = begin(method, problem, draw)
    run.may_end_worse = True
    weight, first = run.params()[0], int(draw.integers(1, STEPS - 10))
    mask = torch.as_tensor(draw.random(tuple(weight.shape)) < 0.5)
    run.steps(range(first))
    run.inject(f"pruned at {first}")
    before = float(weight.detach()[mask].norm())
    weight.data[mask] = 0.0
    for step in range(first, STEPS):
        run.backward(step)
        if weight.grad is not None:
            weight.grad = weight.grad.to_dense().masked_fill(mask, 0.0)
        run.move()
    after = float(run.handed_out()[0][mask].norm())
    run.lose(
        f"pruned weights are back, {after / (before or 1):.0%} of their norm", not after <= BACK * before
    )
    return run


def groups(method: Method, problem: str, draw: Generator) -> Training:
    """The first parameter comes as a group of its own at a step, or goes; what has gone stays where it is."""
    run = begin(method, problem, draw)
    weight, rest, at = run.params()[0], run.params()[1:], int(draw.integers(1, STEPS - 20))
    comes = bool(draw.integers(2))
    given = [{"params": rest}] if comes else [{"params": [weight]}, {"params": rest}]
    run = Training(method, run.problem, given)
    run.steps(range(at))
    if comes:
        run.inject(f"added at {at}")
        run.optimizer.add_param_group({"params": [weight]})
        run.steps(range(at, STEPS))
        return run
    run.inject(f"removed at {at}")
    del run.optimizer.param_groups[0]
    base = getattr(run.optimizer, "base", None)
    if base is not None:
        del base.param_groups[0]
    held = weight.detach().clone()
    run.steps(range(at, STEPS))
    run.lose("a removed weight moved", not torch.equal(held, run.handed_out()[0]))
    return run
