"""When to stop: the monitor and the usual patience, on the evaluations of a run."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pfopt.control import Kind, Monitor
from pfopt.status import Status

Array = NDArray[Any]
FLOOR = 1e-3  # of an error rate, where a ratio is taken


class Evaluations(NamedTuple):
    """What is known of a run; the last evaluation is at its end."""

    steps: Array  # shape=(n,)
    held_out: Array  # a loss or an error rate, shape=(n,)
    losses: pd.DataFrame  # step, loss and phase of what was measured in training

    @property
    def budget(self) -> int:
        """All steps."""
        return int(self.steps[-1])


class Stop(NamedTuple):
    """Where a rule ends the run."""

    rule: str
    step: int
    kind: str  # of the monitor's verdict


def stops(run: Evaluations) -> list[Stop]:
    """Of every rule, the end of the run where it does not stop before."""
    found = [Stop(f"patience {k}", patience(run, k), "") for k in (5, 10)]
    return [Stop("to the end", run.budget, ""), *found, monitored(run)]


def patience(run: Evaluations, evaluations: int) -> int:
    """The step at which so many evaluations in a row have brought no new best."""
    since, best = 0, np.inf
    for step, value in zip(run.steps, run.held_out, strict=True):
        since, best = (0, value) if value < best else (since + 1, best)
        if since >= evaluations:
            return int(step)
    return run.budget


def monitored(run: Evaluations) -> Stop:
    """The step at which a monitor at its defaults would stop."""
    monitor = Monitor(total_steps=run.budget)
    losses = [(step, 0, loss, phase) for step, loss, phase in run.losses.itertuples(index=False)]
    evaluations = [(step, 1, value, "") for step, value in zip(run.steps, run.held_out, strict=True)]
    for step, is_evaluation, value, phase in sorted(losses + evaluations):
        if is_evaluation:
            monitor.update(int(step), validation=value)
        else:
            monitor.update(int(step), loss=value, status=told(phase, int(step), run.budget))
        if monitor.should_stop:
            return Stop("monitor", int(step), Kind(monitor.verdict.kind).name.lower())
    return Stop("monitor", run.budget, "")


def told(phase: str, step: int, budget: int) -> Status:
    """What an optimizer would tell a monitor."""
    return Status(phase, 0, step, budget - step, 0.0, 0.0, 0.0, "")


def rows(run: Evaluations, **names: Any) -> list[dict[str, Any]]:
    """One row per rule: the share of gradients saved, and the held-out figure of the best checkpoint until then.

    ``to_end`` is over that of the last iterate of the whole run, ``to_best`` over that of its best checkpoint.
    """
    table = []
    for stop in stops(run):
        best = float(np.min(run.held_out[run.steps <= stop.step], initial=np.inf))
        last, whole = float(run.held_out[-1]), float(np.min(run.held_out))
        if np.isfinite(best):
            table.append(
                {
                    **names,
                    **stop._asdict(),
                    "saved": 1 - stop.step / run.budget,
                    "to_end": max(best, FLOOR) / max(last, FLOOR),
                    "to_best": max(best, FLOOR) / max(whole, FLOOR),
                }
            )
    return table
