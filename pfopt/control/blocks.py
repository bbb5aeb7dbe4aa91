"""A stream of numbers in bounded memory: means of blocks, which double in length whenever there are too many."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

CAPACITY = 256  # blocks at most; half of them just after a merge
FIRST_LOOK = 8  # observations; fewer reject hardly anything at the levels in use
LOOKS_PER_OCTAVE = 4


class Blocks:
    """Block means of a stream, and when to look at them: four times per doubling of its length.

    Block means are closer to independent and to Gaussian than what they are the means of, and the more so the longer
    the blocks; their number bounds what a look costs.
    """

    def __init__(self) -> None:
        self.length = 1  # observations per block
        self.steps: list[float] = []  # mean step of every block
        self.means: list[float] = []
        self.open: list[list[float]] = []  # step and value of what the newest block has so far

    @property
    def count(self) -> int:
        """Observations so far."""
        return self.length * len(self.means) + len(self.open)

    @property
    def octave(self) -> int:
        """0 before the first look, then 1, and one more whenever the count has doubled."""
        return (self.count // FIRST_LOOK).bit_length()

    def add(self, step: float, value: float) -> bool:
        """Take an observation; return whether it is time to look."""
        self.open.append([step, value])
        if len(self.open) == self.length:
            step, value = np.mean(self.open, axis=0).tolist()
            self.steps.append(step)
            self.means.append(value)
            self.open = []
            if len(self.means) == CAPACITY:
                self._merge()
        stride = (FIRST_LOOK << self.octave - 1) // LOOKS_PER_OCTAVE if self.octave else 0
        return stride > 0 and self.count % stride == 0

    def windows(self, number: int) -> list[tuple[NDArray[Any], NDArray[Any]]]:
        """Steps and means of all full blocks, of the last half, quarter, ... of them: ``number`` windows at most."""
        sizes = [len(self.means) >> halvings for halvings in range(number)]
        steps, means = np.array(self.steps), np.array(self.means)
        return [(steps[-size:], means[-size:]) for size in sizes if size >= FIRST_LOOK]

    def state_dict(self) -> dict[str, Any]:
        """What is remembered, in plain numbers."""
        copied = {
            "steps": list(self.steps),
            "means": list(self.means),
            "open": [list(pair) for pair in self.open],
        }
        return {"length": self.length, **copied}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """The inverse of ``state_dict``."""
        self.length = int(saved["length"])
        self.steps, self.means = [float(x) for x in saved["steps"]], [float(x) for x in saved["means"]]
        self.open = [[float(x) for x in pair] for pair in saved["open"]]

    def _merge(self) -> None:
        self.length *= 2
        self.steps = np.mean(np.reshape(self.steps, (-1, 2)), axis=1).tolist()
        self.means = np.mean(np.reshape(self.means, (-1, 2)), axis=1).tolist()
