"""Runs that start from the card of an earlier one, of which the batches were as large, or were not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any, NamedTuple

import pandas as pd
from torch.optim import AdamW

from experiments.common.frames import groups, where
from experiments.tasks.registry import make_task
from experiments.tasks.task import Problem
from pfopt import Card
from pfopt.torch import ParameterFree, ParameterFreeSGD

TASKS = ("digits-network", "magic04-mlp", "etth1-forecasting")
SIZES = (8, 64, 512)  # of batches, in rows
STEPS = 300
SEED, EARLIER = 0, 1  # of a run, and of the one before that had other initial weights and other batches
MAKE: dict[str, Callable[[Problem], Any]] = {
    "sgd": lambda problem: ParameterFreeSGD(problem.parameters(), STEPS, buffers=problem.buffers()),
    "adamw": lambda problem: ParameterFree(AdamW(problem.parameters()), STEPS, buffers=problem.buffers()),
}


class Job(NamedTuple):
    """Every run of one optimizer on one task."""

    problem: str
    optimizer: str


def jobs() -> Iterator[Job]:
    """All of them."""
    yield from (Job(name, optimizer) for optimizer, name in product(MAKE, TASKS))


def is_there(job: Job, frame: pd.DataFrame) -> bool:
    """Whether its runs were made."""
    return len(where(frame, **job._asdict())) > 0


def run(job: Job) -> list[dict[str, object]]:
    """One row for each run; ``card`` is the batch size of the earlier run that its card is of, 0 without one."""
    cards = {size: _trained(job, size, EARLIER, None)[0] for size in SIZES}
    rows = [{**_trained(job, size, SEED, None)[1], "card": 0} for size in SIZES]
    for size, (of, card) in product(SIZES, cards.items()):
        if card.groups[0].certified is not None:
            rows.append({**_trained(job, size, SEED, card)[1], "card": of})
    return rows


def _trained(job: Job, size: int, seed: int, card: Card | None) -> tuple[Card, dict[str, object]]:
    task = make_task(job.problem)
    problem = task.problem(seed)
    initial, _ = problem.score()
    optimizer = MAKE[job.optimizer](problem)
    if card is not None:
        optimizer.start_from(card)
    for batch in task.batches(seed, STEPS, size):
        optimizer.zero_grad()
        problem(batch).backward()
        optimizer.step()
    optimizer.eval()
    training, held_out = problem.score()
    found = optimizer.card()
    told = {"probes": found.probes, "searched": found.gradients, "certified": found.groups[0].certified}
    losses = {"initial": initial, "training": training, "held_out": held_out}
    return found, {**job._asdict(), "size": size, **told, **losses}


def table(frame: pd.DataFrame) -> pd.DataFrame:
    """By optimizer and the card's batch size over the run's: what the search took, and what the run reached.

    ``missed`` is the share of the decrease in training loss of the run without a card that the one with it did not
    reach; below 0 where it went further.
    """
    alone = where(frame, card=0).set_index(["optimizer", "problem", "size"])
    found = []
    for (optimizer, times), part in groups(
        frame.assign(times=frame.card / frame["size"]), "optimizer", "times"
    ):
        beside = alone.loc[
            [(optimizer, name, size) for name, size in zip(part.problem, part["size"], strict=True)]
        ]
        gained = beside.initial.to_numpy() - beside.training.to_numpy()
        missed = (part.training.to_numpy() - beside.training.to_numpy()) / gained
        shares = pd.Series(missed)
        counts = {"runs": len(part), "probes": part.probes.mean(), "gradients": part.searched.mean()}
        ends = {"missed, median": shares.median(), "best": shares.min(), "worst": shares.max()}
        found.append({"optimizer": optimizer, "card's batch over the run's": times, **counts, **ends})
    return pd.DataFrame(found).set_index(["optimizer", "card's batch over the run's"]).sort_index()


def report(frame: pd.DataFrame, show: Callable[[str], None]) -> None:
    """Show the table, 0 for no card, and the rates that were certified without one."""
    show(table(frame).to_string(float_format="{:.3g}".format))
    rates = where(frame, card=0).pivot_table("certified", ["optimizer", "problem"], "size", aggfunc="median")
    show(rates.to_string(float_format="{:.3g}".format))
