"""Every task by name: how it is made, how it is run, and which files it reads."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch

from experiments.common.names import check_names
from experiments.tasks import forecasting, language, tabular, vision
from experiments.tasks.convex import CONVEX, DEMO, FILES, SPARSE
from experiments.tasks.data import DataDir, has_shared_data
from experiments.tasks.deep_row import DeepRow
from experiments.tasks.language import Shape
from experiments.tasks.practice import FINETUNE, SCRATCH
from experiments.tasks.task import Setting, Task

NETWORK = "digits-network"
SCALES = ("small", "large")
JAX = (NETWORK, "digits-cnn")  # networks that are written for jax as well


_CONV, _NORM = {"conv": True, "norm": False}, {"conv": True, "norm": True}
_PERCEPTRON = {"conv": False, "norm": False}
DEEP: dict[str, DeepRow] = {
    NETWORK: DeepRow(
        vision.digits_task, _PERCEPTRON | {"width": 128}, _PERCEPTRON | {"width": 1024}, 2000, 32
    ),
    "digits-cnn": DeepRow(vision.digits_task, _CONV | {"width": 16}, _CONV | {"width": 128}, 1500, 32),
    "digits-cnn-batchnorm": DeepRow(
        vision.digits_task, _NORM | {"width": 16}, _NORM | {"width": 128}, 1500, 32
    ),
    "mnist-cnn": DeepRow(vision.mnist_task, {"width": 8}, {"width": 64}, 800, 64, vision.MNIST_FILES),
    "cifar10-resnet": DeepRow(
        vision.cifar_task,
        {"width": 8, "blocks": 1, "stem": 2},
        {"width": 64, "blocks": 3, "stem": 1},
        800,
        32,
        vision.CIFAR_FILES,
    ),
    "shakespeare-decoder": DeepRow(
        language.task,
        {"shape": Shape(length=64, width=64, layers=2, heads=4, groups=2)},
        {"shape": Shape(length=256, width=384, layers=6, heads=6, groups=2)},
        800,
        16,
        language.FILES,
    ),
    "etth1-forecasting": DeepRow(
        forecasting.task, {"hidden": 128}, {"hidden": 1024}, 1500, 32, forecasting.FILES
    ),
    "magic04-mlp": DeepRow(tabular.task, {"width": 64}, {"width": 512}, 2000, 64, tabular.FILES),
    **SCRATCH,
    **FINETUNE,
}
NAMES = (*CONVEX, *DEEP)
DEMO_NAMES = (*DEMO, NETWORK)


@cache
def make_task(name: str, data_dir: str | Path | None = None, scale: str = "small") -> Task:
    """Build one task; an unknown name is an error. The large scale of a network is for a GPU."""
    check_names([name], NAMES, "task")
    if name in CONVEX:
        return CONVEX[name](data_dir=data_dir)
    row = DEEP[name]
    on_gpu = scale == "large" and torch.cuda.is_available()
    size = row.large if scale == "large" else row.small
    return row.factory(name, data_dir, torch.device("cuda" if on_gpu else "cpu"), **size)


def make_setting(name: str, budget: int) -> Setting:
    """How a task is run, with the budget of the demo and of ``ratios``: a network gets a quarter of it."""
    return suite_setting(name, budget // 4 if name in DEEP else budget)


def suite_setting(name: str, budget: int | None = None, time_limit: float = float("inf")) -> Setting:
    """How a task is run; ``budget=None`` is a network's own."""
    setting = DEEP[name].setting if name in DEEP else Setting(8000)
    return Setting(
        budget or setting.budget, setting.batch_size, setting.momentum, setting.schedule, time_limit
    )


def task_modules(name: str) -> tuple[str, ...]:
    """The modules whose code a task consists of."""
    return (DEEP[name].factory.__module__,) if name in DEEP else ("experiments.tasks.convex",)


def task_definition(name: str, scale: str) -> str:
    """What this file says about a task, for the ids of its runs."""
    if name not in DEEP:
        return ""
    row = DEEP[name]
    return f"{row.large if scale == 'large' else row.small} {row.setting}"


def task_files(name: str) -> tuple[str, ...]:
    """The files of the data folder that a task reads."""
    return DEEP[name].files if name in DEEP else FILES.get(name, ())


def available(names: tuple[str, ...], data_dir: DataDir = None) -> list[str]:
    """Those of the names whose data are there."""
    return [name for name in names if not task_files(name) or has_shared_data(data_dir)]


def has_lanes(name: str) -> bool:
    """Whether a convex task, whose grid runs as one batched computation."""
    return name in CONVEX


def has_jax(name: str) -> bool:
    """Whether a task is written for jax as well."""
    return name in JAX or (name in CONVEX and name not in SPARSE)
