"""The problems: a family, a dimension, a scale, a start and a noise, all drawn from the problem's number."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from experiments.studies.never_worse.families import FAMILIES, Function, Point

DIMENSIONS = (1, 2, 3, 5, 10, 30, 100, 1000, 10_000)
DIMENSION_SHARES = (0.2, 0.15, 0.15, 0.15, 0.15, 0.1, 0.06, 0.03, 0.01)
NOISES = ("none", "gaussian", "heavy tails", "one coordinate", "multiplicative", "rare")


class Problem(NamedTuple):
    """One problem; ``slack`` is by how much the function jumps where no gradient shows it."""

    family: str
    noise: str
    strength: float  # of the noise, relative to the first gradient
    scale: float  # of the objective
    start: Point
    function: Function
    budget: int
    slack: float = 0.0


def problem(number: int) -> Problem:
    """The problem of this number, always the same one."""
    draw = np.random.default_rng([32, number])
    family = list(FAMILIES)[number % len(FAMILIES)]
    dimension = int(draw.choice(DIMENSIONS, p=DIMENSION_SHARES))
    scale, size = 10.0 ** draw.uniform(-6, 6), 10.0 ** draw.uniform(-2, 2)
    start = size * draw.normal(size=dimension) * (draw.random() > 0.1)  # one in ten at the origin
    kind, function = FAMILIES[family](draw, dimension)
    noise = str(draw.choice(NOISES))
    strength = 0.0 if noise == "none" else 10.0 ** draw.uniform(-2, 2)
    budget = int(draw.choice([100, 200, 400], p=[0.9, 0.08, 0.02]))

    def scaled(x: Point) -> tuple[float, Point]:
        value, grad = function(x)
        return scale * value, scale * grad

    return Problem(family, noise, strength, scale, start, scaled, budget, scale * kind)


class Oracle:
    """Noisy gradients; what the noise was is remembered."""

    def __init__(self, of: Problem, number: int) -> None:
        self.of, self.draw, self.calls, self.noise_sq = of, np.random.default_rng([33, number]), 0, 0.0
        gradient = of.function(of.start)[1]
        size = float(np.linalg.norm(gradient)) / len(gradient) ** 0.5
        self.unit = of.strength * (size if 0 < size < np.inf else of.scale)

    def __call__(self, x: Point) -> tuple[float, Point]:
        """The value, and the gradient with a fresh noise."""
        self.calls += 1
        value, gradient = self.of.function(x)
        noise = self._noise(gradient)
        self.noise_sq += float(noise @ noise) if np.isfinite(gradient).all() else 0.0
        return value, gradient + noise

    def allowance(self, end: Point) -> float:
        """Three standard errors of the slope towards ``end`` that the mean of all gradients shows, and the jumps."""
        error = (self.noise_sq / max(self.calls, 1)) ** 0.5 / max(self.calls, 1) ** 0.5
        return 3 * error * float(np.linalg.norm(end - self.of.start)) + self.of.slack

    def _noise(self, gradient: Point) -> Point:
        draw, kind, unit = self.draw, self.of.noise, self.unit
        if kind == "gaussian":
            return unit * draw.normal(size=len(gradient))
        if kind == "heavy tails":
            return unit * draw.standard_t(1.2, size=len(gradient))
        if kind == "one coordinate":  # of a batch of one, without bias
            one = np.zeros_like(gradient)
            place = int(draw.integers(len(one)))
            one[place] = len(one) * gradient[place]
            return one - gradient
        if kind == "multiplicative":
            return gradient * draw.normal() * self.of.strength
        if kind == "rare":
            return 30 * unit * draw.normal(size=len(gradient)) * (draw.random() < 0.02)
        return np.zeros_like(gradient)
