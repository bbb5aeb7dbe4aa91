"""Muon for the matrices and AdamW for the rest, as one search, against a grid over both of their rates.

Every pair of five rates each, at a cosine, beside ``ParameterFree([Muon, AdamW])`` with the two rates in the ratio that
recipes have and as equals, and ``ParameterFree(AdamW)`` for everything. One row per run, of half of a problem's
gradients. Embeddings and outputs are AdamW's, as Muon's authors say. Takes a quarter of an hour on one core.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Annotated, NamedTuple

import pandas as pd
import typer
from rich.console import Console
from torch import nn
from torch.optim import AdamW, Muon, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR

from experiments.common.options import Output, Processes, Seeds, each_of
from experiments.held_out_problems.problem import Problem
from experiments.held_out_problems.registry import PROBLEMS, make_problem
from experiments.held_out_problems.run import train
from experiments.studies.study import RESULTS, Study, measure, write_table
from pfopt.torch import ParameterFree

OUTPUT = RESULTS / "joint.csv"
NETWORKS = ["gpt_dropout", "vit"]
MUON, ADAMW = (2e-3, 6e-3, 0.02, 0.06, 0.2), (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
RATIOS = {"as given (20 : 1)": (0.02, 1e-3), "as equals (1 : 1)": (1.0, 1.0)}
ALONE = "AdamW alone"
NO_MATRICES = ("emb", "head", "out", "token", "pos")  # in names, of what AdamW trains though it is one
TWO_SEEDS = [0, 1]


class Job(NamedTuple):
    """One run: ours with a ratio, or a pair of rates."""

    problem: str
    method: str
    muon: float
    adamw: float
    seed: int


def jobs(problems: list[str], seeds: list[int]) -> Iterator[Job]:
    """Ours first."""
    for seed, problem in product(seeds, problems):
        for name, (muon, adamw) in RATIOS.items():
            yield Job(problem, name, muon, adamw, seed)
        yield Job(problem, ALONE, 0.0, 1.0, seed)
        for muon, adamw in product(MUON, ADAMW):
            yield Job(problem, "grid", muon, adamw, seed)


def split(problem: Problem) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Muon's parameters and AdamW's."""
    matrices, rest = [], []
    for name, parameter in problem.model.named_parameters():
        if parameter.requires_grad:
            is_matrix = parameter.ndim == 2 and not any(part in name for part in NO_MATRICES)
            (matrices if is_matrix else rest).append(parameter)
    return matrices, rest


def run(job: Job) -> dict[str, object]:
    """Training and held-out loss after half of the problem's gradients."""
    problem, steps = make_problem(job.problem, job.seed), PROBLEMS[job.problem][0] // 2
    initial, _ = problem.losses()
    matrices, rest = split(problem)
    bases: list[Optimizer] = [AdamW(matrices + rest, job.adamw)]
    if job.method != ALONE:
        bases = [Muon(matrices, job.muon, weight_decay=0.0), AdamW(rest, job.adamw)]
    if job.method == "grid":
        schedules = [CosineAnnealingLR(base, steps) for base in bases]
        train(problem, steps, lambda: [each.step() for each in (*bases, *schedules)])
    else:
        optimizer = ParameterFree(bases, steps, buffers=problem.model)
        train(problem, steps, optimizer.step)
    problem.recalibrate()
    training, held_out = problem.losses()
    return {**job._asdict(), "initial": initial, "training": training, "held_out": held_out}


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Per problem, means over seeds: the best pair of rates, how many pairs are ahead of each of ours, and ours."""
    rows = {}
    keys = ["method", "muon", "adamw"]
    for problem, part in table.groupby("problem"):
        means = pd.DataFrame(part.groupby(keys)[["training", "held_out"]].mean()).reset_index()
        grid = pd.DataFrame(means[means.method == "grid"]).sort_values("training")
        best = grid.to_dict("records")[0]
        title = f"best pair, {best['muon']:g} and {best['adamw']:g}"
        rows[problem, title] = (best["training"], best["held_out"], "")
        for row in pd.DataFrame(means[means.method != "grid"]).to_dict("records"):
            ahead = f"{(grid.training < row['training']).sum()} of {len(grid)}"
            rows[problem, row["method"]] = (row["training"], row["held_out"], ahead)
    columns = ["training", "held out", "pairs that train better"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns)


def answer(
    problems: Annotated[
        list[str], typer.Option(metavar="PROBLEM", callback=each_of(NETWORKS, "network"))
    ] = NETWORKS,
    seeds: Seeds = TWO_SEEDS,
    processes: Processes = 1,
    output: Output = OUTPUT,
) -> None:
    """Run them all and print a line for each of ours."""
    console = Console()
    table = measure(run, list(jobs(problems, seeds)), processes, console)
    write_table(table, output, digits=6)
    console.print(summary(table).to_string(float_format="{:.4g}".format), markup=False, soft_wrap=True)


STUDY = Study("joint", "Is one search around two optimizers worth a grid over both rates?", answer, (OUTPUT,))
