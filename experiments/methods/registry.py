"""Every method that spends the budget once, by name."""

from __future__ import annotations

from functools import partial
from typing import Protocol

from experiments.methods.dog import run_dog
from experiments.methods.parameter_free import run_parameter_free
from experiments.methods.run import Run
from experiments.tasks.task import Setting, Task


class Method(Protocol):
    """One run on a task."""

    def __call__(self, task: Task, seed: int, setting: Setting, *, num_records: int = 0) -> Run:
        """Spend the setting's budget once."""
        ...


METHODS: dict[str, Method] = {
    "pfopt": run_parameter_free,
    "pfopt-loss": partial(run_parameter_free, with_loss=True),
    "dog": run_dog,
}
