"""Prodigy and Schedule-Free in one, from the package that diffusion trainers use, at its defaults."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from prodigyplus import ProdigyPlusScheduleFree

from experiments.methods.run import run_torch
from experiments.methods.trainer import Trainer
from experiments.tasks.task import Problem, Setting


class ProdigyPlusTrainer(Trainer):
    """README: a constant schedule; ``train()`` and ``eval()`` as of Schedule-Free."""

    optimizer: ProdigyPlusScheduleFree

    @contextmanager
    def deployed(self) -> Iterator[Problem]:
        """The average."""
        self.optimizer.eval()
        try:
            yield self.problem
        finally:
            self.optimizer.train()

    @property
    def step_size(self) -> float:
        """What the package has as the rate to be logged."""
        group = self.optimizer.param_groups[0]
        return float(group["d"]) * float(group["effective_lr"])


def prodigy_plus(problem: Problem, setting: Setting) -> Trainer:
    """At its defaults."""
    with contextlib.redirect_stdout(io.StringIO()):  # it prints that one group needs no splitting
        optimizer = ProdigyPlusScheduleFree(list(problem.parameters()))
    optimizer.train()
    return ProdigyPlusTrainer(problem, setting, optimizer)


run_prodigy_plus = partial(run_torch, make=prodigy_plus)
