"""Run what a suite still wants, in as many rounds as its plan needs, and keep every result at once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Any

import pandas as pd
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from experiments.common.frames import records
from experiments.common.parallel import run_parallel
from experiments.engine.execute import Record, execute, run_id
from experiments.engine.planner import plan
from experiments.engine.spec import RunSpec
from experiments.engine.store import Store
from experiments.engine.suite import Suite
from experiments.methods.registry import METHODS

COLUMNS = (
    TextColumn("{task.description}"),
    BarColumn(),
    MofNCompleteColumn(),
    TimeElapsedColumn(),
    TextColumn("left"),
)


@dataclass(frozen=True)
class Execution:
    """Where and how a suite is run."""

    jobs: int = 2
    backend: str = "loky"
    address: str | None = None
    data_dir: str | None = None
    retry_failed: bool = False


def run_suite(suite: Suite, store: Store, execution: Execution, console: Console) -> pd.DataFrame:
    """Run every planned run that is not in the store; return the rows of all planned runs.

    Grids decide what follows, so the plan is asked again after every round until it wants nothing new.
    """
    store.clean()
    if execution.retry_failed:
        for row in failures(store.rows(run_id(spec) for spec in planned(suite, store))):
            store.forget(row["run_id"])
    started, computed, busy = perf_counter(), 0, 0.0
    with Progress(*COLUMNS, TimeRemainingColumn(), console=console) as progress:
        while True:
            specs = planned(suite, store)
            missing = [(spec, run_id(spec)) for spec in specs if not store.has(run_id(spec))]
            if not missing:
                break
            bar = progress.add_task(f"{suite.name}: {len(missing)} of {len(specs)} runs", total=len(missing))
            function = partial(_execute, data_dir=execution.data_dir)
            for record in run_parallel(
                function, missing, execution.jobs, execution.backend, execution.address
            ):
                store.write(record)
                computed, busy = computed + 1, busy + record.row["wall_seconds"]
                progress.advance(bar)
                _tell(record, progress.console)
            store.merge(map(run_id, specs))
    ids = [run_id(spec) for spec in planned(suite, store)]
    store.merge(ids)
    if computed:
        elapsed = perf_counter() - started
        outside = 1 - busy / (elapsed * execution.jobs)
        console.print(
            f"{computed} runs in {elapsed:.0f} s on {execution.jobs} processes; {outside:.1%} of the process time was "
            "spent outside runs (start of the processes, data, records, waiting for the last run).",
            highlight=False,
        )
    return store.rows(ids)


def _execute(job: tuple[RunSpec, str], data_dir: str | None) -> Record:
    spec, expected_id = job
    return execute(spec, data_dir, expected_id)


def planned(suite: Suite, store: Store) -> list[RunSpec]:
    """The suite's runs, given the results in the store."""

    def lanes_of(spec: RunSpec) -> pd.DataFrame | None:
        name = run_id(spec)
        return store.lanes(name) if store.has(name) else None

    return plan(suite, lanes_of)


def failures(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows that did not end well; a grid is expected to have learning rates that diverge."""
    return [
        row
        for row in records(rows)
        if row["status"] not in ("done", "diverged")
        or (row["status"] == "diverged" and not _is_lane(row["method"]))
    ]


def describe(row: dict[str, Any]) -> str:
    """A failed run in one line."""
    return f"{row['status']}: {row['task']}, {row['method']}, seed {row['seed']}: {row['error_text']}"


def _is_lane(method: str) -> bool:
    return METHODS[method].role == "grid"


def _tell(record: Record, console: Console) -> None:
    """Say at once what failed."""
    for row in failures(pd.DataFrame([record.row])):
        console.print(describe(row), markup=False, highlight=False)
