"""Command line: ``python -m experiments demo | ratios | run | status | report | list``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from experiments.cli import ArgumentError, add_commands
from experiments.common.names import check_names
from experiments.common.parallel import BackendError
from experiments.demo import DemoOptions, run_demo
from experiments.methods.registry import METHODS
from experiments.studies.ratios import DEFAULT_METHODS as RATIO_METHODS
from experiments.studies.ratios import RatioJob, measure_ratios, print_ratios
from experiments.tasks.convex import CONVEX
from experiments.tasks.data import MissingDataError, data_folder, has_shared_data
from experiments.tasks.download import complete, is_complete
from experiments.tasks.registry import DEMO_NAMES, NAMES, task_files

MIN_BUDGET = 400  # of a convex task; the network gets a quarter


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return the exit code."""
    parser = _parser()
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    console = Console()
    try:
        return args.run(args, console)
    except (ArgumentError, BackendError, MissingDataError) as error:
        parser.exit(2, f"error: {error}\n")
    except KeyboardInterrupt as interrupt:
        console.print(f"Interrupted. {interrupt}".strip(), markup=False)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m experiments", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="demo | ratios | run | status | report | list")
    demo = commands.add_parser("demo", help="one parameter-free run against a grid of learning rates and DoG")
    demo.set_defaults(run=_demo)
    demo.add_argument("--seed", type=_at_least(0), default=0, help="data order and initial network")
    demo.add_argument(
        "--output", type=Path, default=Path("demo-results"), help="folder for table and picture"
    )
    add_commands(commands)
    ratios = commands.add_parser(
        "ratios", help="suboptimality divided by that of the grid, on every convex task"
    )
    ratios.set_defaults(run=_ratios)
    ratios.add_argument("--methods", nargs="+", default=list(RATIO_METHODS), metavar="METHOD")
    ratios.add_argument("--seeds", nargs="+", type=_at_least(0), default=[0, 1, 2], metavar="SEED")
    ratios.add_argument("--grid-b", action="store_true", help="also the strongest grid, chosen in hindsight")
    ratios.add_argument("--options", type=json.loads, default={}, help="JSON: options of pfopt's plan")
    ratios.add_argument("--csv", type=Path, help="where to write one row per task, seed and method")
    for command in (demo, ratios):
        command.add_argument(
            "--tasks", nargs="+", metavar="TASK", help="names; default: those whose data are there"
        )
        budget_help = "gradients of one run on a convex task; the network gets a quarter (default: 8000)"
        command.add_argument("--budget", type=_at_least(MIN_BUDGET), default=8000, help=budget_help)
        command.add_argument("--data-dir", help="shared data folder (default: PFOPT_DATA, ../shared/data)")
        command.add_argument("--processes", type=_at_least(1), default=2, help="processes (default: 2)")
    return parser


def _at_least(lowest: int) -> Any:
    """An argparse type: an integer that is not below ``lowest``."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = lowest - 1
        if value < lowest:
            raise argparse.ArgumentTypeError(f"must be an integer of at least {lowest}, got {text!r}")
        return value

    return parse


def _choose_tasks(args: argparse.Namespace, default: tuple[str, ...], console: Console) -> tuple[str, ...]:
    """The tasks asked for, or those of the default whose data are there or can be downloaded."""
    if args.data_dir and not has_shared_data(args.data_dir):
        raise ArgumentError(f"--data-dir {data_folder(args.data_dir)} holds no inventory.json")
    names = args.tasks or default
    _check(names, NAMES, "task")
    try:
        complete((file for name in names for file in task_files(name)), args.data_dir, console)
    except MissingDataError as error:
        if args.tasks:
            raise
        console.print(f"Tasks without data are left out. {error}", markup=False, soft_wrap=True)
        names = [name for name in default if is_complete(task_files(name), args.data_dir)]
    return tuple(dict.fromkeys(names))


def _check(names: Sequence[str], valid: Sequence[str], what: str) -> None:
    try:
        check_names(names, tuple(valid), what)
    except ValueError as error:
        raise ArgumentError(str(error)) from None


def _demo(args: argparse.Namespace, console: Console) -> int:
    if args.output.exists() and not args.output.is_dir():
        raise ArgumentError(f"--output {args.output} is not a folder")
    tasks = _choose_tasks(args, DEMO_NAMES, console)
    options = DemoOptions(tasks, args.budget, args.seed, args.output, args.data_dir, args.processes)
    run_demo(options, console)
    return 0


def _ratios(args: argparse.Namespace, console: Console) -> int:
    _check(args.methods, list(METHODS), "method")
    if not isinstance(args.options, dict):
        raise ArgumentError(f"--options must be a JSON object, got {args.options!r}")
    tasks = _choose_tasks(args, tuple(CONVEX), console)
    methods = tuple(dict.fromkeys(args.methods))
    jobs = [
        RatioJob(task, seed, args.budget, methods, args.grid_b, args.options, args.data_dir)
        for task in tasks
        for seed in args.seeds
    ]
    rows = measure_ratios(jobs, args.processes, console)
    print_ratios(rows, console)
    if args.csv:
        rows.to_csv(args.csv, index=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
