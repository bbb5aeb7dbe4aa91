"""The recorded curves of the suites, 20 evaluations or more each: stopping rules, and the gain that was foretold."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd

from experiments.common.frames import records, where
from experiments.engine.store import ARCHIVE, Store
from experiments.studies.control.rules import Evaluations, rows, told
from pfopt.control import Monitor

RESULTS = Path(__file__).resolve().parents[2] / "results"
SUITES = ("quick", "deep", "convex")
LOOKS = (8, 10, 12, 14, 16, 20)  # of a monitor at a curve that has one loss per evaluation
FEWEST = 20  # evaluations of a curve; those of a grid's lanes have 8, of which nothing can be certain


def recorded() -> Iterator[tuple[dict[str, Any], pd.DataFrame]]:
    """The row of every run that ended well and has a curve, and the curve."""
    for suite in SUITES:
        with TemporaryDirectory() as folder:
            store = Store(Path(folder))
            store.unpack(RESULTS / suite / ARCHIVE)
            runs = pd.read_csv(RESULTS / suite / "runs.csv")
            for row in records(where(runs, status="done")):
                if store.has(row["run_id"]) and len(curve := store.curve(row["run_id"])):
                    yield row, curve


def study() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Stops of every rule on every held-out curve; foretold and actual gains of the objective at every look."""
    stopped: list[dict[str, Any]] = []
    foretold: list[dict[str, Any]] = []
    for row, curve in recorded():
        names = {name: row[name] for name in ("suite", "task", "method", "seed")}
        objective = where(curve, metric="objective")
        if len(objective) < FEWEST or not objective.value.map(math.isfinite).all():
            continue
        foretold += gains(objective, **names)
        held_out = where(curve, metric=["test accuracy", "test loss"])
        if len(held_out) == len(objective):
            stopped += rows(evaluations(objective, held_out), **names)
    return pd.DataFrame(stopped), pd.DataFrame(foretold)


def evaluations(objective: pd.DataFrame, held_out: pd.DataFrame) -> Evaluations:
    """A curve of the suites; the objective over all training rows stands for the training losses."""
    values = held_out.value.to_numpy()
    if "test accuracy" in set(held_out.metric):
        values = 1 - values
    losses = pd.DataFrame({"step": objective.step, "loss": objective.value, "phase": objective.phase})
    return Evaluations(held_out.step.to_numpy(), values, losses)


def gains(objective: pd.DataFrame, **names: Any) -> list[dict[str, Any]]:
    """At every look: the bound on the gain of what is left, and what was gained then, over all that was."""
    budget, last = int(objective.step.iloc[-1]), float(objective.value.iloc[-1])
    monitor = Monitor()
    scale, found = float(objective.value.iloc[0] - objective.value.min()), []
    watched = objective[["step", "value", "phase"]].itertuples(index=False)
    for index, (step, value, phase) in enumerate(watched, start=1):
        monitor.update(int(step), loss=value, status=told(phase, int(step), budget))
        if index in LOOKS and index < len(objective) and scale > 0:
            bound = monitor.remaining_gain().high
            foretold = {"done": step / budget, "bound": bound / scale}
            found.append({**names, **foretold, "gained": (value - last) / scale})
    return found
