"""A command as the shell would run it."""

from experiments.cli import main


def run(*arguments: str) -> int:
    """The exit code of ``python -m experiments`` with these arguments."""
    try:
        main(arguments)
    except SystemExit as end:
        return int(end.code or 0)
    return 0
