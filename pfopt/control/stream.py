"""A stream under watch: its blocks, and what the last look at them has found.

Looks are repeated, so the rate of false alarms is spent: octave o of the stream, from 8 · 2^(o−1) observations to twice
as many, gets the share 1/(o(o+1)) of it, and these sum to one; within it four looks, the windows of a look and the two
sides of an interval share alike. By Boole's inequality the chance that any interval of the whole stream, however long,
misses what it is for is at most the rate, whatever the dependence between looks (alpha spending: Lan & DeMets,
Biometrika 1983).
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pfopt.control.blocks import FIRST_LOOK, LOOKS_PER_OCTAVE, Blocks
from pfopt.control.trend import ANYWHERE, Interval

WINDOWS = 5  # the whole stream, its last half, quarter, eighth, sixteenth
Test = Callable[[NDArray[Any], NDArray[Any], float], Interval]


class Found(NamedTuple):
    """What a look found in one window."""

    since: float  # the step at which the window begins
    interval: Interval


class Stream:
    """A stream of finite numbers, tested at looks that grow rarer as it grows."""

    def __init__(self, test: Test, rate: float) -> None:
        """``test`` is ``trend.slope`` or ``trend.center``; ``rate``: of false alarms, over the whole stream."""
        self.blocks, self.test, self.rate = Blocks(), test, rate
        self.found: list[Found] = []  # at the last look, from the longest window to the shortest
        self.has_fallen = False  # for certain, at some look
        self.start = 0.0  # the mean of the first FIRST_LOOK values

    def add(self, step: float, value: float) -> bool:
        """Take an observation; return whether there was a look."""
        count = self.blocks.count
        if count < FIRST_LOOK:
            self.start += (value - self.start) / (count + 1)
        if not self.blocks.add(step, value):
            return False
        octave = self.blocks.octave
        windows = self.blocks.windows(min(WINDOWS, octave))
        level = self.rate / (octave * (octave + 1) * LOOKS_PER_OCTAVE * len(windows) * 2)
        self.found = [Found(float(steps[0]), self.test(steps, means, level)) for steps, means in windows]
        self.has_fallen |= self.direction < 0
        return True

    @property
    def direction(self) -> int:
        """1 where the stream rises for certain, -1 where it falls, 0 where that is open."""
        latest = self.latest
        return 0 if latest is None else (1 if latest.interval.low > 0.0 else -1)

    @property
    def latest(self) -> Found | None:
        """The shortest window of which it is certain on which side of 0 it is, as the newest of what is certain."""
        certain = [each for each in self.found if not each.interval.low <= 0.0 <= each.interval.high]
        return certain[-1] if certain else None

    @property
    def slowest(self) -> Found:
        """The window with the largest lower bound: a stream that does not fall faster and faster falls no faster."""
        nothing = Found(0.0, ANYWHERE)
        return max(self.found, key=lambda each: each.interval.low, default=nothing)

    @property
    def level(self) -> float:
        """The mean of the newest blocks, an eighth of them; NaN before the first block."""
        means = self.blocks.means
        return float(np.mean(means[-max(len(means) // 8, 1) :])) if means else float("nan")

    @property
    def lost(self) -> float:
        """The share of its gain, from the start to the lowest block, that is gone again; above 1 beyond the start."""
        lowest = min(self.blocks.means, default=self.start)
        gone, gained = self.level - lowest, self.start - lowest
        return gone / gained if gained > 0.0 else math.inf

    @property
    def lowest_step(self) -> int | None:
        """The step in the middle of the block with the lowest mean; None before the first block."""
        means = self.blocks.means
        return round(self.blocks.steps[int(np.argmin(means))]) if means else None

    def state_dict(self) -> dict[str, Any]:
        """What is remembered, in plain numbers."""
        found = [[each.since, *each.interval] for each in self.found]
        own = {"found": found, "has_fallen": self.has_fallen, "start": self.start}
        return {"blocks": self.blocks.state_dict(), **own}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """The inverse of ``state_dict``."""
        self.blocks.load_state_dict(saved["blocks"])
        self.found = [Found(since, Interval(low, high)) for since, low, high in saved["found"]]
        self.has_fallen, self.start = bool(saved["has_fallen"]), float(saved["start"])
