"""Every scenario of every kind, once for each method, with the same faults at the same steps."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator

from experiments.studies.faults import numbers, optax_run, processes, structures
from experiments.studies.faults.methods import METHODS, Method
from experiments.studies.faults.problems import PROBLEMS

KINDS: dict[str, Callable[[Method, str, Generator], Any]] = {
    "gradients": numbers.gradients,
    "losses": numbers.losses,
    "parameters": numbers.parameters,
    "scales": numbers.scales,
    "half precision": numbers.half_precision,
    "zeros": numbers.zeros,
    "killed": structures.killed,
    "checkpoints": structures.checkpoints,
    "frozen": structures.frozen,
    "written": structures.written,
    "groups": structures.groups,
    "ranks": processes.ranks,
    "signalled": processes.signalled,
}
IN_PROCESSES, PROCESSES_EVERY = ("ranks", "signalled"), 15  # scenarios: each takes half a minute
SPARSE_EVERY = 6  # scenarios; the other problems take turns
OPTAX = "optax parameter_free_sgd"


class Job(NamedTuple):
    """One scenario for one method."""

    kind: str
    method: str
    number: int
    seed: int


def problem_of(job: Job) -> str:
    """The problem, by the scenario's number."""
    dense = [name for name in PROBLEMS if not PROBLEMS[name].sparse]
    return (
        "sparse-embedding"
        if job.number % SPARSE_EVERY == SPARSE_EVERY - 1
        else dense[job.number % len(dense)]
    )


def jobs(kinds: list[str], methods: list[str], runs: int, seed: int) -> Iterator[Job]:
    """All of them; a method sits out what it says that it does not do, and optax what torch alone has."""
    for kind in kinds:
        for method in methods:
            for number in range(0, runs, PROCESSES_EVERY if kind in IN_PROCESSES else 1):
                job = Job(kind, method, number, seed)
                sparse = PROBLEMS[problem_of(job)].sparse
                if method == OPTAX:
                    if kind in optax_run.KINDS and not sparse:
                        yield job
                elif METHODS[method].takes_sparse or not sparse:
                    yield job


def run(job: Job) -> dict[str, Any]:
    """Run one scenario; an exception that ends it is a loss, too."""
    draw = np.random.default_rng([job.seed, list(KINDS).index(job.kind), job.number])
    name = problem_of(job)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            if job.method == OPTAX:
                found = optax_run.run(job.kind, name, draw)
            else:
                found = KINDS[job.kind](METHODS[job.method], name, draw)
            end = found.end()
        except Exception as error:  # whatever it is, the run is lost, and the next one is to come
            lost = f"raised {type(error).__name__}: {' '.join(str(error).split())[:80]}"
            return {**job._asdict(), "problem": name, "faults": 1, "detail": "", "lost": lost}
    return {
        **job._asdict(),
        "problem": name,
        "faults": found.injected,
        "detail": "; ".join(found.details),
        "start": found.problem.start,
        "end": end,
        "lost": "; ".join(found.lost),
    }
