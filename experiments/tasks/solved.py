"""Convex tasks that know their minimum: solved for once, and kept on disk with a bound on the error."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from experiments.common.atomic_files import write_text
from experiments.tasks import minimum
from experiments.tasks.objective import ConvexTask
from experiments.tasks.sparse import SparseRows

FOLDER = Path(__file__).resolve().parents[2] / ".cache" / "optima"


class Optimum(NamedTuple):
    """The smallest value of an objective: ``value`` is at most ``error`` above it."""

    value: float
    error: float
    solver: str


@dataclass(frozen=True, eq=False)
class SolvedTask(ConvexTask):
    """A convex task with its minimum, from a solver that is not ours."""

    @property
    def minimum(self) -> float:
        """The smallest value of the objective."""
        return self.optimum.value

    @cached_property
    def optimum(self) -> Optimum:
        """The minimum with a bound on its error, and which solver found it; kept on disk."""
        return cached_optimum(self)


def cached_optimum(task: ConvexTask, folder: Path | None = None) -> Optimum:
    """The task's optimum, solved for once per objective and version of the solver's file."""
    path = (folder or FOLDER) / f"{task.name}-{_key(task)[:16]}.json"
    if path.is_file():
        return Optimum(**json.loads(path.read_text()))
    solution = minimum.solve(task)
    optimum = Optimum(solution.value, solution.error, solution.solver)
    write_text(path, json.dumps(optimum._asdict()))
    return optimum


def _key(task: ConvexTask) -> str:
    """Hash of everything that the optimum depends on."""
    digest = hashlib.sha256(f"{task.loss_kind} {task.l2} {task.shape}".encode())
    features = task.features
    parts = (
        (features.starts, features.columns, features.values)
        if isinstance(features, SparseRows)
        else (features,)
    )
    for tensor in (*parts, task.targets):
        digest.update(tensor.contiguous().numpy().tobytes())
    digest.update(Path(minimum.__file__).read_bytes())
    return digest.hexdigest()
