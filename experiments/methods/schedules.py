"""Learning-rate schedules and the weights of polynomial averages, shared by grids and single runs."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

GAMMAS = (0.0, 1.0, 2.0, 3.0, 5.0, 8.0)

# Factor of the learning rate at progress t / T, shape (steps,), in [0, 1).
SCHEDULES: dict[str, Callable[[Tensor], Tensor]] = {
    "constant": torch.ones_like,
    "linear": lambda progress: 1.0 - progress,
    "cosine": lambda progress: 0.5 * (1.0 + torch.cos(torch.pi * progress)),
}


def factors(schedule: str, steps: int) -> list[float]:
    """The schedule's factor at every step and after the last one."""
    return SCHEDULES[schedule](torch.arange(steps + 1, dtype=torch.float64) / steps).tolist()


def average_weight(gamma: float, count: int) -> float:
    """Weight of the ``count``-th iterate in its running polynomial average."""
    return min(1.0, (1.0 + gamma) / (count + gamma))


def average_name(gamma: float) -> str:
    """How an average is called in tables."""
    return f"average gamma={gamma:g}"
