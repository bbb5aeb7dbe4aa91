"""SGD over a grid of learning rates: all values (lanes) run as one batched computation.

Every lane gets the full budget and takes the steps of ``torch.optim.SGD``: x = x - lr_t v with the normalised
momentum v = m v + (1 - m) g (v = g at first); lr_t follows ``LinearLR`` or ``CosineAnnealingLR`` to zero.

Grid A, what a practitioner runs: linear decay, last iterate, best of 18 learning rates. Grid B, the best:
constant or linear, last iterate or a polynomial average, all chosen in hindsight.
"""

from __future__ import annotations

import pandas as pd
import torch
from torch import Tensor

from experiments.methods.schedules import SCHEDULES, average_name, average_weight
from experiments.tasks.task import LaneTask

LEARNING_RATES = tuple(2.0**j for j in range(-12, 6))
MAX_WIDENINGS = 4  # each by two further values, a factor of 4


def sgd_grid(
    task: LaneTask,
    seed: int,
    budget: int,
    batch_size: int = 16,
    *,
    schedules: tuple[str, ...] = ("linear",),
    gammas: tuple[float, ...] = (),
    momenta: tuple[float, ...] = (0.0,),
    learning_rates: tuple[float, ...] = LEARNING_RATES,
) -> pd.DataFrame:
    """Run the grid; while its best value is on an edge, widen that edge by a factor of 4.

    Args:
        task: What to minimise.
        seed: Data order and initial point.
        budget: Steps of every lane.
        batch_size: Rows of a mini-batch.
        schedules: Keys of ``SCHEDULES``; the first is the practitioner's.
        gammas: Weights of the polynomial averages that are returned besides the last iterate.
        momenta: Normalised momenta; the first is the practitioner's.
        learning_rates: Ascending, at a factor of 2.

    Returns:
        One row per schedule, momentum, output and learning rate: learning_rate, schedule, momentum, output ("last" or
        "average gamma=..."), value, test, num_grad_evals, widened (whether it was added at an edge).
    """
    batches = task.batches(seed, budget, batch_size)

    def run(values: tuple[float, ...], widened: bool) -> pd.DataFrame:
        tables = [_run_lanes(task, seed, batches, values, schedules, gammas, m) for m in momenta]
        return pd.concat(tables, ignore_index=True).assign(widened=widened)

    table = run(learning_rates, widened=False)
    for _ in range(MAX_WIDENINGS):
        further = beyond_edges(table, schedules[0], momenta[0])
        if not further:
            break
        table = pd.concat([table, run(further, widened=True)], ignore_index=True)
    return table.sort_values(["schedule", "momentum", "output", "learning_rate"], ignore_index=True)


def grid_a(table: pd.DataFrame, schedule: str = "linear", momentum: float | None = None) -> pd.Series:
    """The best row among last iterates of one schedule, and of one momentum unless it is None."""
    rows = table[(table.schedule == schedule) & (table.output == "last")]
    if momentum is not None:
        rows = rows.query("momentum == @momentum")
    return rows.loc[rows.value.idxmin()]


def grid_b(table: pd.DataFrame) -> pd.Series:
    """The best row of all."""
    return table.loc[table.value.idxmin()]


def beyond_edges(table: pd.DataFrame, schedule: str, momentum: float | None = None) -> tuple[float, ...]:
    """Two learning rates beyond each edge of the grid that grid A's or grid B's best value lies on."""
    lowest, highest = table.learning_rate.min(), table.learning_rate.max()
    best = {grid_a(table, schedule, momentum).learning_rate, grid_b(table).learning_rate}
    below = (lowest / 4, lowest / 2) if lowest in best else ()
    above = (highest * 2, highest * 4) if highest in best else ()
    return below + above


def _run_lanes(
    task: LaneTask,
    seed: int,
    batches: Tensor,
    learning_rates: tuple[float, ...],
    schedules: tuple[str, ...],
    gammas: tuple[float, ...],
    momentum: float,
) -> pd.DataFrame:
    """One lane per schedule and learning rate; one row per lane and output."""
    steps = len(batches)
    progress = torch.arange(steps, dtype=torch.float64) / steps
    rates = torch.tensor(learning_rates, dtype=torch.float64)
    step_sizes = torch.cat([SCHEDULES[name](progress)[:, None] * rates for name in schedules], dim=1)
    last, averages = _descend(task, seed, batches, step_sizes, gammas, momentum)
    outputs = {"last": last} | {
        average_name(gamma): [a[i] for a in averages] for i, gamma in enumerate(gammas)
    }
    frames = []
    for output, params in outputs.items():
        value, test = task.lane_scores(params)
        frames.append(
            pd.DataFrame(
                {
                    "learning_rate": learning_rates * len(schedules),
                    "schedule": [name for name in schedules for _ in learning_rates],
                    "momentum": momentum,
                    "output": output,
                    "value": value.double().nan_to_num(nan=torch.inf).numpy(),
                    "test": test.numpy(),
                    "num_grad_evals": steps,
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


def _descend(
    task: LaneTask, seed: int, batches: Tensor, step_sizes: Tensor, gammas: tuple[float, ...], momentum: float
) -> tuple[list[Tensor], list[Tensor]]:
    """Take every step in every lane.

    Args:
        task: What to minimise.
        seed: Initial point.
        batches: Row indices, shape (steps, batch).
        step_sizes: Shape (steps, lanes).
        gammas: Polynomial weights of the averages.
        momentum: Normalised momentum.

    Returns:
        Last iterates, each of shape (lanes, ...), and averages, each of shape (gammas, lanes, ...).
    """
    params = task.lane_params(step_sizes.shape[1], seed)
    averages = [p.repeat(len(gammas), *[1] * p.dim()) for p in params]
    velocities: list[Tensor] = []
    for t, (rows, sizes) in enumerate(zip(batches, step_sizes, strict=True), start=1):
        grads = task.lane_grads(params, rows)
        if not momentum or not velocities:
            velocities = list(grads)
        else:
            for velocity, grad in zip(velocities, grads, strict=True):
                velocity.mul_(momentum).add_(grad, alpha=1.0 - momentum)
        weights = [average_weight(gamma, t) for gamma in gammas]
        for p, velocity, average in zip(params, velocities, averages, strict=True):
            p.addcmul_(sizes.to(p.dtype).view(-1, *[1] * (p.dim() - 1)), velocity, value=-1.0)
            if gammas:
                average.lerp_(p.expand_as(average), p.new_tensor(weights).view(-1, *[1] * p.dim()))
    return params, averages
