"""Every task by name."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path

from experiments.tasks.convex import CONVEX, DEMO, SHARED
from experiments.tasks.data import has_shared_data
from experiments.tasks.network import NetworkTask
from experiments.tasks.task import Setting, Task

NETWORK = "digits-network"
NAMES = (*CONVEX, NETWORK)
DEMO_NAMES = (*DEMO, NETWORK)


@cache
def make_task(name: str, data_dir: str | Path | None = None) -> Task:
    """Build one task; an unknown name is an error."""
    check_names([name])
    return NetworkTask(NETWORK) if name == NETWORK else CONVEX[name](data_dir=data_dir)


def make_setting(name: str, budget: int) -> Setting:
    """How a task is run: the network has longer batches, momentum and a quarter of the budget."""
    if name == NETWORK:
        return Setting(budget // 4, batch_size=32, momentum=0.9, schedule="cosine")
    return Setting(budget)


def check_names(names: Iterable[str], valid: tuple[str, ...] = NAMES, what: str = "task") -> None:
    """Raise a ``ValueError`` that lists the valid names, unless all names are among them."""
    unknown = [name for name in names if name not in valid]
    if unknown:
        raise ValueError(f"unknown {what} {', '.join(unknown)}; valid names: {', '.join(valid)}")


def available(names: tuple[str, ...], data_dir: str | Path | None = None) -> list[str]:
    """Those of the names whose data are there."""
    return [name for name in names if name not in SHARED or has_shared_data(data_dir)]
