"""The runs of a suite. Later runs of a grid depend on earlier ones, so the plan grows with the results."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pandas as pd

from experiments.engine.spec import RunSpec
from experiments.engine.suite import LaneGrid, Suite
from experiments.methods.registry import METHODS
from experiments.methods.sgd_grid import MAX_WIDENINGS, beyond_edges
from experiments.tasks.registry import has_jax, has_lanes, suite_setting

BEST = 3  # lanes of a staged grid that run on every seed
LANE_RECORDS = 4  # evaluations of a lane: of a grid the end is what counts
Lanes = Callable[[RunSpec], pd.DataFrame | None]  # of a finished run; None: it has not run yet


def plan(suite: Suite, lanes_of: Lanes) -> list[RunSpec]:
    """Every run that is known to be wanted, given the results so far; the longest ones first."""
    specs = [
        *_grid_runs(suite),
        *(spec for grid in suite.lane_grids for task in grid.tasks or suite.tasks if task in suite.tasks
          for spec in _lane_runs(suite, grid, task, lanes_of)),
        *_single_runs(suite),
        *_sensitivity_runs(suite),
    ]  # fmt: skip
    return list({spec.canonical_json(): spec for spec in specs}.values())


def can_run(method: str, task: str) -> bool:
    """Whether the task has what the method needs."""
    needs = METHODS[method].needs
    return (needs != "lanes" or has_lanes(task)) and (needs != "jax" or has_jax(task))


def _spec(suite: Suite, task: str, method: str, seed: int, **kwargs: Any) -> RunSpec:
    budget = suite.budgets.get(task) or suite.budget or suite_setting(task).budget
    return RunSpec(
        suite.name, task, method, seed, budget, kwargs, suite.scale, suite.num_records, suite.time_limit
    )


def _single_runs(suite: Suite) -> list[RunSpec]:
    """One run per method, task and seed; those that load jax last, since joblib restarts a process that grows."""
    by_framework = sorted(suite.methods, key=lambda method: METHODS[method].framework == "optax")
    return [
        _spec(suite, task, method, seed)
        for method in by_framework
        for task in suite.tasks
        if can_run(method, task)
        for seed in suite.seeds
    ]


def _grid_runs(suite: Suite) -> list[RunSpec]:
    """Two batched grids per task and seed: one gives every value a full budget, one divides it among them."""
    if suite.grid is None:
        return []
    specs = []
    for task in suite.tasks:
        if can_run("sgd-grid", task):
            options = {**suite.grid, **suite.grid_overrides.get(task, {})}
            practitioner = {
                "schedules": options["schedules"][:1],
                "momenta": options["momenta"][:1],
                "gammas": [],
            }
            for seed in suite.seeds:
                specs.append(_spec(suite, task, "sgd-grid", seed, **options))
                specs.append(
                    _spec(suite, task, "sgd-grid", seed, **{**options, **practitioner, "equal_cost": True})
                )
    return specs


def _sensitivity_runs(suite: Suite) -> list[RunSpec]:
    """One run per decade of the initial step."""
    wanted = suite.sensitivity
    if wanted is None:
        return []
    exponents = range(wanted.lowest, wanted.highest + 1)
    return [
        _spec(suite, task, wanted.method, suite.seeds[0], initial_step=10.0**exponent)
        for task in wanted.tasks
        for exponent in exponents
    ]


def _lane_runs(suite: Suite, grid: LaneGrid, task: str, lanes_of: Lanes) -> list[RunSpec]:
    """Every lane on the first seed, widened while the best is at an edge; then the best on the other seeds."""
    setting = suite_setting(task)
    schedules = grid.schedules or (setting.schedule,)
    momenta = grid.momenta or (setting.momentum,)
    combinations = [{"schedule": s, "momentum": m} for s in schedules for m in momenta]
    first, *others = suite.seeds
    count = round(math.log(grid.highest / grid.lowest, grid.factor)) + 1
    rates = [grid.lowest * grid.factor**j for j in range(count)]

    def lanes(values: list[float]) -> list[RunSpec]:
        coarse = replace(suite, num_records=min(suite.num_records, LANE_RECORDS))
        return [
            _spec(coarse, task, grid.method, first, learning_rate=rate, **arguments)
            for rate in values
            for arguments in combinations
        ]

    specs = lanes(rates)
    for _ in range(MAX_WIDENINGS):
        table = _table(specs, lanes_of)
        further = () if table is None or table.empty else beyond_edges(table, schedules[0], momenta[0])
        if not further:
            break
        specs += lanes(list(further))
    table = _table(specs, lanes_of)
    if table is None:
        return specs
    chosen = _best(specs, table, schedules[0], momenta[0]) if grid.staged else specs
    return specs + [replace(spec, seed=seed) for spec in chosen for seed in others]


def _table(specs: list[RunSpec], lanes_of: Lanes) -> pd.DataFrame | None:
    """The lanes of all runs with their place in ``specs``; None while one has not run."""
    tables = []
    for place, spec in enumerate(specs):
        lanes = lanes_of(spec)
        if lanes is None:
            return None
        tables.append(lanes.assign(place=place))
    return pd.concat([table for table in tables if len(table)] or [pd.DataFrame()], ignore_index=True)


def _best(specs: list[RunSpec], table: pd.DataFrame, schedule: str, momentum: float) -> list[RunSpec]:
    """The best three lanes of grid A (last iterates of its schedule and momentum), and of all outputs."""
    if table.empty:
        return []
    ranked = table.sort_values("value", kind="stable")
    practitioner = ranked[
        (ranked.schedule == schedule) & (ranked.output == "last") & (ranked.momentum == momentum)
    ]
    places = [*practitioner.place.unique()[:BEST], *ranked.place.unique()[:BEST]]
    return [specs[place] for place in dict.fromkeys(places)]
