"""A run that is prolonged or cut."""

from typing import Any

from pfopt import options
from pfopt.core import controller
from pfopt.core.config import Config
from pfopt.core.records import Phase
from pfopt.options import Plan
from pfopt.torch import report
from pfopt.torch.bundles import Bundle
from pfopt.torch.state import Memory


def extended(plan: Plan, config: Config, total_steps: int | None, memory: Memory | None, steps: Any) -> int:
    """The new ``total_steps``.

    Raises:
        TypeError, ValueError: see ``ParameterFreeOptimizer.extend``.
    """
    steps = options.integer("steps", steps)
    if total_steps is None:
        raise ValueError(
            "extend needs total_steps: with total_steps=None a run goes on for as long as you do"
        )
    if memory is not None and config.certified:
        raise ValueError(
            'extend cannot change a run of plan="certified" that has begun: Algorithm 1 gives every probe a share of '
            "total_steps"
        )
    found = options.total_steps(total_steps + steps, plan)
    if memory is not None:
        spent = report.status(memory, config).step
        least = spent + 1 + (memory.due if memory.phase == Phase.SEARCH else 0)
        if found < least and steps:
            raise ValueError(
                f"steps must leave total_steps at {least} or more after {spent} gradients, got {steps}, which makes "
                f"it {found}"
            )
    return found


def apply(config: Config, memory: Memory, bundles: list[Bundle], steps: int) -> None:
    """Let a run that has begun know, and place the parameters so that no iterate moves."""
    current = memory.read()
    finished = memory.phase == Phase.DONE
    state, farther = controller.extended(config, current.state, current.run, steps)
    memory.write(current._replace(state=state))
    memory.due = steps if finished else memory.due + steps * (memory.phase == Phase.MAIN)
    memory.idle = 0
    parts = [part for bundle in bundles for part in bundle.apart_from(memory.still)] if farther != 1 else []
    for part in parts:
        part.place(part.state["average"].lerp(part.points(), farther))
