"""The command line: ``pfopt demo``, ``doctor`` and ``find-lr script.py:make``, also as ``python -m pfopt``."""

import argparse
import runpy
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from pfopt import __version__, demo, doctor

FIND_LR = """Search the learning rate of a plain optimizer of torch, and print the card.

The function takes nothing and returns (model, loss, batches) or (model, loss, batches, base), the arguments of
pfopt.torch.find_lr. The script is run, under the name of its module and not as __main__."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run a command."""
    parser = argparse.ArgumentParser(prog="pfopt", description="Parameter-free optimizers.")
    parser.add_argument("--version", action="version", version=f"pfopt {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("doctor", help="what is installed, which kernels will be used, what is slow and why")
    shown = commands.add_parser(
        "demo", help="one run without a learning rate beside eight with one, in seconds"
    )
    shown.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of the data and the batches, 0 if not given"
    )
    raw = argparse.RawDescriptionHelpFormatter
    find_lr = commands.add_parser(
        "find-lr", help="the learning rate of a model", description=FIND_LR, formatter_class=raw
    )
    find_lr.add_argument("source", metavar="script.py:make", help="a Python file and a function in it")
    find_lr.add_argument("--total-steps", type=int, metavar="N", help="gradients of the training to come")
    args = parser.parse_args(argv)
    if args.command == "doctor":
        _show(doctor.report())
        return
    if args.command == "demo":
        try:
            _show(demo.report(args.seed))
        except ValueError as error:
            shown.error(str(error))
        return
    try:
        from pfopt.torch import find_lr as search
    except ModuleNotFoundError as error:
        parser.error(f"find-lr needs torch, pip install 'pfopt[torch]': {error}")
    try:
        make = _function(args.source)
    except ValueError as error:
        find_lr.error(str(error))
    given = make()
    if not isinstance(given, tuple) or len(given) not in (3, 4):
        allowed = "(model, loss, batches) or (model, loss, batches, base)"
        find_lr.error(f"{args.source} must return {allowed}, got {type(given).__name__}")
    print(search(*given, total_steps=args.total_steps))


def _show(lines: Iterable[str]) -> None:
    for line in lines:
        print(line, flush=True)


def _function(source: str) -> Callable[[], Any]:
    """The function of a script.

    Raises:
        ValueError: there is no such script, or no such function in it.
    """
    path, _, name = source.rpartition(":")
    script = Path(path)
    if not (path and script.is_file()):
        raise ValueError(f"source must be script.py:make, a file and a function in it, got {source!r}")
    sys.path.insert(0, str(script.resolve().parent))  # as Python itself does
    found = runpy.run_path(path, run_name=script.stem).get(name)
    if not callable(found):
        raise ValueError(f"source must name a function of {path}, which has no {name!r}")
    return found


if __name__ == "__main__":
    main()
