"""What is done with a suite: its runs, how far they are, its report."""

from __future__ import annotations

import os
import tarfile
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from experiments.common.options import DataDir, interruptible, one_of
from experiments.common.parallel import BACKENDS
from experiments.engine.execute import run_id
from experiments.engine.run_suite import Execution, describe, failures, planned, run_suite
from experiments.engine.store import ARCHIVE, Store
from experiments.engine.suite import Suite, load_suite, suite_names
from experiments.tasks.download import complete
from experiments.tasks.registry import SCALES, task_files

RESULTS = Path("suite-results")
SuiteName = Annotated[
    str, typer.Argument(callback=one_of(suite_names(), "suite"), help=f"one of {', '.join(suite_names())}")
]
Only = Annotated[
    list[str] | None, typer.Option(metavar="NAME", help="this task or method alone; repeat it for several")
]
SuiteSeeds = Annotated[
    list[int] | None, typer.Option(metavar="SEED", help="instead of the suite's; repeat it for several")
]
Scale = Annotated[
    str | None,
    typer.Option(callback=lambda scale: scale and one_of(SCALES, "scale")(scale), help="small or large"),
]
Folder = Annotated[Path, typer.Option(metavar="FOLDER", help="records and report")]


def run(
    suite: SuiteName,
    only: Only = None,
    seeds: SuiteSeeds = None,
    scale: Scale = None,
    data_dir: DataDir = None,
    output: Folder = RESULTS,
    jobs: Annotated[
        int, typer.Option(min=1, help="processes, one thread each; 1: wall times")
    ] = os.cpu_count() or 1,
    backend: Annotated[
        str, typer.Option(callback=one_of(BACKENDS, "backend"), help="loky (here) or dask")
    ] = "loky",
    address: Annotated[
        str | None, typer.Option(help="of a running Dask cluster; else one is started")
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="run again what raised, diverged or took too long")
    ] = False,
    reuse: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="a published report whose records need not be run again"),
    ] = None,
    no_mlflow: Annotated[bool, typer.Option("--no-mlflow", help="do not log to MLflow")] = False,
) -> None:
    """Run what is missing of a suite, then write its report."""
    console, (chosen, store) = Console(), _chosen(suite, only, seeds, scale, output)
    try:
        complete((file for task in chosen.tasks for file in task_files(task)), data_dir, console)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    if reuse is not None:
        try:
            count = store.unpack(reuse / ARCHIVE)
        except (OSError, tarfile.TarError) as error:
            raise typer.BadParameter(f"--reuse: {reuse / ARCHIVE} cannot be read: {error}") from None
        console.print(f"{count} records taken from {reuse}", highlight=False)
    with interruptible(console, f"What was finished is in {store.folder}; the same command goes on."):
        rows = run_suite(chosen, store, Execution(jobs, backend, address, data_dir, retry_failed), console)
    _write_report(chosen, store, console)
    if not no_mlflow:
        _log(chosen, store, data_dir, console)
    bad = failures(rows)
    if bad:
        console.print(
            f"{len(bad)} of {len(rows)} runs failed; they are listed in the report.", highlight=False
        )
        raise typer.Exit(1)


def status(
    suite: SuiteName,
    only: Only = None,
    seeds: SuiteSeeds = None,
    scale: Scale = None,
    output: Folder = RESULTS,
) -> None:
    """How much of a suite has been run, and what failed."""
    console, (chosen, store) = Console(), _chosen(suite, only, seeds, scale, output)
    specs = planned(chosen, store)
    table = Table(title=f"suite {chosen.name}: runs done / planned so far", box=None)
    table.add_column("method")
    table.add_column("done", justify="right")
    total = Counter(spec.method for spec in specs)
    done = Counter(spec.method for spec in specs if store.has(run_id(spec)))
    for method, count in total.items():
        table.add_row(method, f"{done[method]}/{count}")
    table.add_section()
    table.add_row("all", f"{done.total()}/{total.total()}")
    console.print(table)
    for row in failures(store.rows(map(run_id, specs))):
        console.print(describe(row), markup=False, highlight=False)


def report(
    suite: SuiteName,
    only: Only = None,
    seeds: SuiteSeeds = None,
    scale: Scale = None,
    output: Folder = RESULTS,
    publish: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="write page, tables, pictures and records there")
    ] = None,
) -> None:
    """Write the page and the tables from what has been run."""
    console, (chosen, store) = Console(), _chosen(suite, only, seeds, scale, output)
    if not any(store.has(run_id(spec)) for spec in planned(chosen, store)):
        raise typer.BadParameter(f"nothing of suite {suite} has been run; python -m experiments run {suite}")
    _write_report(chosen, store, console)
    if publish:
        from experiments.report.page import publish as write

        write(chosen, store, publish)
        console.print(f"published: {publish}")


def _chosen(
    name: str, only: list[str] | None, seeds: list[int] | None, scale: str | None, output: Path
) -> tuple[Suite, Store]:
    """The suite, or the part of it that is asked for, and where its records are."""
    try:
        return load_suite(name).narrowed(only or [], seeds, scale), Store(output / name)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _write_report(suite: Suite, store: Store, console: Console) -> None:
    from experiments.report.page import write_report  # pictures and templates only where they are wanted

    for path in write_report(suite, store):
        console.print(f"written: {path}", highlight=False)


def _log(suite: Suite, store: Store, data_dir: str | None, console: Console) -> None:
    """Log to MLflow."""
    from experiments.report.mlflow_log import log_suite  # takes a second to import

    count, address = log_suite(suite, store, data_dir)
    console.print(f"MLflow: {count} runs logged; mlflow ui --backend-store-uri {address}", highlight=False)
