"""Streams whose truth is known: how often the intervals miss it at any look, and when a trend or a plateau is seen.

Noise has variance 1. Series i of every row comes from ``numpy.random.default_rng([SEED, i])``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pfopt.control import Kind, Monitor, trend
from pfopt.control.stream import Stream

SEED = 2026
STEPS = 1024
Array = NDArray[Any]
Row = dict[str, Any]


def _autoregressive(correlation: float) -> Callable[[np.random.Generator, int], Array]:
    def draw(rng: np.random.Generator, number: int) -> Array:
        values = rng.standard_normal(number)
        for index in range(1, number):
            fresh = math.sqrt(1 - correlation**2) * values[index]
            values[index] = correlation * values[index - 1] + fresh
        return values

    return draw


NOISES: dict[str, Callable[[np.random.Generator, int], Array]] = {
    "Gaussian": lambda rng, number: rng.standard_normal(number),
    "Student t, 3 degrees": lambda rng, number: rng.standard_t(3, number) / math.sqrt(3),
    "lognormal": lambda rng, number: (rng.lognormal(size=number) - math.exp(0.5)) / 2.1612,
    "shrinking tenfold": lambda rng, number: rng.standard_normal(number) * np.geomspace(1, 0.1, number),
    "AR(0.5)": _autoregressive(0.5),
    "AR(0.9)": _autoregressive(0.9),
    "AR(0.99)": _autoregressive(0.99),
}


def false_alarms(series: int) -> Iterator[Row]:
    """Of flat streams, the share with a slope that is certain at any look; by their length and the rate asked for."""
    for name, draw in NOISES.items():
        for rate in (0.05, 0.2):
            firsts = np.array([_first_certain(draw, rate, 0.0, index) for index in range(series)])
            for steps in (64, 256, STEPS):
                yield {
                    "noise": name,
                    "steps": steps,
                    "rate": rate,
                    "measured": float(np.mean(firsts < steps)),
                    "series": series,
                }


def power(series: int) -> Iterator[Row]:
    """Of streams that fall by so many standard deviations of one value, the share where that becomes certain."""
    for name in ("Gaussian", "Student t, 3 degrees", "AR(0.5)", "AR(0.9)"):
        for fall in (0.25, 0.5, 1.0, 2.0, 4.0, 8.0):
            firsts = np.array([_first_certain(NOISES[name], 0.05, fall, index) for index in range(series)])
            yield {
                "noise": name,
                "fall": fall,
                "found": float(np.mean(firsts < STEPS)),
                "median_step": float(np.median(firsts)),
                "series": series,
            }


def _first_certain(
    draw: Callable[[np.random.Generator, int], Array], rate: float, fall: float, index: int
) -> float:
    values = draw(np.random.default_rng([SEED, index]), STEPS) - np.linspace(0, fall, STEPS)
    stream = Stream(trend.slope, rate)
    for step, value in enumerate(values):
        if stream.add(step, value) and stream.latest is not None:
            return step
    return math.inf


CURVES: dict[str, Callable[[Array], Array]] = {
    "exponential": lambda t: 2 * np.exp(-t / 50),
    "1/sqrt(t)": lambda t: 2 / np.sqrt(1 + t / 30),
    "logarithmic": lambda t: 2 - 0.25 * np.log1p(t),
}


def plateaus(series: int, steps: int = 4096) -> Iterator[Row]:
    """When a plateau is told of on curves that settle or go on falling, and how often more was to come than told."""
    for name, curve in CURVES.items():
        clean = curve(np.arange(steps, dtype=float))
        for noise in (0.02, 0.1, 0.5):
            found = [_plateau(clean, noise, index) for index in range(series)]
            told = [step for step, _ in found if step < steps]
            yield {
                "curve": name,
                "noise": noise,
                "told": len(told) / series,
                "median_step": float(np.median([step for step, _ in found])),
                "wrong": float(np.mean([wrong for _, wrong in found])),
                "series": series,
            }


def _plateau(clean: Array, noise: float, index: int) -> tuple[float, bool]:
    """The step at which it was told first, and whether the curve fell by more than told afterwards, at any time."""
    monitor = Monitor(total_steps=len(clean))
    losses = clean + noise * np.random.default_rng([SEED, index]).standard_normal(len(clean))
    first, wrong = math.inf, False
    for step, loss in enumerate(losses):
        known = monitor.verdict
        if monitor.update(step, loss=loss) is not known and monitor.verdict.kind == Kind.PLATEAU:
            first = min(first, step)
            wrong |= clean[step] - clean[-1] > monitor.remaining_gain().high
    return first, wrong
