"""Every peer with every schedule, its last iterate and every polynomial average.

Prints the figure of ours over that of the peer's best combination, which is chosen in hindsight over all tasks. What
ours reached is read from ``experiments/results/SUITE``. Schedule-Free is its own schedule and average, and stays as it
is. Mechanic and MoMo are those of optax, on the tasks that are written for jax.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, NamedTuple

import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd
import typer
from dog import LDoG
from rich.console import Console
from torch import Tensor

from experiments.common.frames import groups, records, where
from experiments.common.options import FIRST_SEED, DataDir, Processes, Seeds, one_of
from experiments.common.suboptimality import gap
from experiments.methods.dog import DoGTrainer
from experiments.methods.lane import LaneTrainer
from experiments.methods.optax_lane import run_optax_lane
from experiments.methods.peers import dadapt_adam, dadapt_sgd, prodigy
from experiments.methods.run import run_torch
from experiments.methods.schedules import GAMMAS, SCHEDULES, factors
from experiments.methods.trainer import Trainer
from experiments.report.statistics import bootstrap
from experiments.studies.study import RESULTS, Study, measure, write_table
from experiments.tasks.registry import DEEP, make_task, suite_setting
from experiments.tasks.task import Problem, Setting

OUTPUTS = {suite: RESULTS / f"peers_at_best_{suite}.csv" for suite in ("convex", "deep")}
PEERS: dict[str, Callable[[Problem, Setting], Trainer]] = {
    "dog": DoGTrainer,
    "ldog": partial(DoGTrainer, kind=LDoG),
    "dadapt-sgd": dadapt_sgd,
    "dadapt-adam": dadapt_adam,
    "prodigy": prodigy,
}
OPTAX: dict[str, Callable[[optax.Schedule, float], optax.GradientTransformation]] = {
    "mechanic": lambda schedule, momentum: optax.contrib.mechanize(optax.sgd(schedule, momentum or None)),
    "momo": lambda schedule, momentum: optax.contrib.momo(schedule),
}


class Job(NamedTuple):
    """One run of a peer."""

    task: str
    seed: int
    budget: int
    minimum: float
    peer: str
    schedule: str


class PeerTrainer(LaneTrainer):
    """A peer at its default learning rate times a schedule, with every average beside it."""

    def __init__(self, problem: Problem, setting: Setting, *, peer: str, schedule: str) -> None:
        optimizer = PEERS[peer](problem, replace(setting, schedule="constant")).optimizer
        Trainer.__init__(self, problem, setting, optimizer, schedule)
        self.learning_rate, self.schedule, self.momentum, self.count = math.nan, schedule, math.nan, 0
        self.params: list[Tensor] = list(problem.parameters())
        self.averages = {gamma: [p.detach().clone() for p in self.params] for gamma in GAMMAS}


def run(job: Job, data_dir: str | None = None) -> list[dict[str, object]]:
    """One row per output, with its figure of merit."""
    task, setting = make_task(job.task, data_dir), suite_setting(job.task, job.budget)
    if job.peer in OPTAX:
        tx = OPTAX[job.peer](_schedule(job), setting.momentum)
        found = run_optax_lane(task, job.seed, setting, optax.with_extra_args_support(tx))
    else:
        make = partial(PeerTrainer, peer=job.peer, schedule=job.schedule)
        outputs = run_torch(task, job.seed, setting, make=make).lanes
        found = dict(zip(outputs.output, outputs.value, strict=True))
    chosen = {"task": job.task, "seed": job.seed, "peer": job.peer, "schedule": job.schedule}
    return [{**chosen, "output": output, "gap": gap(value, job.minimum)} for output, value in found.items()]


def _schedule(job: Job) -> optax.Schedule:
    table = jnp.asarray(factors(job.schedule, job.budget))
    return lambda count: table[count]


def best(table: pd.DataFrame) -> tuple[str, str]:
    """Schedule and output with which a peer is best over all tasks: by the geometric mean, failures first."""

    def score(part: pd.DataFrame) -> tuple[int, float]:
        failed = np.isinf(part.gap)
        return int(failed.sum()), float(np.log(part.gap[~failed]).mean())

    scores = {key: score(part) for key, part in groups(table, "schedule", "output")}
    schedule, output = min(scores, key=lambda key: scores[key])
    return schedule, output


def answer(
    suite: Annotated[str, typer.Argument(callback=one_of(OUTPUTS, "suite"))],
    seeds: Seeds = FIRST_SEED,
    data_dir: DataDir = None,
    processes: Processes = 2,
    output: Annotated[Path | None, typer.Option(help="where to write the table")] = None,
) -> None:
    """Print a line per peer."""
    runs = pd.read_csv(RESULTS / suite / "runs.csv")
    ours = where(runs, method="pfopt", seed=seeds)
    in_jax = set(where(runs, method="optax-momo").task)
    jobs = [
        Job(row["task"], row["seed"], row["budget"], row["minimum"], peer, schedule)
        for row in records(ours)
        for peer in [*PEERS, *OPTAX]
        if (peer != "ldog" or row["task"] in DEEP)  # DoG, where there is one tensor
        and (peer not in OPTAX or row["task"] in in_jax)
        for schedule in SCHEDULES
    ]
    console = Console()
    table = measure(partial(run, data_dir=data_dir), jobs, processes, console)
    table = table.sort_values(["peer", "schedule", "output", "task", "seed"])
    write_table(table, output or OUTPUTS[suite])
    reached = {(row["task"], row["seed"]): gap(row["value"], row["minimum"]) for row in records(ours)}
    pairs = zip(table.task, table.seed, strict=True)
    table = table.assign(ratio=[reached[pair] for pair in pairs] / table.gap)
    for (peer,), part in groups(table, "peer"):
        schedule, kept = best(part)
        part = where(part, schedule=schedule, output=kept)
        with np.errstate(divide="ignore"):
            logs = [np.log(of_task.ratio.to_numpy()) for _, of_task in groups(part, "task")]
        mean, low, high = bootstrap(logs)
        console.print(f"ours / {peer}, {schedule}, {kept}: {mean:.3f} [{low:.3f}, {high:.3f}]", markup=False)


STUDY = Study(
    "peers_at_best",
    "What would the peers give with another schedule and another average than their packages' own?",
    answer,
    tuple(OUTPUTS.values()),
)
