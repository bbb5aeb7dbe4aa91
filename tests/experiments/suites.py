"""A tiny suite on bundled data."""

from __future__ import annotations

from pathlib import Path

from experiments.engine.suite import Suite, parse_suite

ROOT = Path(__file__).parents[2]
TINY = """
title = "Tiny"
purpose = "For the tests."
metric = "gap ratio"
stopping = "the budget"
tasks = ["diabetes-ridge", "breast-cancer-logistic"]
methods = ["pfopt", "dog"]
seeds = [0, 1]
budget = 200
num_records = 4
grid = { schedules = ["linear", "constant"], momenta = [0.0], gammas = [2.0], lowest = 0.0009765625, highest = 1.0 }
sensitivity = { method = "pfopt-numpy", tasks = ["diabetes-ridge"], lowest = -2, highest = 1 }
comparisons = [{ method = "pfopt", against = "grid A", question = "Is it as good?" }]
"""


def tiny_suite(name: str = "quick", **changes: str) -> Suite:
    """The suite, with lines of its text replaced."""
    text = TINY
    for old, new in changes.items():
        lines = [line if not line.startswith(f"{old} =") else f"{old} = {new}" for line in text.splitlines()]
        text = "\n".join(lines)
    return parse_suite(name, text)
