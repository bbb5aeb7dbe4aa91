"""Options that several commands have, each declared once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from experiments.common.names import check_names

FIRST_SEED = [0]

Seeds = Annotated[
    list[int],
    typer.Option(min=0, metavar="SEED", help="data order and initial point; repeat it for several"),
]
DataDir = Annotated[
    str | None,
    typer.Option(metavar="FOLDER", help="shared data folder, else PFOPT_DATA, else ../shared/data"),
]
Processes = Annotated[int, typer.Option(min=1, metavar="COUNT", help="processes, one thread each")]
Output = Annotated[Path, typer.Option(metavar="FILE", help="where to write the table")]


def each_of(valid: Collection[str], what: str) -> Callable[[list[str] | None], list[str] | None]:
    """Refuse names that are not among ``valid``, with the nearest ones: the callback of an option or argument."""

    def callback(names: list[str] | None) -> list[str] | None:
        refuse_unknown(names or [], valid, what)
        return names

    return callback


def one_of(valid: Collection[str], what: str) -> Callable[[str], str]:
    """The same for one name."""

    def callback(name: str) -> str:
        refuse_unknown([name], valid, what)
        return name

    return callback


def refuse_unknown(names: Collection[str], valid: Collection[str], what: str) -> None:
    """Raise an error of the command line unless every name is valid."""
    try:
        check_names(names, tuple(valid), what)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


@contextmanager
def interruptible(console: Console, kept: str = "") -> Iterator[None]:
    """End at Ctrl-C with code 130, and say what is kept: ``kept``, or what the exception says."""
    try:
        yield
    except KeyboardInterrupt as interrupt:
        console.print(f"Interrupted. {kept or interrupt}".strip(), markup=False)
        raise typer.Exit(130) from None
