"""What a run is, and the id that changes with the specification, the data and the code behind it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from experiments.engine.code_hash import code_hash


@dataclass(frozen=True)
class RunSpec:
    """One run: a method on a task from one seed.

    Attributes:
        suite: Key of the suite.
        task: Key of the task registry.
        method: Key of the method registry.
        seed: Data order and initial point, the same for every method.
        budget: Mini-batch gradients of one run.
        kwargs: The method's arguments that differ from its defaults.
        scale: "small" for two cores, "large" for a GPU.
        num_records: Evaluations of the curve, spread evenly.
        time_limit: Seconds of training after which the run counts as failed.
    """

    suite: str
    task: str
    method: str
    seed: int
    budget: int
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    scale: str = "small"
    num_records: int = 20
    time_limit: float = 3600.0

    def canonical_json(self) -> str:
        """The same text for equal specifications, whatever the order of ``kwargs``."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))

    @property
    def kwargs_json(self) -> str:
        """The method's arguments as they stand in ``runs.csv``."""
        return json.dumps(dict(self.kwargs), sort_keys=True)

    def run_id(self, modules: tuple[str, ...], data_hash: str) -> str:
        """Name of the run's files: sha256 of specification, code of ``modules`` and data, shortened."""
        text = "\n".join([self.canonical_json(), code_hash(modules), data_hash])
        return hashlib.sha256(text.encode()).hexdigest()[:20]
