"""Faults of numbers: not finite, too large, too small, or zero for long."""

from __future__ import annotations

import math

import torch
from numpy.random import Generator

from experiments.studies.faults.methods import Method
from experiments.studies.faults.problems import STEPS
from experiments.studies.faults.training import Training, any_step, begin, spoil

VALUES = (math.nan, math.inf, -math.inf, 1e30, -3e38)
PARTS = ("all", "one tensor", "one entry")


def gradients(method: Method, problem: str, draw: Generator) -> Training:
    """Gradients that are NaN, infinite or huge, wholly or in part, in one to four steps in a row, up to five times."""
    run = begin(method, problem, draw, tells=bool(draw.integers(2)))
    bad: dict[int, tuple[float, str]] = {}
    for _ in range(draw.integers(1, 6)):
        fault = float(draw.choice(VALUES)), str(draw.choice(PARTS))
        first, length = any_step(draw), int(draw.choice([1, 1, 2, 4]))
        bad |= dict.fromkeys(range(first, min(first + length, STEPS)), fault)
    for step in range(STEPS):
        loss = run.backward(step)
        if step in bad:
            spoil([param.grad for param in run.params()], *bad[step], draw)
            run.inject(f"{bad[step][0]} in {bad[step][1]} at {step}")
        run.move(loss)
    return run


def losses(method: Method, problem: str, draw: Generator) -> Training:
    """Losses that are NaN or infinite, or a million times as large, with the gradients that follow from them."""
    run = begin(method, problem, draw, tells=True)
    bad = {any_step(draw): float(draw.choice([math.nan, math.inf, -math.inf, 1e6])) for _ in range(5)}
    for step in range(STEPS):
        if step in bad:
            run.inject(f"loss times {bad[step]:g} at {step}")
        run.move(run.backward(step, bad.get(step, 1.0)))
    return run


def parameters(method: Method, problem: str, draw: Generator) -> Training:
    """One weight that is in use becomes NaN, infinite or huge, as a flipped bit or a broken transfer makes it."""
    run = begin(method, problem, draw, tells=bool(draw.integers(2)))
    bad = max(1, min(any_step(draw), STEPS - 10))
    for step in range(STEPS):
        if step == bad:
            value = float(draw.choice(VALUES))
            run.backward(step)
            weight = run.params()[int(draw.integers(len(run.params())))]
            assert weight.grad is not None
            used = weight.grad.to_dense().reshape(-1).nonzero()[:, 0]
            entry = int(used[int(draw.integers(len(used)))]) if len(used) else 0
            weight.data.view(-1)[entry] = value
            run.inject(f"a weight is {value:g} at {step}")
        run.move(run.backward(step))
    return run


def scales(method: Method, problem: str, draw: Generator) -> Training:
    """An objective times 1e-30 to 1e30, as far as float32 holds the gradients; or times 1000 from some step on."""
    run = begin(method, problem, draw, tells=bool(draw.integers(2)))
    jump = STEPS if draw.random() < 0.7 else int(draw.integers(STEPS))
    factor = 10.0 ** int(draw.integers(-30, 31)) if jump == STEPS else 1.0
    run.inject(f"times {factor:g}" if jump == STEPS else f"times 1000 from {jump}")
    run.steps(range(jump), factor)
    run.steps(range(jump, STEPS), 1000 * factor)
    return run


def half_precision(method: Method, problem: str, draw: Generator) -> Training:
    """Autocast to float16 or bfloat16, or bfloat16 weights, under a scaler whose steps overflow now and then."""
    run = begin(method, problem, draw)
    kind = str(draw.choice(["float16", "bfloat16", "weights"])) if problem == "network" else "float16"
    if kind == "weights":
        run.problem.to(torch.bfloat16)
        run.problem.start = run.problem.value()
    dtype = torch.float16 if kind == "float16" else torch.bfloat16
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0 ** int(draw.integers(10, 25)), growth_interval=10)  # type: ignore[attr-defined]
    bad = set(draw.integers(0, STEPS, 6).tolist())
    for step in range(STEPS):
        for param in run.params():
            param.grad = None
        with torch.autocast("cpu", dtype, enabled=kind != "weights"):
            loss = run.problem.loss(step)
        if step in bad:
            run.inject(f"{kind}, an infinite loss at {step}")
        scaler.scale(loss * math.inf if step in bad else loss).backward()
        scaler.step(run.optimizer)
        scaler.update()
    run.lose("the scale is lost", not 1e-3 < scaler.get_scale() < math.inf)
    return run


def zeros(method: Method, problem: str, draw: Generator) -> Training:
    """Gradients that are exactly zero for 10 to 60 steps: a dead layer, padding, a loss weight that is zero."""
    run = begin(method, problem, draw, tells=bool(draw.integers(2)))
    first, length = any_step(draw), int(draw.integers(10, 61))
    for step in range(STEPS):
        zero = first <= step < first + length
        loss = run.backward(step, 0.0 if zero else 1.0)
        if step == first:
            run.inject(f"{length} zeros from {first}")
        run.move(loss)
    return run
