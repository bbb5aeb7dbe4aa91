"""The whole SGD grid as one run: its bill is that of every lane, its value that of grid A."""

from __future__ import annotations

import math
from time import perf_counter

from experiments.methods.run import Run
from experiments.methods.schedules import GAMMAS
from experiments.methods.sgd_grid import LEARNING_RATES, grid_a, grid_b, sgd_grid
from experiments.tasks.task import Setting, Task, with_lanes


def run_grid(
    task: Task,
    seed: int,
    setting: Setting,
    *,
    schedules: tuple[str, ...] = ("linear", "constant", "cosine"),
    momenta: tuple[float, ...] = (0.0, 0.9),
    gammas: tuple[float, ...] = GAMMAS,
    lowest: float = LEARNING_RATES[0],
    highest: float = LEARNING_RATES[-1],
    equal_cost: bool = False,
    num_records: int = 0,
) -> Run:
    """Every learning rate between ``lowest`` and ``highest``, at a factor of 2, under every schedule and momentum.

    The first schedule and momentum are grid A's; grid B is the best of everything. ``equal_cost`` divides the
    budget among the learning rates, so that the grid costs what one run does.
    """
    del num_records
    count = round(math.log2(highest / lowest)) + 1
    started = perf_counter()
    lanes = sgd_grid(
        with_lanes(task),
        seed,
        max(1, setting.budget // count) if equal_cost else setting.budget,
        setting.batch_size,
        schedules=tuple(schedules),
        gammas=tuple(gammas),
        momenta=tuple(momenta),
        learning_rates=tuple(lowest * 2.0**j for j in range(count)),
    )
    seconds = perf_counter() - started
    best, strongest = grid_a(lanes, schedules[0], momenta[0]), grid_b(lanes)
    message = f"A: lr {best.learning_rate:g}; B: lr {strongest.learning_rate:g}, {strongest.schedule}, "
    message += f"momentum {strongest.momentum:g}, {strongest.output}"
    message += "; widened" if lanes.widened.any() else ""
    runs = lanes.drop_duplicates(["schedule", "momentum", "learning_rate"])
    return Run(best.value, best.test, int(runs.num_grad_evals.sum()), seconds, message=message, lanes=lanes)
