"""SGD over a grid of learning rates: all values (lanes) run as one batched computation.

Every lane gets the full budget and takes the steps of ``torch.optim.SGD``: x = x - lr_t v with the normalised
momentum v = m v + (1 - m) g (v = g at first); lr_t follows ``LinearLR`` or ``CosineAnnealingLR`` to zero.

Grid A, what a practitioner runs: linear decay, last iterate, best of 18 learning rates. Grid B, the best:
constant or linear, last iterate or a polynomial average, all chosen in hindsight.
"""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import torch
from torch import Tensor

from experiments.tasks.task import Task

LEARNING_RATES = tuple(2.0**j for j in range(-12, 6))
GAMMAS = (0.0, 1.0, 2.0, 3.0, 5.0, 8.0)
MAX_WIDENINGS = 4  # each by two further values, a factor of 4

# Factor of the learning rate at progress t / T, shape (steps,), in [0, 1).
SCHEDULES: dict[str, Callable[[Tensor], Tensor]] = {
    "constant": torch.ones_like,
    "linear": lambda progress: 1.0 - progress,
    "cosine": lambda progress: 0.5 * (1.0 + torch.cos(torch.pi * progress)),
}


def sgd_grid(
    task: Task,
    seed: int,
    budget: int,
    batch_size: int = 16,
    *,
    schedules: tuple[str, ...] = ("linear",),
    gammas: tuple[float, ...] = (),
    momentum: float = 0.0,
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
        momentum: Normalised momentum.
        learning_rates: Ascending, at a factor of 2.

    Returns:
        One row per schedule, output and learning rate: learning_rate, schedule, output ("last" or
        "average gamma=..."), value, accuracy, num_grad_evals, widened (whether it was added at an edge).
    """
    batches = task.batches(seed, budget, batch_size)

    def run(values: tuple[float, ...], widened: bool) -> pd.DataFrame:
        return _run_lanes(task, seed, batches, values, schedules, gammas, momentum).assign(widened=widened)

    table = run(learning_rates, widened=False)
    for _ in range(MAX_WIDENINGS):
        further = _beyond_edges(table, schedules[0])
        if not further:
            break
        table = pd.concat([table, run(further, widened=True)], ignore_index=True)
    return table.sort_values(["schedule", "output", "learning_rate"], ignore_index=True)


def grid_a(table: pd.DataFrame, schedule: str = "linear") -> pd.Series:
    """The best row among last iterates of one schedule."""
    rows = table[(table.schedule == schedule) & (table.output == "last")]
    return rows.loc[rows.value.idxmin()]


def grid_b(table: pd.DataFrame) -> pd.Series:
    """The best row of all."""
    return table.loc[table.value.idxmin()]


def _beyond_edges(table: pd.DataFrame, schedule: str) -> tuple[float, ...]:
    """Two learning rates beyond each edge of the grid that grid A's or grid B's best value lies on."""
    lowest, highest = table.learning_rate.min(), table.learning_rate.max()
    best = {grid_a(table, schedule).learning_rate, grid_b(table).learning_rate}
    below = (lowest / 4, lowest / 2) if lowest in best else ()
    above = (highest * 2, highest * 4) if highest in best else ()
    return below + above


def _run_lanes(
    task: Task,
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
        f"average gamma={gamma:g}": [a[i] for a in averages] for i, gamma in enumerate(gammas)
    }
    frames = []
    for output, params in outputs.items():
        value, accuracy = task.lane_scores(params)
        frames.append(
            pd.DataFrame(
                {
                    "learning_rate": learning_rates * len(schedules),
                    "schedule": [name for name in schedules for _ in learning_rates],
                    "output": output,
                    "value": value.double().nan_to_num(nan=torch.inf).numpy(),
                    "accuracy": accuracy.numpy(),
                    "num_grad_evals": steps,
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


def _descend(
    task: Task, seed: int, batches: Tensor, step_sizes: Tensor, gammas: tuple[float, ...], momentum: float
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
        weights = [min(1.0, (1.0 + gamma) / (t + gamma)) for gamma in gammas]
        for p, velocity, average in zip(params, velocities, averages, strict=True):
            p.addcmul_(sizes.to(p.dtype).view(-1, *[1] * (p.dim() - 1)), velocity, value=-1.0)
            if gammas:
                average.lerp_(p.expand_as(average), p.new_tensor(weights).view(-1, *[1] * p.dim()))
    return params, averages
