"""The commands of the suite: run, status, report, list."""

from __future__ import annotations

import argparse
import os
import tarfile
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.table import Table

from experiments.common.parallel import BACKENDS
from experiments.engine.execute import run_id
from experiments.engine.planner import plan
from experiments.engine.run_suite import Execution, describe, failures, planned, run_suite
from experiments.engine.store import ARCHIVE, Store
from experiments.engine.suite import Suite, load_suite, suite_names
from experiments.methods.registry import METHODS
from experiments.tasks.download import complete
from experiments.tasks.registry import NAMES, SCALES, task_files

RESULTS = Path("suite-results")


class ArgumentError(ValueError):
    """A value on the command line that is not allowed."""


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the suite's commands to the parser of ``python -m experiments``."""
    run = commands.add_parser("run", help="run what is missing of a suite, then write its report")
    run.set_defaults(run=_run)
    run.add_argument(
        "--jobs", type=int, default=os.cpu_count() or 1, help="processes, one thread each; 1: wall times"
    )
    run.add_argument(
        "--backend", choices=BACKENDS, default="loky", help="where the processes are (default: here)"
    )
    run.add_argument("--address", help="of a running Dask or Ray cluster (default: a local one is started)")
    run.add_argument(
        "--retry-failed", action="store_true", help="run again what raised, diverged or took too long"
    )
    run.add_argument(
        "--reuse", type=Path, metavar="FOLDER", help="a published report whose records need not be run again"
    )
    run.add_argument("--no-mlflow", action="store_true", help="do not log to MLflow")
    status = commands.add_parser("status", help="how much of a suite has been run, and what failed")
    status.set_defaults(run=_status)
    report = commands.add_parser("report", help="write the page and the tables from what has been run")
    report.set_defaults(run=_report)
    report.add_argument(
        "--publish", type=Path, metavar="FOLDER", help="write page, tables, pictures and records there"
    )
    listing = commands.add_parser("list", help="every suite, task and method; or the runs of one suite")
    listing.set_defaults(run=_list)
    listing.add_argument("suite", nargs="?", help="a suite, to see its runs")
    for command in (run, status, report):
        command.add_argument("suite", help=f"one of {', '.join(suite_names())}")
        command.add_argument("--seeds", nargs="+", type=int, metavar="SEED", help="instead of the suite's")
        command.add_argument(
            "--only", nargs="+", default=[], metavar="NAME", help="these tasks and methods only"
        )
        command.add_argument("--scale", choices=SCALES, help="model sizes (default: the suite's)")
        command.add_argument("--data-dir", help="shared data folder (default: PFOPT_DATA, ../shared/data)")
        command.add_argument(
            "--output", type=Path, default=RESULTS, help=f"records and report (default: {RESULTS})"
        )


def _suite(args: argparse.Namespace) -> tuple[Suite, Store]:
    """The suite, or the part of it that is asked for, and where its records are."""
    try:
        suite = load_suite(args.suite).narrowed(args.only, args.seeds, args.scale)
    except ValueError as error:
        raise ArgumentError(str(error)) from None
    return suite, Store(args.output / args.suite)


def _run(args: argparse.Namespace, console: Console) -> int:
    if args.jobs < 1:
        raise ArgumentError(f"--jobs must be at least 1, got {args.jobs}")
    suite, store = _suite(args)
    try:
        complete((file for task in suite.tasks for file in task_files(task)), args.data_dir, console)
    except ValueError as error:
        raise ArgumentError(str(error)) from None
    if args.reuse is not None:
        try:
            count = store.unpack(args.reuse / ARCHIVE)
        except (OSError, tarfile.TarError) as error:
            raise ArgumentError(f"--reuse: {args.reuse / ARCHIVE} cannot be read: {error}") from None
        console.print(f"{count} records taken from {args.reuse}", highlight=False)
    execution = Execution(args.jobs, args.backend, args.address, args.data_dir, args.retry_failed)
    try:
        rows = run_suite(suite, store, execution, console)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"What was finished is in {store.folder}; the same command goes on."
        ) from None
    _write_report(suite, store, console)
    if not args.no_mlflow:
        _log(suite, store, args, console)
    bad = failures(rows)
    if bad:
        console.print(
            f"{len(bad)} of {len(rows)} runs failed; they are listed in the report.", highlight=False
        )
    return 1 if bad else 0


def _status(args: argparse.Namespace, console: Console) -> int:
    suite, store = _suite(args)
    specs = planned(suite, store)
    table = Table(title=f"suite {suite.name}: runs done / planned so far", box=None)
    table.add_column("method")
    table.add_column("done", justify="right")
    total, done = Counter(spec.method for spec in specs), Counter[str]()
    done.update(spec.method for spec in specs if store.has(run_id(spec)))
    for method, count in total.items():
        table.add_row(method, f"{done[method]}/{count}")
    table.add_section()
    table.add_row("all", f"{done.total()}/{total.total()}")
    console.print(table)
    for row in failures(store.rows(map(run_id, specs))):
        console.print(describe(row), markup=False, highlight=False)
    return 0


def _report(args: argparse.Namespace, console: Console) -> int:
    suite, store = _suite(args)
    if not any(store.has(run_id(spec)) for spec in planned(suite, store)):
        raise ArgumentError(
            f"nothing of suite {suite.name} has been run; python -m experiments run {suite.name}"
        )
    _write_report(suite, store, console)
    if args.publish:
        from experiments.report.page import publish

        publish(suite, store, args.publish)
        console.print(f"published: {args.publish}")
    return 0


def _list(args: argparse.Namespace, console: Console) -> int:
    if args.suite:
        args.only, args.seeds, args.scale, args.output = [], None, None, RESULTS
        suite, _ = _suite(args)
        for spec in plan(suite, lambda spec: None):
            console.print(
                f"{spec.task}  {spec.method}  seed {spec.seed}  budget {spec.budget}  {spec.kwargs_json}"
            )
        return 0
    for name in suite_names():
        suite = load_suite(name)
        console.print(f"[bold]suite {name}[/]: {suite.purpose} {len(suite.tasks)} tasks, seeds {suite.seeds}")
    console.print(f"[bold]tasks[/]: {', '.join(NAMES)}")
    for name, method in METHODS.items():
        console.print(
            f"[bold]method {name}[/]: {method.label} ({method.role}, {method.framework})", highlight=False
        )
    return 0


def _write_report(suite: Suite, store: Store, console: Console) -> None:
    from experiments.report.page import write_report  # pictures and templates only where they are wanted

    for path in write_report(suite, store):
        console.print(f"written: {path}", highlight=False)


def _log(suite: Suite, store: Store, args: argparse.Namespace, console: Console) -> None:
    """Log to MLflow where it is installed."""
    from experiments.report.mlflow_log import is_installed, log_suite

    if not is_installed():
        console.print("MLflow is not installed; nothing is logged to it.")
        return
    count, address = log_suite(suite, store, args.data_dir)
    console.print(f"MLflow: {count} runs logged; mlflow ui --backend-store-uri {address}", highlight=False)
