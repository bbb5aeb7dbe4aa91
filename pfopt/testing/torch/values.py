"""Number formats, sizes of gradients and numbers that are not finite."""
# pyright: reportPrivateImportUsage=false

import math

import torch
from torch import nn

from pfopt.testing.findings import STEPS, demand, refusal
from pfopt.testing.torch.problems import (
    Make,
    Regression,
    apart,
    demand_descent,
    deployed,
    finite,
    ready,
    snapshot,
    train,
)

SCALES = (1e-10, 1e10)  # of the objective
BAD_STEP = STEPS // 2


def trains_every_dtype(make: Make) -> None:
    """Parameters in float64, float32, bfloat16 and float16 must train, and stay what they are.

    A first step that is a millionth of the parameters rounds to nothing in bfloat16, and one that is kept in the
    parameters' dtype may do so for ever.
    """
    for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16):
        problem = Regression(dtype)
        optimizer = ready(make, problem.params)
        before = problem.value()
        train(problem, optimizer)
        demand(all(param.dtype == dtype for param in problem.params), f"Parameters are no longer {dtype}.")
        demand_descent(problem, optimizer, before, f"With parameters in {dtype}")


def trains_on_small_losses_in_float16(make: Make) -> None:
    """float16 parameters must train on a loss of 1e-4, whose gradients are 1e-5 and more, as on any other.

    Squares of such gradients are not numbers of float16, and an ``eps`` of 1e-8 is none either: a norm or a moment
    that is kept there is zero. float16 holds gradients down to 6e-8, so there is no reason not to train.
    """
    problem = Regression(torch.float16, scale=1e-4)
    optimizer = ready(make, problem.params)
    before = problem.value()
    train(problem, optimizer)
    with deployed(optimizer):
        demand(finite(problem.params), "A parameter is not finite.")
        after = problem.value()
    demand(after < 0.95 * before, f"The loss, but for its scale, went from {before:.4g} to {after:.4g}.")


def is_free_of_scale(make: Make) -> None:
    """The objective times 1e-10, or 1e10, must be trained along the same path, up to rounding.

    Units are a matter of taste, a mean or a sum, a loss weight. A method with a learning rate, an ``eps`` or a clip is
    not expected to pass: this is what "parameter-free" asks, and no other check does.
    """
    start, ends = snapshot(Regression(torch.float64).params), []
    for scale in (1.0, *SCALES):
        problem = Regression(torch.float64, scale)
        train(problem, optimizer := ready(make, problem.params))
        with deployed(optimizer):
            ends.append(snapshot(problem.params))
    for scale, end in zip(SCALES, ends[1:], strict=True):
        demand(finite(end), f"With the objective times {scale:g} a parameter is not finite.")
        distance = apart(end, ends[0], start)
        demand(
            distance < 1e-6, f"With the objective times {scale:g} it ends {distance:.2g} of the way apart."
        )


def survives_a_bad_batch(make: Make) -> None:
    """One batch of gradients that are NaN, or infinite, or half of each tensor, must cost no more than a step.

    A broken image, an empty batch, a division by a batch's variance: a run of days meets one. Parameters must stay
    finite, and training go on to a point that is better than where it was begun.
    """
    for value in (math.nan, math.inf):
        for part in ("every entry", "one entry"):
            for bad in (0, 5, BAD_STEP):
                problem = Regression()
                optimizer = ready(make, problem.params)
                before = problem.value()
                for step in range(STEPS):
                    problem.backward(step)
                    if step == bad:
                        _spoil(problem, value, part)
                    optimizer.step()
                demand_descent(
                    problem, optimizer, before, f"After a gradient with {value} in {part} at step {bad}"
                )


def takes_sparse_gradients(make: Make) -> None:
    """An embedding with ``sparse=True`` must train, or be refused by a sentence that says "sparse"."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layer = nn.EmbeddingBag(20, 3, sparse=True, mode="sum")
    params, start = list(layer.parameters()), snapshot(layer.parameters())

    def loss(step: int) -> torch.Tensor:
        rows = torch.tensor([[step % 7, 3, 3], [8, step % 5, 9]])  # some rows never, one twice
        return (layer(rows) - 1).square().sum()

    def value() -> float:
        with torch.no_grad():
            return sum(float(loss(step)) for step in range(35))

    before = value()
    try:
        optimizer = ready(make, params)
        for step in range(STEPS):
            params[0].grad = None
            loss(step).backward()
            optimizer.step()
    except Exception as error:
        raise refusal(error, "sparse") from None
    with deployed(optimizer):
        demand(finite(params), "A parameter is not finite.")
        after = value()
        moved = bool((params[0][15:] != start[0][15:]).any())
    demand(after < before, f"The loss went from {before:.4g} to {after:.4g}.")
    demand(not moved, "Rows that no gradient has met were moved.")


def works_under_a_grad_scaler(make: Make) -> None:
    """Under float16 autocast and a ``GradScaler``, with steps that overflow, the scale must live and the run train.

    The scaler leaves out the steps whose gradients overflow. An optimizer that waits for a step to go back from a
    point where every gradient overflows waits for ever, and the scale goes to zero.
    """
    problem = Regression()
    optimizer = ready(make, problem.params)
    before, scaler = problem.value(), torch.amp.GradScaler("cpu", init_scale=2.0**20, growth_interval=8)
    for step in range(STEPS):
        for param in problem.params:
            param.grad = None
        with torch.autocast("cpu", torch.float16):
            loss = problem.loss(step)
        scaler.scale(loss * (math.inf if step % 13 == 6 else 1.0)).backward()
        scaler.step(optimizer)
        scaler.update()
    scale = scaler.get_scale()
    demand(1 <= scale < math.inf, f"The scale ends at {scale:g}.")
    demand_descent(problem, optimizer, before, "Under a scaler")


def leaves_gradients_alone(make: Make) -> None:
    """``step`` must not write into ``p.grad``: those who log, clip or accumulate read it afterwards."""
    problem = Regression()
    optimizer = ready(make, problem.params)
    for step in range(3):
        problem.backward(step)
        gradients = [param.grad for param in problem.params]
        before = snapshot(grad for grad in gradients if grad is not None)
        optimizer.step()
        after = [param.grad for param in problem.params if param.grad is not None]
        equal = len(before) == len(after) and all(map(torch.equal, before, after))
        demand(equal, f"Step {step} changed the gradients.")


def _spoil(problem: Regression, value: float, part: str) -> None:
    for param in problem.params:
        if param.grad is not None:
            entries = param.grad.reshape(-1)
            entries[slice(None) if part == "every entry" else slice(1)] = value
