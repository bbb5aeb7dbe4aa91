"""The part of the campaign that optax can be put through: one compiled step for each problem."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch
from numpy.random import Generator

from experiments.studies.faults.numbers import VALUES
from experiments.studies.faults.problems import PROBLEMS, STEPS, Problem
from experiments.studies.faults.training import Ledger, any_step
from pfopt.optax import eval_params, parameter_free_sgd, status

EVERY = 10  # steps between two checkpoints


class Training(Ledger):
    """A problem of torch's, and its loss in jax."""

    def __init__(self, name: str, problem: Problem) -> None:
        self.name, self.problem = name, problem
        super().__init__()
        self.params = {key: jnp.asarray(value.detach().numpy()) for key, value in problem.named_parameters()}
        self.state, self.step = _compiled(name)[0].init(self.params), _compiled(name)[1]

    def move(self, step: int, factor: float = 1.0, first: float = 1.0, added: float = 0.0) -> None:
        """A step; the loss times ``factor``, the first leaf's gradient times ``first``, ``added`` to one entry."""
        rows = self.problem.batches[step]
        data = [jnp.asarray(part[rows].numpy()) for part in self.problem.data]
        changes = jnp.float32(factor), jnp.float32(first), jnp.float32(added)
        self.params, self.state = self.step(self.params, self.state, *data, *changes)

    def handed_out(self) -> list[np.ndarray]:
        """The point to deploy."""
        return [np.asarray(leaf) for leaf in jax.tree.leaves(eval_params(self.state, self.params))]

    def end(self) -> float:
        """The loss at the point to deploy, and whether that is lost."""
        deployed = eval_params(self.state, self.params)
        finite = all(bool(np.isfinite(leaf).all()) for leaf in self.handed_out())
        with torch.no_grad():
            for name, param in self.problem.named_parameters():
                param.copy_(torch.as_tensor(np.array(deployed[name])))
        end = self.problem.value() if finite else math.nan
        worse = finite and self.problem.is_worse(end)
        self.judge(finite=finite, worse=worse, message=status(self.state).message)
        return end


@functools.lru_cache
def _compiled(name: str) -> tuple[Any, Any]:
    """The transformation, and a step on the loss of a problem."""
    tx = parameter_free_sgd(STEPS)

    @jax.jit
    def step(params: Any, state: Any, inputs: Any, targets: Any, factor: Any, first: Any, added: Any) -> Any:
        told, grads = jax.value_and_grad(lambda p: factor * jnp.mean(LOSSES[name](p, inputs, targets)))(
            params
        )
        key = min(grads, key=PROBLEMS[name].names.index)
        leaf = grads[key] * first
        grads = {**grads, key: leaf.ravel().at[0].add(added).reshape(leaf.shape)}
        updates, state = tx.update(grads, state, params, value=told)
        return optax.apply_updates(params, updates), state

    return tx, step


def _logistic(params: Any, inputs: Any, targets: Any) -> Any:
    return optax.sigmoid_binary_cross_entropy(inputs @ params["weight"] + params["bias"], targets)


def _network(params: Any, inputs: Any, targets: Any) -> Any:
    hidden = jnp.tanh(inputs @ params["first"].T + params["first_bias"])
    return (hidden @ params["second"].T + params["second_bias"] - targets[:, None])[:, 0] ** 2 / 2


def _embedding(params: Any, inputs: Any, targets: Any) -> Any:
    logits = params["table"][inputs].sum(1) @ params["head"][0]
    return optax.sigmoid_binary_cross_entropy(logits, targets)


LOSSES: dict[str, Callable[..., Any]] = {"logistic": _logistic, "network": _network, "embedding": _embedding}


def _gradients(run: Training, draw: Generator) -> None:
    """As in torch; the factor makes all of them bad, ``added`` one entry."""
    bad: dict[int, tuple[float, bool]] = {}
    for _ in range(draw.integers(1, 6)):
        fault, first = (float(draw.choice(VALUES)), bool(draw.integers(2))), any_step(draw)
        bad |= dict.fromkeys(range(first, min(first + int(draw.choice([1, 1, 2, 4])), STEPS)), fault)
    for step in range(STEPS):
        value, one = bad.get(step, (0.0, True))
        if step in bad:
            run.inject(f"{value} in {'one entry' if one else 'one tensor'} at {step}")
        run.move(step, first=1.0 if one else value, added=value if one else 0.0)


def _losses(run: Training, draw: Generator) -> None:
    bad = {any_step(draw): float(draw.choice([math.nan, math.inf, -math.inf, 1e6])) for _ in range(5)}
    for step in range(STEPS):
        if step in bad:
            run.inject(f"loss times {bad[step]:g} at {step}")
        run.move(step, bad.get(step, 1.0))


def _scales(run: Training, draw: Generator) -> None:
    jump = STEPS if draw.random() < 0.7 else int(draw.integers(STEPS))
    factor = 10.0 ** int(draw.integers(-30, 31)) if jump == STEPS else 1.0
    run.inject(f"times {factor:g}" if jump == STEPS else f"times 1000 from {jump}")
    for step in range(STEPS):
        run.move(step, factor if step < jump else 1000 * factor)


def _zeros(run: Training, draw: Generator) -> None:
    first, length = any_step(draw), int(draw.integers(10, 61))
    for step in range(STEPS):
        zero = first <= step < first + length
        if step == first:
            run.inject(f"{length} zeros from {first}")
        run.move(step, 0.0 if zero else 1.0)


def _killed(run: Training, draw: Generator) -> None:
    whole = Training(run.name, run.problem)
    for step in range(STEPS):
        whole.move(step)
    kills, kept, step = sorted({any_step(draw) for _ in range(3)}, reverse=True), None, 0
    while step < STEPS:
        if step % EVERY == 0:
            kept = step, jax.device_get((run.params, run.state))
        if kills and step == kills[-1]:
            run.inject(f"killed at {kills.pop()}")
            assert kept is not None
            step, (run.params, run.state) = kept[0], jax.tree.map(jnp.asarray, kept[1])
            continue
        run.move(step)
        step += 1
    equal = all(map(np.array_equal, run.handed_out(), whole.handed_out()))
    run.lose("not bit for bit the undisturbed run", not equal)


def _frozen(run: Training, draw: Generator) -> None:
    """The first leaf's gradients are exactly zero from a step on."""
    first, key = int(draw.integers(1, STEPS - 10)), run.problem.names[0]
    for step in range(first):
        run.move(step)
    held = np.asarray(run.params[key])
    run.inject(f"no gradient from {first}")
    for step in range(first, STEPS):
        run.move(step, first=0.0)
    run.lose("a frozen weight moved", not np.array_equal(held, np.asarray(run.params[key])))


KINDS: dict[str, Callable[[Training, Generator], None]] = {
    "gradients": _gradients,
    "losses": _losses,
    "scales": _scales,
    "zeros": _zeros,
    "killed": _killed,
    "frozen": _frozen,
}


def run(kind: str, name: str, draw: Generator) -> Training:
    """One scenario."""
    training = Training(name, PROBLEMS[name](draw))
    KINDS[kind](training, draw)
    return training
