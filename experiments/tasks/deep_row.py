"""A network in the registry: how it is made in two sizes, and how it is run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from experiments.tasks.networks import DeepTask
from experiments.tasks.task import Setting


@dataclass(frozen=True)
class DeepRow:
    """A network in two sizes.

    Attributes:
        factory: Called with name, data folder, device and a size.
        small: The size for two cores.
        large: The size for a GPU.
        budget: Gradients of a run in the suite ``deep``.
        batch_size: Rows of a mini-batch.
        files: What it reads of the data folder.
    """

    factory: Callable[..., DeepTask]
    small: dict[str, Any]
    large: dict[str, Any]
    budget: int
    batch_size: int
    files: tuple[str, ...] = ()

    @property
    def setting(self) -> Setting:
        """Momentum and cosine decay, as networks are usually trained."""
        return Setting(self.budget, self.batch_size, momentum=0.9, schedule="cosine")
