"""Runs that step in the backward pass beside runs that step after it, on eight of the ``held_out_problems``.

Both see the same batches. What differs is that a move of the main run does not know the norm of its own gradient, and
that the first gradients of the search and of the main run move nothing. One row per run.
"""

from __future__ import annotations

from typing import Annotated, NamedTuple

import pandas as pd
import typer
from rich.console import Console
from scipy.stats import gmean

from experiments.common.frames import groups
from experiments.common.options import Output, Processes, Seeds, each_of
from experiments.engine.execute import device_name
from experiments.held_out_problems.registry import PROBLEMS, make_problem
from experiments.held_out_problems.run import OURS, make_ours, train
from experiments.studies.study import RESULTS, Study, measure, write_table

OUTPUT = RESULTS / "in_backward.csv"
CHOSEN = ["autoencoder", "vit", "gru_char", "word2vec", "fm_ctr", "fourier_mlp", "mixer", "experts"]
TWO_SEEDS = [0, 1]


class Job(NamedTuple):
    """One run."""

    problem: str
    method: str
    in_backward: bool
    seed: int


def run(job: Job) -> dict[str, object]:
    """Training and held-out loss, before and after."""
    problem, (steps, _) = make_problem(job.problem, job.seed), PROBLEMS[job.problem]
    initial, _ = problem.losses()
    optimizer = make_ours(problem, job.method, steps)
    if job.in_backward:
        optimizer.step_in_backward()
    train(problem, steps, optimizer.step)
    problem.recalibrate()
    training, held_out = problem.losses()
    return {**job._asdict(), "steps": steps, "initial": initial, "training": training, "held_out": held_out}


def ratios(frame: pd.DataFrame) -> pd.DataFrame:
    """Training loss in the backward pass over that after it, by method, problem and seed."""
    keys = ["method", "problem", "seed"]
    wide = frame.pivot_table(index=keys, columns="in_backward", values="training")
    return pd.DataFrame({"ratio": wide[True] / wide[False]}).reset_index()


def report(frame: pd.DataFrame, console: Console) -> None:
    """Print a line per problem, and the geometric mean of each of ours."""
    found = ratios(frame)
    table = found.pivot_table(index="problem", columns=["method", "seed"], values="ratio")
    console.print(table.to_string(float_format="{:.4g}".format), markup=False, soft_wrap=True)
    for (method,), part in groups(found, "method"):
        each = part.ratio
        console.print(
            f"{method}: in the backward pass {gmean(each):.3f} of the training loss after it, "
            f"from {each.min():.3g} to {each.max():.3g}",
            soft_wrap=True,
        )


def answer(
    seeds: Seeds = TWO_SEEDS,
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="PROBLEM", help="these alone", callback=each_of(PROBLEMS, "problem")),
    ] = None,
    processes: Processes = 2,
    output: Output = OUTPUT,
) -> None:
    """Run all of them and print the ratios."""
    console = Console()
    planned = [
        Job(problem, method, in_backward, seed)
        for seed in seeds
        for problem in only or CHOSEN
        for method in OURS
        for in_backward in (False, True)
    ]
    table = measure(run, planned, processes, console).assign(device=device_name("small"))
    write_table(table.sort_values(list(Job._fields)), output)
    report(table, console)


STUDY = Study("in_backward", "What does stepping in the backward pass cost?", answer, (OUTPUT,))
