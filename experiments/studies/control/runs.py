"""Dense runs, four times as long as the suite's: every batch's loss, and 100 evaluations; the networks that overfit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch.optim import AdamW

from experiments.methods import parameter_free
from experiments.methods.trainer import Trainer
from experiments.studies.control.rules import Evaluations, rows
from experiments.tasks.registry import make_task
from experiments.tasks.task import Problem, Setting

BUDGETS = {"etth1-forecasting": 6000, "magic04-mlp": 8000, "digits-network": 8000}
EVALUATIONS = 100


def _adamw(problem: Problem, setting: Setting) -> Trainer:
    return Trainer(problem, setting, AdamW(problem.parameters(), 1e-3))


METHODS: dict[str, Callable[[Problem, Setting], Trainer]] = {
    "pfopt": parameter_free.sgd,
    "pfopt-adamw": parameter_free.adamw,
    "AdamW(1e-3)": _adamw,
}


def study(seeds: list[int], data_dir: str | None = None) -> Iterator[list[dict[str, Any]]]:
    """The rows of every run."""
    for task, method, seed in product(BUDGETS, METHODS, seeds):
        yield rows(train(task, method, seed, data_dir), task=task, method=method, seed=seed)


def train(name: str, method: str, seed: int, data_dir: str | None) -> Evaluations:
    """One run to its end; losses are means of ten batches, as a trainer logs them."""
    task, setting = make_task(name, data_dir), Setting(BUDGETS[name])
    problem = task.problem(seed)
    trainer = METHODS[method](problem, setting)
    every, steps, held_out, losses = setting.budget // EVALUATIONS, [], [], []
    batches = []
    for count, batch in enumerate(task.batches(seed, setting.budget, setting.batch_size), start=1):
        problem.zero_grad()
        loss = problem(batch)
        loss.backward()
        trainer.step(loss.detach())
        batches.append(loss.detach())
        if count % 10 == 0:
            losses.append((count, torch.stack(batches).mean().item(), trainer.phase))
            batches = []
        if count % every == 0:
            with trainer.deployed() as deployed:
                metric = deployed.score()[1]
            steps.append(count)
            held_out.append(1 - metric if task.test_metric == "accuracy" else metric)
    table = pd.DataFrame(losses, columns=["step", "loss", "phase"])
    return Evaluations(np.array(steps), np.array(held_out), table)
