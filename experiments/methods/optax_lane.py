"""One run of an optax transformation, with every polynomial average of its iterates beside it."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array, lax

from experiments.methods.schedules import GAMMAS, average_name, average_weight
from experiments.tasks.functions import Params, make_jax_task, write_back
from experiments.tasks.task import Setting, Task


def run_optax_lane(
    task: Task, seed: int, setting: Setting, tx: optax.GradientTransformationExtraArgs
) -> dict[str, float]:
    """The objective at the last iterate and at every average, by their names; infinite where it is not finite."""
    problem = make_jax_task(task, seed)
    rows = jnp.asarray(task.batches(seed, setting.budget, setting.batch_size).numpy())
    counts = range(1, setting.budget + 1)
    weights = jnp.asarray([[average_weight(gamma, count) for gamma in GAMMAS] for count in counts])

    def step(carry: Any, given: tuple[Array, Array]) -> tuple[Any, None]:
        (params, state, averages), (batch, shares) = carry, given
        loss, grads = jax.value_and_grad(problem.loss)(params, batch)
        updates, state = tx.update(grads, state, params, value=loss)
        params = optax.apply_updates(params, updates)
        averages = [_lerp(old, params, share) for old, share in zip(averages, shares, strict=True)]
        return (params, state, averages), None

    def loop(params: Params, rows: Array, weights: Array) -> list[Params]:
        begin = (params, tx.init(params), [params] * len(GAMMAS))
        (params, _, averages), _ = lax.scan(step, begin, (rows, weights))
        return [params, *averages]

    outputs = jax.jit(loop)(problem.params, rows, weights)
    found = {}
    for name, params in zip(["last", *map(average_name, GAMMAS)], outputs, strict=True):
        write_back(problem.problem, params)
        value, _ = problem.problem.score()
        found[name] = value if math.isfinite(value) else math.inf
    return found


def _lerp(old: Params, new: Any, share: Array) -> Params:
    return [a + share.astype(a.dtype) * (x - a) for a, x in zip(old, new, strict=True)]
