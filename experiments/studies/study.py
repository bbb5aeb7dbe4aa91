"""A study: one question about the method, one command that answers it, and the files that hold the answer."""

from __future__ import annotations

import pkgutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.progress import track

from experiments.common.atomic_files import write_text
from experiments.common.parallel import run_parallel

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "experiments" / "results"


@dataclass(frozen=True)
class Study:
    """What ``python -m experiments study NAME`` runs.

    Attributes:
        name: On the command line, and of the file or package in ``studies``.
        question: What it answers, in one sentence.
        run: Answers it; its annotated parameters are the options of the command line.
        results: What it writes.
    """

    name: str
    question: str
    run: Callable[..., None]
    results: tuple[Path, ...] = ()

    @property
    def description(self) -> str:
        """The question, and how it is answered: what the file's docstring says."""
        return f"{self.question}\n\n{sys.modules[self.run.__module__].__doc__}"


def study_names() -> tuple[str, ...]:
    """Every file and package beside this one, without importing it."""
    folder = Path(__file__).parent
    return tuple(
        sorted(module.name for module in pkgutil.iter_modules([str(folder)]) if module.name != "study")
    )


def load_study(name: str) -> Study:
    """The study of that name, one of ``study_names()``; what it needs is imported with it."""
    return import_module(f"experiments.studies.{name}").STUDY


def measure(run: Callable[[Any], Any], jobs: Sequence[Any], processes: int, console: Console) -> pd.DataFrame:
    """Run every job, with a bar of progress; one row for each dictionary that ``run`` returns, alone or in a list."""
    finished = track(run_parallel(run, jobs, processes), total=len(jobs), console=console)
    rows = [row for found in finished for row in (found if isinstance(found, list) else [found])]
    return pd.DataFrame(rows)


def write_table(table: pd.DataFrame, path: Path, *, digits: int | None = None) -> None:
    """Write a table, whole or not at all; with so many significant digits, or as many as the numbers have."""
    write_text(path, table.to_csv(index=False, float_format=f"%.{digits}g" if digits else None))
