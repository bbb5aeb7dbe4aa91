"""Two networks that overfit: one for a thousand pictures, and one for twenty thousand characters of Shakespeare.

The first is a residual network on CIFAR-10 with augmentation, 25 epochs, the second a decoder, 38. ``ParameterFreeSGD``
with ``weight_decay``, and with an L2 penalty in its loss in place of it; ``ParameterFreeAdamW``; and whole grids of
rate and decay of SGD (momentum 0.9) and of AdamW, at a cosine with a warm-up. Vectors, which are biases and the weights
of norms, do not decay but where the method says so. One row per run: the held-out figure is the error of the pictures
and the loss of the text. Takes forty minutes on one core.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch
from rich.console import Console
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import update_bn

from experiments.common.options import DataDir, Output, Processes, Seeds
from experiments.studies.study import RESULTS, Study, measure, write_table
from experiments.tasks import language, vision
from experiments.tasks.networks import Split, token_loss
from pfopt.torch import ParameterFreeAdamW, ParameterFreeSGD

OUTPUT = RESULTS / "decay.csv"
PICTURES, CHARACTERS, LENGTH = 1000, 20_000, 48
STEPS, ROWS = {"pictures": 800, "text": 1000}, {"pictures": 32, "text": 16}
GRIDS = {
    "SGD": ((0.03, 0.1, 0.3), (0.0, 5e-4, 2e-3, 1e-2)),
    "AdamW": ((1e-3, 3e-3, 1e-2), (0.0, 0.1, 0.5, 2.0)),
}
OURS = {
    "ParameterFreeSGD": (0.0, 2.0, 5.0, 10.0, 20.0),
    "ParameterFreeSGD, vectors too": (2.0, 5.0, 10.0),
    "ParameterFreeSGD, L2": (5e-4, 2e-3, 1e-2),
    "ParameterFreeAdamW": (0.0, 0.1, 0.5, 2.0),
}
WARM_UP = 60
TWO_SEEDS = [0, 1]


class Job(NamedTuple):
    """One run; ``rate`` is None for ours."""

    task: str
    method: str
    rate: float | None
    decay: float
    seed: int
    data_dir: str | None


def jobs(seeds: list[int], data_dir: str | None) -> Iterator[Job]:
    """Ours first."""
    for seed, task in product(seeds, STEPS):
        for method, decays in OURS.items():
            yield from (Job(task, method, None, decay, seed, data_dir) for decay in decays)
        for method, grid in GRIDS.items():
            yield from (Job(task, method, *pair, seed, data_dir) for pair in product(*grid))


# ---------------------------------------------------------------- what is trained


@cache
def rows(task: str, data_dir: str | Path | None) -> Split:
    """The few rows of a task, and those held out."""
    if task == "pictures":
        inputs, targets, *held_out = vision.cifar10(data_dir)
        return Split(inputs[:PICTURES], targets[:PICTURES], *held_out)
    split = language.shakespeare(LENGTH, data_dir)
    return Split(split.inputs[:CHARACTERS], split.targets[:CHARACTERS], *split[2:])


def model(task: str) -> nn.Module:
    """Freshly initialised."""
    if task == "pictures":
        return vision.residual(8, 1, 2)
    return language.Decoder(language.Shape(LENGTH, 48, 2, 4, 4))


def augmented(images: Tensor) -> Tensor:
    """Some of the pictures mirrored, and all of them moved by up to four pixels."""
    mirrored = torch.rand(len(images), 1, 1, 1) < 0.5
    images = torch.where(mirrored, images.flip(-1), images)
    top, left = torch.randint(9, (2,)).tolist()
    return F.pad(images, (4, 4, 4, 4))[..., top : top + 32, left : left + 32]


@torch.no_grad()
def held_out(task: str, network: nn.Module, split: Split) -> float:
    """The error of the pictures, or the loss of the text."""
    if task == "text":
        return token_loss(network(split.test_inputs), split.test_targets).item()
    update_bn(split.inputs.split(100), network)
    network.eval()
    return (network(split.test_inputs).argmax(-1) != split.test_targets).float().mean().item()


# ---------------------------------------------------------------- how


def groups(network: nn.Module, decay: float, of_vectors: float) -> list[dict[str, Any]]:
    """Matrices and vectors."""
    parameters = list(network.parameters())
    return [
        {"params": [parameter for parameter in parameters if parameter.ndim > 1], "weight_decay": decay},
        {
            "params": [parameter for parameter in parameters if parameter.ndim <= 1],
            "weight_decay": of_vectors,
        },
    ]


def optimizer(job: Job, given: list[dict[str, Any]]) -> Optimizer:
    """Of a job; an L2 penalty is no matter of the optimizer."""
    steps = STEPS[job.task]
    if job.method == "SGD":
        return SGD(given, job.rate or 0.0, momentum=0.9)
    if job.method == "AdamW":
        return AdamW(given, job.rate or 0.0)
    return (ParameterFreeAdamW if job.method == "ParameterFreeAdamW" else ParameterFreeSGD)(given, steps)


def run(job: Job) -> dict[str, object]:
    """The held-out figure, and the mean training loss of the last tenth of the batches."""
    split, steps, in_loss = rows(job.task, job.data_dir), STEPS[job.task], job.method.endswith("L2")
    torch.manual_seed(job.seed)
    network = model(job.task)
    of_vectors = job.decay if job.method.endswith("vectors too") else 0.0
    given = groups(network, 0.0 if in_loss else job.decay, of_vectors)
    found, losses, loss = optimizer(job, given), [], token_loss if job.task == "text" else F.cross_entropy
    shape = [min(1, (t + 1) / WARM_UP) * 0.5 * (1 + math.cos(math.pi * t / steps)) for t in range(steps + 1)]
    schedule = LambdaLR(found, lambda step: shape[step]) if job.rate is not None else None
    for _ in range(steps):
        picked = torch.randint(len(split.inputs), (ROWS[job.task],))
        inputs = split.inputs[picked]
        value = loss(network(augmented(inputs) if job.task == "pictures" else inputs), split.targets[picked])
        losses.append(value.item())
        if in_loss:
            value = value + job.decay / 2 * sum(weight.square().sum() for weight in given[0]["params"])
        found.zero_grad()
        value.backward()
        found.step()
        if schedule is not None:
            schedule.step()
    last = losses[-steps // 10 :]
    figures = {"held_out": held_out(job.task, network, split), "training": sum(last) / len(last)}
    return {**{name: getattr(job, name) for name in Job._fields[:-1]}, **figures}


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds: of ours each decay, of the grids the best pair by the held-out figure."""
    keys = ["task", "method", "rate", "decay"]
    by_run = table.fillna({"rate": 0.0}).groupby(keys, sort=False, as_index=False)
    means = pd.DataFrame(by_run.agg({"held_out": "mean", "training": "mean"}))
    is_grid = means.method.isin(list(GRIDS))
    best = means.groupby(["task", "method"])["held_out"].transform("min") == means.held_out
    return pd.DataFrame(means[~is_grid | best])


def answer(
    seeds: Seeds = TWO_SEEDS, data_dir: DataDir = None, processes: Processes = 1, output: Output = OUTPUT
) -> None:
    """Run them all and print the means."""
    console = Console(width=120)
    table = measure(run, list(jobs(seeds, data_dir)), processes, console)
    write_table(table, output, digits=5)
    console.print(summary(table).to_string(index=False, float_format="{:.4g}".format), markup=False)


STUDY = Study("decay", "Does weight_decay do without a grid of rates and decays?", answer, (OUTPUT,))
