"""A suite: what is run and compared, written down in ``suites/<name>.toml`` before there is data."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from experiments.common.names import check_names
from experiments.methods.registry import METHODS
from experiments.methods.sgd_grid import LEARNING_RATES
from experiments.tasks.registry import NAMES

FOLDER = Path(__file__).resolve().parents[1] / "suites"
GRID_A, GRID_B, EQUAL_COST, ADAMW, MUON = GRIDS = (
    "grid A",
    "grid B",
    "grid A, equal total cost",
    "AdamW grid",
    "Muon grid",
)
TRAINING, HELD_OUT = JUDGED = ("training loss", "held-out error")


@dataclass(frozen=True)
class Comparison:
    """A question that a suite answers: ``method`` against ``against`` (one of ``GRIDS``, or a method).

    It is answered with yes where the whole interval of the ratio is below 1.
    """

    method: str
    against: str
    question: str


@dataclass(frozen=True)
class LaneGrid:
    """A grid of single runs, one per learning rate, for tasks that train one run at a time.

    Attributes:
        method: One of role "grid".
        tasks: Where it runs; empty: on every task of the suite.
        lowest: Smallest learning rate.
        highest: Largest learning rate, a power of ``factor`` times the smallest.
        factor: Between two learning rates.
        schedules: The first is the practitioner's (grid A); empty: the task's own.
        momenta: The first is the practitioner's; empty: the task's own.
        staged: Run all on the first seed, and the best three (of grid A, and of all) on the others.
    """

    method: str
    tasks: tuple[str, ...] = ()
    lowest: float = LEARNING_RATES[0]
    highest: float = LEARNING_RATES[-1]
    factor: float = 2.0
    schedules: tuple[str, ...] = ()
    momenta: tuple[float, ...] = ()
    staged: bool = True


@dataclass(frozen=True)
class Sensitivity:
    """Runs of one method from initial steps 10^lowest ... 10^highest, one per decade, on the first seed."""

    method: str
    tasks: tuple[str, ...]
    lowest: int = -9
    highest: int = 3


@dataclass(frozen=True)
class Suite:
    """See ``suites/*.toml``.

    Attributes:
        name: Of the file.
        title: Of the report.
        purpose: What it is for.
        metric: The figure of merit, in words.
        stopping: When a run ends, in words.
        tasks: Keys of the task registry.
        methods: Keys of the method registry; a method that a task cannot serve is left out there.
        seeds: Data order and initial point.
        budget: Gradients of a run; 0 is each task's own.
        budgets: Exceptions, by task.
        num_records: Evaluations of a curve.
        time_limit: Seconds of training after which a run is given up.
        target_factor: A run has reached its target at this multiple of the reference's final figure.
        judged: One of ``JUDGED``: what the planned comparisons and the target are about.
        reference: One of ``GRIDS``: what every column is divided by.
        scale: "small", or "large" for a GPU.
        grid: Arguments of the method sgd-grid; None: it does not run.
        grid_overrides: Exceptions, by task.
        lane_grids: Grids of single runs.
        sensitivity: The sensitivity picture.
        comparisons: Planned before data; any other is marked in the report.
    """

    name: str
    title: str
    purpose: str
    metric: str
    stopping: str
    tasks: tuple[str, ...]
    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    comparisons: tuple[Comparison, ...]
    budget: int = 0
    budgets: dict[str, int] = field(default_factory=dict)
    num_records: int = 20
    time_limit: float = 3600.0
    target_factor: float = 2.0
    judged: str = TRAINING
    reference: str = GRID_A
    scale: str = "small"
    grid: dict[str, Any] | None = None
    grid_overrides: dict[str, dict[str, Any]] = field(default_factory=dict)
    lane_grids: tuple[LaneGrid, ...] = ()
    sensitivity: Sensitivity | None = None

    def narrowed(self, only: list[str], seeds: list[int] | None, scale: str | None) -> Suite:
        """The part of the suite that a user asked for: ``only`` holds tasks and methods."""
        check_names(only, (*self.tasks, *self.method_names), f"task or method of suite {self.name}")
        tasks = tuple(task for task in self.tasks if task in only) or self.tasks
        named = [method for method in self.method_names if method in only]
        suite = replace(self, tasks=tasks, seeds=tuple(seeds or self.seeds), scale=scale or self.scale)
        if suite.sensitivity is not None:
            kept = tuple(task for task in suite.sensitivity.tasks if task in tasks)
            suite = replace(suite, sensitivity=replace(suite.sensitivity, tasks=kept))
        if not named:
            return suite
        return replace(
            suite,
            methods=tuple(method for method in suite.methods if method in named),
            grid=suite.grid if "sgd-grid" in named else None,
            lane_grids=tuple(grid for grid in suite.lane_grids if grid.method in named),
            sensitivity=suite.sensitivity
            if suite.sensitivity and suite.sensitivity.method in named
            else None,
        )

    @property
    def method_names(self) -> tuple[str, ...]:
        """Every method that runs somewhere."""
        names = list(self.methods)
        names += ["sgd-grid"] if self.grid is not None else []
        names += [grid.method for grid in self.lane_grids]
        names += [self.sensitivity.method] if self.sensitivity else []
        return tuple(dict.fromkeys(names))


def suite_names() -> tuple[str, ...]:
    """Every suite there is a file for."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.toml")))


def load_suite(name: str) -> Suite:
    """Read a suite; unknown names in it, or of it, are errors."""
    check_names([name], suite_names(), "suite")
    return parse_suite(name, (FOLDER / f"{name}.toml").read_text(encoding="utf-8"))


def parse_suite(name: str, text: str) -> Suite:
    """Make a suite from the text of its file."""
    content = tomllib.loads(text)
    grids = [_tuples(grid) for grid in content.pop("lane_grids", [])]
    sensitivity = content.pop("sensitivity", None)
    suite = Suite(
        name=name,
        comparisons=tuple(Comparison(**item) for item in content.pop("comparisons")),
        lane_grids=tuple(LaneGrid(**grid) for grid in grids),
        sensitivity=Sensitivity(**_tuples(sensitivity)) if sensitivity else None,
        **_tuples(content),
    )
    check_names(suite.tasks, NAMES, "task")
    check_names(suite.method_names, tuple(METHODS), "method")
    sides = [side for item in suite.comparisons for side in (item.method, item.against)]
    check_names([suite.judged], JUDGED, "figure to judge by")
    check_names([suite.reference], GRIDS, "reference")
    check_names(sides, (*GRIDS, *suite.methods), f"side of a comparison of suite {name}")
    return suite


def _tuples(content: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in content.items()}
