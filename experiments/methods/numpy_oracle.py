"""``pfopt.minimize`` on a convex task: mini-batch gradients from an oracle, and a first step to choose."""

from __future__ import annotations

from time import perf_counter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from experiments.methods.run import Run
from experiments.tasks.task import Setting, Task, with_lanes
from pfopt import minimize
from pfopt.options import PlanLike


def run_oracle(
    task: Task,
    seed: int,
    setting: Setting,
    *,
    initial_step: float | None = None,
    plan: PlanLike = "practical",
    num_records: int = 0,
) -> Run:
    """Spend the budget once; the driver calls the oracle, so that there is no curve."""
    del num_records
    lanes = with_lanes(task)
    (start,) = lanes.lane_params(1, seed)
    batches = iter(task.batches(seed, setting.budget, setting.batch_size))

    def oracle(x: NDArray[Any]) -> NDArray[Any]:
        return lanes.lane_grads([torch.from_numpy(x)[None]], next(batches))[0][0].numpy()

    started = perf_counter()
    result = minimize(oracle, start[0].numpy(), setting.budget, plan=plan, initial_step=initial_step)
    seconds = perf_counter() - started
    value, test = (scores.item() for scores in lanes.lane_scores([torch.from_numpy(result.x)[None]]))
    status = "done" if np.isfinite(value) else "diverged"
    return Run(
        value if np.isfinite(value) else np.inf,
        test,
        result.gradients,
        seconds,
        message=result.outcome.message,
        status=status,
        params=[result.x],
    )
