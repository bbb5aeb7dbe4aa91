"""Runs that start from the card of an earlier one, of which the batches were as large, or were not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any, NamedTuple

import pandas as pd
from torch.optim import AdamW

from experiments.common.frames import groups, where
from experiments.held_out_problems.problem import Problem
from experiments.held_out_problems.registry import make_problem
from experiments.studies.card.rates import STEPS, differentiate
from pfopt import Card
from pfopt.torch import ParameterFree, ParameterFreeSGD

PROBLEMS = ("mixer", "imbalanced", "deepsets", "quantile", "siren", "survival")
BATCHES = (1, 8)  # that are one
SEEDS = (0, 1, 2)
MAKE: dict[str, Callable[[Problem], Any]] = {
    "sgd": lambda problem: ParameterFreeSGD(problem.parameters(), STEPS, buffers=problem.model.buffers()),
    "adamw": lambda problem: ParameterFree(
        AdamW(problem.parameters()), STEPS, buffers=problem.model.buffers()
    ),
}


class Job(NamedTuple):
    """Every run of one optimizer on one problem."""

    problem: str
    optimizer: str


def jobs() -> Iterator[Job]:
    """All of them."""
    yield from (Job(name, optimizer) for optimizer, name in product(MAKE, PROBLEMS))


def is_there(job: Job, frame: pd.DataFrame) -> bool:
    """Whether its runs were made."""
    return len(where(frame, **job._asdict())) > 0


def run(job: Job) -> list[dict[str, object]]:
    """One row for each run; ``card`` is the number of batches in one of the run that its card is of, 0 without one.

    That run is of another seed: of other initial weights and other batches.
    """
    rows, cards = [], {}
    for batches, seed in product(BATCHES, SEEDS):
        cards[batches, seed], row = _trained(job, batches, seed, None)
        rows.append({**row, "card": 0})
    for batches, seed, of in product(BATCHES, SEEDS, BATCHES):
        card = cards[of, SEEDS[SEEDS.index(seed) - 1]]
        if card.groups[0].certified is not None:
            rows.append({**_trained(job, batches, seed, card)[1], "card": of})
    return rows


def _trained(job: Job, batches: int, seed: int, card: Card | None) -> tuple[Card, dict[str, object]]:
    problem = make_problem(job.problem, seed)
    initial, _ = problem.losses()
    optimizer = MAKE[job.optimizer](problem)
    if card is not None:
        optimizer.start_from(card)
    for step in range(STEPS):
        differentiate(problem, step, batches)
        optimizer.step()
    optimizer.eval()
    problem.recalibrate()
    training, held_out = problem.losses()
    found = optimizer.card()
    told = {"probes": found.probes, "searched": found.gradients, "certified": found.groups[0].certified}
    losses = {"initial": initial, "training": training, "held_out": held_out}
    return found, {**job._asdict(), "seed": seed, "batches": batches, **told, **losses}


def table(frame: pd.DataFrame) -> pd.DataFrame:
    """By optimizer and the card's batches over the run's: what the search took, and what the run reached.

    ``missed`` is the share of the decrease in training loss of the runs without a card that those with one did not
    reach, over the means of the seeds of a problem; below 0 where they went further.
    """
    found = []
    for (optimizer, card, batches), part in groups(frame, "optimizer", "card", "batches"):
        alone = where(frame, optimizer=optimizer, card=0, batches=batches)
        missed = []
        for (name,), own in groups(part, "problem"):
            seeds = list(own.seed)
            beside = where(alone, problem=name, seed=seeds)
            gained = beside.initial.mean() - beside.training.mean()
            missed.append((own.training.mean() - beside.training.mean()) / gained)
        shares = pd.Series(missed)
        named = {"optimizer": optimizer, "batch of the run": batches, "of the card": card}
        counts = {"runs": len(part), "probes": part.probes.mean(), "gradients": part.searched.mean()}
        ends = {"missed, median": shares.median(), "best": shares.min(), "worst": shares.max()}
        found.append({**named, **counts, **ends})
    return pd.DataFrame(found).set_index(["optimizer", "batch of the run", "of the card"]).sort_index()


def report(frame: pd.DataFrame, show: Callable[[str], None]) -> None:
    """Show the table, and how far apart the rates of both batches are."""
    show(table(frame).to_string(float_format="{:.3g}".format))
    alone = where(frame, card=0).pivot_table(
        "certified", ["optimizer", "problem"], "batches", aggfunc="median"
    )
    alone["ratio"] = alone[BATCHES[1]] / alone[BATCHES[0]]
    show(alone.to_string(float_format="{:.3g}".format))
