"""The convex tasks whose features are a dense matrix, and exact gradients for them."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from experiments.tasks.convex import CONVEX, SPARSE
from experiments.tasks.objective import ConvexTask
from experiments.tasks.registry import make_task

DENSE = tuple(name for name in CONVEX if name not in SPARSE)
ALL = 0  # as a batch size: every row once, exact gradients
EXACT_ROWS = 2000  # of a task with exact gradients, at most


class Exact:
    """A convex task whose every batch is all of its rows."""

    def __init__(self, task: ConvexTask) -> None:
        self._task = task

    def __getattr__(self, name: str) -> Any:
        return getattr(self._task, name)

    def batches(self, seed: int, steps: int, batch_size: int) -> Tensor:
        """Row numbers of every batch, shape (steps, rows)."""
        del seed, batch_size
        return torch.arange(len(self._task.targets)).expand(steps, -1)


def drawn(task: Any, batch_size: int) -> Any:
    """The task as it is or, where ``batch_size`` is ALL, the convex task with exact gradients."""
    return Exact(cast(ConvexTask, task)) if batch_size == ALL else task


def affordable(name: str, batch_size: int, data_dir: str | None) -> bool:
    """Whether a small machine affords the convex task: exact gradients of few rows only."""
    return batch_size != ALL or len(cast(ConvexTask, make_task(name, data_dir)).targets) <= EXACT_ROWS
