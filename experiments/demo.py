"""The demo: one parameter-free run against the best of 18 learning rates and against DoG, on real data.

Every finished task is written at once: ``demo.csv``, ``demo.md`` and ``demo.png`` in the output folder.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import pandas as pd
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from experiments.common.atomic_files import write_atomically, write_text
from experiments.common.parallel import run_parallel
from experiments.methods.dog import run_dog
from experiments.methods.lane import run_sgd
from experiments.methods.parameter_free import run_parameter_free
from experiments.methods.run import Run
from experiments.methods.sgd_grid import grid_a, sgd_grid
from experiments.report.demo import TaskResult, demo_rows, print_demo, to_markdown
from experiments.report.demo_figure import draw_demo
from experiments.tasks.registry import make_setting, make_task
from experiments.tasks.task import LaneTask, Setting, with_lanes

METHODS = ("grid", "dog", "pfopt")
NUM_RECORDS = 100


@dataclass(frozen=True)
class DemoOptions:
    """What to run and where to write it; ``budget`` is that of a convex task."""

    tasks: tuple[str, ...]
    budget: int = 8000
    seed: int = 0
    output: Path = Path("demo-results")
    data_dir: str | None = None
    processes: int = 2


@dataclass(frozen=True)
class DemoJob:
    """One method on one task."""

    task: str
    method: str
    options: DemoOptions


def run_demo(options: DemoOptions, console: Console) -> None:
    """Run every task, write the results after each, and print one table at the end."""
    jobs = [DemoJob(task, method, options) for task in options.tasks for method in METHODS]
    results: dict[str, TaskResult] = {}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    finished: list[TaskResult] = []
    try:
        with Progress(*columns, console=console) as progress:
            bar = progress.add_task(f"running {len(options.tasks)} tasks", total=len(jobs))
            for part in run_parallel(run_job, jobs, options.processes):
                progress.advance(bar)
                result = results.setdefault(part.task, part)
                result.runs |= part.runs
                result.grid = result.grid if part.grid.empty else part.grid
                if result.finished:
                    finished = [results[t] for t in options.tasks if t in results and results[t].finished]
                    write_results(finished, options.output)
                    progress.console.print(f"finished {part.task} ({len(finished)} of {len(options.tasks)})")
    except KeyboardInterrupt:
        kept = f"{len(finished)} of {len(options.tasks)} tasks are in {options.output}/."
        raise KeyboardInterrupt(kept if finished else "No task was finished.") from None
    print_demo(demo_rows(finished), console)
    console.print(f"written: {', '.join(str(options.output / f'demo.{s}') for s in ('md', 'csv', 'png'))}")


def run_job(job: DemoJob) -> TaskResult:
    """Run one method on one task."""
    options = job.options
    task, setting = make_task(job.task, options.data_dir), make_setting(job.task, options.budget)
    if job.method == "grid":
        run, grid = _run_grid(with_lanes(task), options.seed, setting)
        return TaskResult(job.task, task.minimum, {"grid": run}, grid)
    method = {"dog": run_dog, "pfopt": run_parameter_free}[job.method]
    run = method(task, options.seed, setting, num_records=NUM_RECORDS)
    return TaskResult(job.task, task.minimum, {job.method: run})


def _run_grid(task: LaneTask, seed: int, setting: Setting) -> tuple[Run, pd.DataFrame]:
    """The grid and, for its curve, one run at its best learning rate; the cost is the grid's."""
    started = perf_counter()
    grid = sgd_grid(
        task,
        seed,
        setting.budget,
        setting.batch_size,
        schedules=(setting.schedule,),
        momenta=(setting.momentum,),
    )
    seconds = perf_counter() - started
    best = grid_a(grid, setting.schedule)
    curve = run_sgd(task, seed, setting, learning_rate=best.learning_rate, num_records=NUM_RECORDS).curve
    message = f"lr {best.learning_rate:g}" + (", grid widened" if grid.widened.any() else "")
    cost = int(grid.num_grad_evals.sum())
    return Run(best.value, best.test, cost, seconds, curve, message), grid


def write_results(results: list[TaskResult], folder: Path) -> None:
    """Write table and picture; a reader finds the old file or the new one, never half of one."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = demo_rows(results)
    write_atomically(folder / "demo.csv", lambda path: rows.to_csv(path, index=False))
    write_text(folder / "demo.md", to_markdown(rows))
    write_atomically(
        folder / "demo.png", lambda path: draw_demo(results).savefig(path, dpi=110, format="png")
    )
