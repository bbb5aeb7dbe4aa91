"""One command: ``python -m experiments list | run | status | report | demo | study NAME | studies``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from typer.core import TyperGroup

from experiments import suite_commands
from experiments.common.options import DataDir, Processes, each_of, interruptible, refuse_unknown
from experiments.demo import DemoOptions, run_demo
from experiments.engine.planner import plan
from experiments.engine.suite import load_suite, suite_names
from experiments.methods.registry import METHODS
from experiments.studies.study import ROOT, load_study, study_names
from experiments.tasks.data import MissingDataError
from experiments.tasks.download import with_data
from experiments.tasks.registry import DEMO_NAMES, NAMES

PLAIN: dict[str, Any] = {"add_completion": False, "rich_markup_mode": None, "pretty_exceptions_enable": False}
DEMO_RESULTS = Path("demo-results")


class Studies(TyperGroup):
    """The studies as commands; each is imported when it is asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Every name."""
        return list(study_names())

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of a study."""
        refuse_unknown([cmd_name], study_names(), "study")
        study, command = load_study(cmd_name), typer.Typer(**PLAIN)
        command.command(study.name, help=_with_lists(study.description))(study.run)
        return typer.main.get_command(command)


def _with_lists(text: str) -> str:
    """The text, with the mark that keeps typer from filling the lines of a paragraph that is indented."""
    return "\n\n".join(f"\b\n{part}" if part.startswith(" ") else part for part in text.split("\n\n"))


app = typer.Typer(
    help="One run without a learning rate against a grid of runs with one.", no_args_is_help=True, **PLAIN
)
for command in (suite_commands.run, suite_commands.status, suite_commands.report):
    app.command()(command)
app.add_typer(
    typer.Typer(cls=Studies, help="Answer one question.", no_args_is_help=True, **PLAIN), name="study"
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command, and exit."""
    torch.set_num_threads(1)
    try:
        app(arguments, prog_name="python -m experiments")
    except MissingDataError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


@app.command("list")
def list_(
    suite: Annotated[str | None, typer.Argument(help="its runs, instead of everything")] = None,
) -> None:
    """Every suite, task, method and study; or the runs of one suite."""
    console = Console()
    if suite:
        refuse_unknown([suite], suite_names(), "suite")
        for spec in plan(load_suite(suite), lambda spec: None):
            line = f"{spec.task}  {spec.method}  seed {spec.seed}  budget {spec.budget}  {spec.kwargs_json}"
            console.print(line, markup=False)
        return
    for name in suite_names():
        loaded = load_suite(name)
        console.print(
            f"[bold]suite {name}[/]: {loaded.purpose} {len(loaded.tasks)} tasks, seeds {loaded.seeds}"
        )
    console.print(f"[bold]tasks[/]: {', '.join(NAMES)}")
    for name, method in METHODS.items():
        line = f"[bold]method {name}[/]: {method.label} ({method.role}, {method.framework})"
        console.print(line, highlight=False)
    console.print(f"[bold]studies[/]: {', '.join(study_names())}")


@app.command()
def studies() -> None:
    """Every study: its question, and the files that hold the answer."""
    console = Console()
    for study in map(load_study, study_names()):
        files = ", ".join(str(path.relative_to(ROOT)) for path in study.results)
        console.print(f"[bold]{study.name}[/]: {study.question} {files}", highlight=False, soft_wrap=True)


@app.command()
def demo(
    tasks: Annotated[list[str] | None, typer.Option(metavar="TASK", callback=each_of(NAMES, "task"))] = None,
    budget: Annotated[
        int, typer.Option(min=400, help="gradients of one run on a convex task; the network gets a quarter")
    ] = 8000,
    seed: Annotated[int, typer.Option(min=0, help="data order and initial network")] = 0,
    output: Annotated[
        Path, typer.Option(metavar="FOLDER", file_okay=False, help="for table and picture")
    ] = DEMO_RESULTS,
    data_dir: DataDir = None,
    processes: Processes = 2,
) -> None:
    """One parameter-free run against a grid of learning rates and DoG."""
    console = Console()
    names = with_data(tasks, DEMO_NAMES, data_dir, console)
    with interruptible(console):
        run_demo(DemoOptions(names, budget, seed, output, data_dir, processes), console)
