"""``total_steps=None`` against the number of steps, on the convex tasks.

One row per run: suboptimality of the point that would be deployed after ``budget`` gradients, over that of the run
that knew them.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

from rich.console import Console

from experiments.common.options import FIRST_SEED, DataDir, Output, Processes, Seeds
from experiments.common.suboptimality import gap, geometric_mean
from experiments.methods.parameter_free import ParameterFreeTrainer, run_parameter_free
from experiments.methods.run import run_torch
from experiments.methods.trainer import Trainer
from experiments.studies.study import RESULTS, Study, measure, write_table
from experiments.tasks.exact import DENSE
from experiments.tasks.registry import available, make_task
from experiments.tasks.task import Problem, Setting
from pfopt.torch import ParameterFreeSGD

BUDGETS = (1000, 2000, 4000)  # around 1024, for which the search of an unknown horizon is made
OUTPUT = RESULTS / "horizon.csv"


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


def answer(
    seeds: Seeds = FIRST_SEED, data_dir: DataDir = None, processes: Processes = 2, output: Output = OUTPUT
) -> None:
    """Print the geometric mean and the worst task of every budget."""
    names = available(DENSE, data_dir)
    jobs = [Job(task, budget, seed) for task in names for budget in BUDGETS for seed in seeds]
    console = Console()
    table = measure(partial(run, data_dir=data_dir), jobs, processes, console)
    table = table.sort_values(["budget", "task", "seed"])
    write_table(table, output)
    for budget, part in table.groupby("budget"):
        tasks = part.groupby("task").ratio.apply(geometric_mean)
        mean, worst = geometric_mean(tasks), tasks.max()
        console.print(f"{budget} gradients: geometric mean {mean:.3f}, worst {worst:.3f} ({tasks.idxmax()})")


STUDY = Study("horizon", "What does not knowing the horizon cost?", answer, (OUTPUT,))
