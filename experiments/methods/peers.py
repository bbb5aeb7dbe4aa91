"""Peers from their authors' packages, at the defaults and in the way that their READMEs document."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from dadaptation import DAdaptAdam, DAdaptSGD
from prodigyopt import Prodigy
from schedulefree import AdamWScheduleFree, SGDScheduleFree

from experiments.methods.run import run_torch
from experiments.methods.trainer import Trainer
from experiments.tasks.task import Problem, Setting


class DistanceTrainer(Trainer):
    """D-Adaptation and Prodigy: lr = 1 times a schedule; their estimate d is in the parameter group."""

    @property
    def step_size(self) -> float:
        """Estimate of the distance times the schedule's factor."""
        group = self.optimizer.param_groups[0]
        return float(group["d"]) * float(group["lr"])


def dadapt_sgd(problem: Problem, setting: Setting) -> Trainer:
    """README: "use the same learning rate scheduler you would normally use on the problem"."""
    optimizer = DAdaptSGD(problem.parameters(), momentum=setting.momentum)
    return DistanceTrainer(problem, setting, optimizer, setting.schedule)


def dadapt_adam(problem: Problem, setting: Setting) -> Trainer:
    """The same README's drop-in replacement for Adam."""
    return DistanceTrainer(problem, setting, DAdaptAdam(problem.parameters()), setting.schedule)


def prodigy(problem: Problem, setting: Setting) -> Trainer:
    """README: cosine annealing without restarts, or no schedule."""
    with contextlib.redirect_stdout(io.StringIO()):  # it prints that its weight decay is decoupled
        optimizer = Prodigy(problem.parameters())
    return DistanceTrainer(problem, setting, optimizer, "cosine")


class ScheduleFreeTrainer(Trainer):
    """The evaluation point is swapped in by ``eval()`` and out by ``train()``."""

    optimizer: SGDScheduleFree | AdamWScheduleFree

    @contextmanager
    def deployed(self) -> Iterator[Problem]:
        """The average."""
        self.optimizer.eval()
        try:
            yield self.problem
        finally:
            self.optimizer.train()


def schedule_free(problem: Problem, setting: Setting, *, adam: bool) -> Trainer:
    """Schedule-Free with its package's default learning rate (SGD 1.0, AdamW 0.0025)."""
    optimizer = (AdamWScheduleFree if adam else SGDScheduleFree)(problem.parameters())
    optimizer.train()
    return ScheduleFreeTrainer(problem, setting, optimizer)


run_dadapt_sgd = partial(run_torch, make=dadapt_sgd)
run_dadapt_adam = partial(run_torch, make=dadapt_adam)
run_prodigy = partial(run_torch, make=prodigy)
run_schedule_free_sgd = partial(run_torch, make=partial(schedule_free, adam=False))
run_schedule_free_adamw = partial(run_torch, make=partial(schedule_free, adam=True))
