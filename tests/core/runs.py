"""Runs and brackets as the tests need them: made by the package, and changed in a few fields."""

from typing import Any

import numpy as np

from pfopt.core import run as runs
from pfopt.core.records import Bracket, Run


def fresh(scopes: int = 0) -> Run:
    """A run that has measured nothing."""
    return runs.begin(scopes, np, dtype=np.float64)


def ended(length: int, mean_sq: float, distance_sq: float, **fields: Any) -> Run:
    """A run of ``length`` gradients, of that mean ‖g‖² and r̄²."""
    measured = {"grad_sq_sum": np.float64(length * mean_sq), "distance_sq": np.float64(distance_sq)}
    return fresh()._replace(step=length, **{**measured, **fields})


def place(bracket: Bracket) -> tuple[int, int, int]:
    """Which probe is next: stage, k, exponent."""
    return int(bracket.stage), int(bracket.k), int(bracket.exponent)
