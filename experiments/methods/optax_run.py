"""One run of an optax transformation: steps between two scores are one compiled loop."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from importlib import import_module
from time import perf_counter
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
import pandas as pd
from jax import Array, lax

from experiments.methods.run import CURVE, Run, confusion_of, record_steps
from experiments.tasks.functions import JaxTask, Params, make_jax_task, write_back
from experiments.tasks.task import Setting, Task


class Transformation(NamedTuple):
    """An optax method.

    Attributes:
        tx: The transformation.
        deployed: Parameters to return, of state and parameters.
        status: Step size and phase, of the state.
        recovers: Whether a loss that is not finite may be part of a good run.
        with_loss: Whether ``update`` is told the loss.
    """

    tx: optax.GradientTransformationExtraArgs
    deployed: Callable[[Any, Params], Params] = lambda state, params: params
    status: Callable[[Any], tuple[float, str]] = lambda state: (math.nan, "train")
    recovers: bool = False
    with_loss: bool = True


def run_optax(
    task: Task,
    seed: int,
    setting: Setting,
    *,
    make: Callable[..., Transformation],
    num_records: int = 0,
    **options: Any,
) -> Run:
    """Train once with the transformation that ``make(setting, **options)`` sets up, compilation not timed."""
    problem = make_jax_task(task, seed)
    method = make(setting, **options)
    batches = jnp.asarray(task.batches(seed, setting.budget, setting.batch_size).numpy())
    params, state = problem.params, method.tx.init(problem.params)
    ends = sorted(record_steps(setting.budget, max(num_records, 1)))
    run = _compiled_loop(
        problem, method, batches, params, state, {b - a for a, b in zip([0, *ends], ends, strict=False)}
    )
    rows: list[tuple[Any, ...]] = []
    seconds, start, status = 0.0, 0, "done"
    for end in ends:
        started = perf_counter()
        params, state, loss = jax.block_until_ready(run[end - start](params, state, batches[start:end]))
        seconds += perf_counter() - started
        start = end
        write_back(problem.problem, method.deployed(state, params))
        rows.append((end, end, seconds, *problem.problem.score(), *method.status(state)))
        if not method.recovers and not math.isfinite(float(loss)):
            status = "diverged"
            break
        if seconds > setting.time_limit:
            status = "timeout"
            break
    curve = pd.DataFrame(rows, columns=list(CURVE))
    value, test = rows[-1][3:5]
    if status != "done" or not math.isfinite(value):
        status = "diverged" if status == "done" else status
        return Run(
            math.inf, math.nan, start, seconds, curve, f"{status} at step {start} of {setting.budget}", status
        )
    final = [parameter.detach().numpy().copy() for parameter in problem.problem.parameters()]
    return Run(value, test, start, seconds, curve, params=final, confusion=confusion_of(problem.problem))


def _compiled_loop(
    problem: JaxTask, method: Transformation, batches: Array, params: Params, state: Any, lengths: set[int]
) -> dict[int, Callable[..., tuple[Params, Any, Array]]]:
    """The loop over mini-batches, compiled for every number of steps that occurs between two scores."""

    def step(carry: tuple[Params, Any], rows: Array) -> tuple[tuple[Params, Any], Array]:
        params, state = carry
        loss, grads = jax.value_and_grad(problem.loss)(params, rows)
        extra = {"value": loss} if method.with_loss else {}
        updates, state = method.tx.update(grads, state, params, **extra)
        return (optax.apply_updates(params, updates), state), loss  # type: ignore[return-value]

    def loop(params: Params, state: Any, batches: Array) -> tuple[Params, Any, Array]:
        (params, state), losses = lax.scan(step, (params, state), batches)
        return params, state, losses[-1]

    return {n: jax.jit(loop).lower(params, state, batches[:n]).compile() for n in lengths}


def contrib(setting: Setting, *, name: str, **options: Any) -> Transformation:
    """A method of ``optax.contrib`` at its defaults."""
    del setting
    kind = getattr(optax.contrib, name)
    return Transformation(optax.with_extra_args_support(kind(**options)))


def mechanic(setting: Setting) -> Transformation:
    """Mechanic around SGD with learning rate 1 and the task's schedule ("keep the base schedule")."""
    base = optax.sgd(_schedule(setting), momentum=setting.momentum or None)
    return Transformation(optax.with_extra_args_support(optax.contrib.mechanize(base)))


def schedule_free(setting: Setting) -> Transformation:
    """Schedule-Free SGD at its defaults; the average is returned."""
    del setting
    tx = optax.with_extra_args_support(optax.contrib.schedule_free_sgd())
    return Transformation(tx, deployed=optax.contrib.schedule_free_eval_params)


def prodigy(setting: Setting) -> Transformation:
    """Prodigy under cosine decay, as its README advises."""
    schedule = optax.cosine_decay_schedule(1.0, setting.budget)
    return Transformation(optax.with_extra_args_support(optax.contrib.prodigy(schedule)))


def sgd(setting: Setting, *, learning_rate: float = 0.01) -> Transformation:
    """``optax.sgd`` at one learning rate under the task's schedule, momentum normalised."""
    momentum = setting.momentum
    tx = optax.sgd(_schedule(setting, learning_rate * (1 - momentum)), momentum=momentum or None)
    return Transformation(optax.with_extra_args_support(tx))


def parameter_free(setting: Setting, *, with_loss: bool = False, **options: Any) -> Transformation:
    """``pfopt.optax.parameter_free_sgd``, told the losses or not."""
    pfopt_optax = import_module("pfopt.optax")  # loaded by the runs that need it, and by no others

    momentum = 0.0 if options.get("plan") == "certified" else setting.momentum
    tx = pfopt_optax.parameter_free_sgd(setting.budget, **{"momentum": momentum, **options})

    def status(state: Any) -> tuple[float, str]:
        current = pfopt_optax.status(state)
        return float(current.step_size), str(current.phase)

    return Transformation(tx, pfopt_optax.eval_params, status, recovers=True, with_loss=with_loss)


def _schedule(setting: Setting, peak: float = 1.0) -> optax.Schedule:
    """The task's schedule from ``peak`` to zero."""
    if setting.schedule == "cosine":
        return optax.cosine_decay_schedule(peak, setting.budget)
    return optax.linear_schedule(peak, 0.0, setting.budget)


run_contrib = partial(run_optax, make=contrib)
run_mechanic = partial(run_optax, make=mechanic)
run_optax_schedule_free = partial(run_optax, make=schedule_free)
run_optax_prodigy = partial(run_optax, make=prodigy)
run_optax_sgd = partial(run_optax, make=sgd)
run_optax_parameter_free = partial(run_optax, make=parameter_free)
