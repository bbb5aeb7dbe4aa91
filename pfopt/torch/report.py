"""What a person reads of a run."""

from typing import Any

from pfopt.core.config import Config
from pfopt.core.records import Outcome, Phase
from pfopt.core.run import estimates
from pfopt.status import Status, in_plain_units, message
from pfopt.torch.state import Memory


def show_rates(groups: list[dict[str, Any]], memory: Memory) -> None:
    """Put the step size in force into every group, where loggers look; on an accelerator a number that waits there."""
    step_size = memory.controller.step_size
    step_size = step_size if memory.gradient_unit == 1 else step_size * memory.gradient_unit
    for group in groups:
        group["effective_lr"] = step_size if group["lr"] == 1 else group["lr"] * step_size


def status(memory: Memory | None, config: Config) -> Status:
    """Where the optimizer stands, of which nothing is remembered before its first step."""
    if memory is None:
        left = None if config.unknown_horizon else config.total_steps
        return Status(Phase.SEARCH.label, 0, 0, left, 0.0, 0.0, 0.0, Outcome.RUNNING.message)
    now, run, _, step_size = memory.read()
    taken = config.total_steps * (2**now.budget_doublings - 1) + now.spent
    taken += 0 if now.phase == Phase.DONE else run.step
    lipschitz, distance = estimates(run)
    told = Status(
        phase=Phase(now.phase).label,
        probe=len(memory.history),
        step=taken,
        steps_left=None if config.unknown_horizon else max(config.total_steps - taken - memory.idle, 0),
        step_size=float(step_size),
        lipschitz=lipschitz,
        distance=distance,
        message=message(now, run),
    )
    return in_plain_units(told, memory.gradient_unit)
