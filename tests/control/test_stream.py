"""A stream is kept in bounded memory and looked at four times per doubling, at a rate that is spent."""

import numpy as np
import pytest

from pfopt.control import trend
from pfopt.control.blocks import CAPACITY, Blocks
from pfopt.control.stream import Stream
from pfopt.control.trend import Interval


def test_blocks_are_means_of_all_observations() -> None:
    blocks, values = Blocks(), np.random.default_rng(0).standard_normal(5000)
    for step, value in enumerate(values):
        blocks.add(step, value)
        assert len(blocks.means) < CAPACITY
    assert blocks.count == 5000
    assert blocks.length == 32
    full = values[: 32 * len(blocks.means)].reshape(-1, 32)
    assert blocks.means == pytest.approx(full.mean(axis=1).tolist())
    assert blocks.steps[:2] == [15.5, 47.5]


def test_looks_grow_rarer() -> None:
    blocks = Blocks()
    looks = [count for count in range(1, 2049) if blocks.add(count, 0.0)]
    assert looks[:10] == [8, 10, 12, 14, 16, 20, 24, 28, 32, 40]
    assert looks[-5:] == [1024, 1280, 1536, 1792, 2048]


def test_the_rate_is_spent_and_not_more() -> None:
    """The levels of all looks, windows and sides sum to the rate, but for what is left to longer streams."""
    spent = []

    def test(steps: object, means: object, level: float) -> Interval:
        spent.append(2 * level)
        return Interval(0.0, 0.0)

    stream = Stream(test, 0.1)
    for step in range(2**14):
        stream.add(step, 0.0)
    assert 0.085 < sum(spent) < 0.1


def test_false_alarms_of_whole_streams() -> None:
    """At rate 0.1, of 100 streams without a trend; 19 or more have a probability of 1% at exactly that rate."""
    alarms = 0
    for seed in range(100):
        stream = Stream(trend.slope, 0.1)
        for step, value in enumerate(np.random.default_rng(seed).standard_t(3, size=200)):
            if stream.add(step, value) and stream.latest is not None:
                alarms += 1
                break
    assert alarms < 19


def test_the_newest_window_that_is_certain_is_the_latest() -> None:
    rng, stream = np.random.default_rng(0), Stream(trend.slope, 0.05)
    for step in range(1024):
        stream.add(step, abs(step - 500) / 100 + 0.1 * rng.standard_normal())
    latest = stream.latest
    assert latest is not None
    assert latest.interval.low > 0.0
    assert latest.since > 500
    assert stream.lowest_step == pytest.approx(500, abs=30)
