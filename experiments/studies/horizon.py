"""``total_steps=None`` against the number of steps: ours on the convex tasks, and around AdamW on networks.

One row per run: suboptimality of the point that would be deployed after ``budget`` gradients, over that of the run
that knew them; or the losses of a network of ``held_out_problems`` after all of its gradients, with the horizon, and
without it by budgets that double, or by an average that has no end.
"""

from __future__ import annotations

from functools import partial
from itertools import product
from pathlib import Path
from typing import Annotated, NamedTuple

import pandas as pd
import typer
from rich.console import Console
from torch.optim import AdamW

from experiments.common.options import FIRST_SEED, DataDir, Output, Processes, Seeds, each_of
from experiments.common.suboptimality import gap, geometric_mean
from experiments.held_out_problems.registry import PROBLEMS, make_problem
from experiments.held_out_problems.run import train
from experiments.methods.parameter_free import ParameterFreeTrainer, run_parameter_free
from experiments.methods.run import run_torch
from experiments.methods.trainer import Trainer
from experiments.studies.study import RESULTS, Study, measure, write_table
from experiments.tasks.exact import DENSE
from experiments.tasks.registry import available, make_task
from experiments.tasks.task import Problem, Setting
from pfopt import Practical
from pfopt.torch import ParameterFree, ParameterFreeSGD

BUDGETS = (1000, 2000, 4000)  # around 1024, for which the search of an unknown horizon is made
OUTPUT, BASE_OUTPUT = RESULTS / "horizon.csv", RESULTS / "horizon_base.csv"
NETWORKS = (
    *("vit", "gpt_dropout", "autoencoder", "mixer", "cnn_bn_noise", "vae", "survival", "experts", "word2vec"),
    *("gcn", "siren", "quantile"),
)
AROUND_ADAMW = {  # plan, and whether the horizon is known
    "known": (Practical(), True),
    "budgets that double": (Practical(), False),
    "an average": (Practical(anneal="averaging"), False),
}
PARTS = ["convex", "networks"]


class Job(NamedTuple):
    """Two runs."""

    task: str
    budget: int
    seed: int


def run(job: Job, data_dir: str | None = None) -> dict[str, object]:
    """The ratio of suboptimalities."""
    task, setting = make_task(job.task, data_dir), Setting(job.budget)
    known = run_parameter_free(task, job.seed, setting).value
    unknown = run_torch(task, job.seed, setting, make=_without_horizon).value
    return {**job._asdict(), "ratio": gap(unknown, task.minimum) / gap(known, task.minimum)}


def _without_horizon(problem: Problem, setting: Setting) -> Trainer:
    return ParameterFreeTrainer(problem, setting, ParameterFreeSGD(problem.parameters(), None))


class NetworkJob(NamedTuple):
    """One run around AdamW."""

    problem: str
    horizon: str
    seed: int


def run_network(job: NetworkJob) -> dict[str, object]:
    """The losses of what would be deployed after all gradients of the problem."""
    problem, steps, (plan, known) = (
        make_problem(job.problem, job.seed),
        PROBLEMS[job.problem][0],
        AROUND_ADAMW[job.horizon],
    )
    base, buffers = AdamW(problem.parameters()), problem.model
    optimizer = ParameterFree(base, steps if known else None, plan=plan, buffers=buffers)
    train(problem, steps, optimizer.step)
    optimizer.eval()
    problem.recalibrate()
    training, held_out = problem.losses()
    return {**job._asdict(), "training": training, "held_out": held_out}


def networks(seeds: list[int], processes: int, console: Console) -> None:
    """Print the geometric means over the networks, of the ratios to what the run with a horizon ends at."""
    jobs = [NetworkJob(*job) for job in product(NETWORKS, AROUND_ADAMW, seeds)]
    table = measure(run_network, jobs, processes, console)
    write_table(table, BASE_OUTPUT, digits=6)
    for figure in ("training", "held_out"):
        ends = pd.DataFrame(table.pivot_table(figure, ["problem", "seed"], "horizon"))
        for name in list(AROUND_ADAMW)[1:]:
            ratios = (ends[name] / ends["known"]).clip(0.1, 10)
            console.print(f"around AdamW, {name}, {figure}: {geometric_mean(ratios):.3f} of known")


def answer(
    parts: Annotated[list[str], typer.Option(metavar="PART", callback=each_of(PARTS, "part"))] = PARTS,
    seeds: Seeds = FIRST_SEED,
    data_dir: DataDir = None,
    processes: Processes = 2,
    output: Output = OUTPUT,
) -> None:
    """Print the geometric mean and the worst task of every budget, and then the networks."""
    console = Console()
    if "convex" in parts:
        convex(seeds, data_dir, processes, output, console)
    if "networks" in parts:
        networks(seeds, processes, console)


def convex(seeds: list[int], data_dir: DataDir, processes: int, output: Path, console: Console) -> None:
    """Print the geometric mean and the worst task of every budget."""
    names = available(DENSE, data_dir)
    jobs = [Job(task, budget, seed) for task in names for budget in BUDGETS for seed in seeds]
    table = measure(partial(run, data_dir=data_dir), jobs, processes, console)
    table = table.sort_values(["budget", "task", "seed"])
    write_table(table, output)
    for budget, part in table.groupby("budget"):
        tasks = part.groupby("task").ratio.apply(geometric_mean)
        mean, worst = geometric_mean(tasks), tasks.max()
        console.print(f"{budget} gradients: geometric mean {mean:.3f}, worst {worst:.3f} ({tasks.idxmax()})")


STUDY = Study("horizon", "What does not knowing the horizon cost?", answer, (OUTPUT, BASE_OUTPUT))
