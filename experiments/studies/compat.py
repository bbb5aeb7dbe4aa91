"""With which versions does the package work? The oldest and the newest that it admits, on every Python at hand.

Run as ``make compat`` (some gigabytes of downloads, ten minutes on an idle core for each environment); ``uv`` makes the
environments, the oldest ones by ``--resolution lowest-direct`` from the bounds of ``pyproject.toml``, runs a part of
the tests in each, and the table is written to ``docs/compat.md``. Warnings are no errors there, as they are in
``make test``: an old library warns of what a new one has changed.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Annotated, NamedTuple

import typer
from rich.console import Console

from experiments.common.atomic_files import write_text
from experiments.common.options import Output, each_of
from experiments.studies.study import Study

ROOT = Path(__file__).resolve().parents[2]
OUTPUT, ENVIRONMENTS = ROOT / "docs" / "compat.md", ROOT / ".cache" / "compat"
PYTHONS = ["3.11", "3.12", "3.13", "3.14"]
RESOLUTIONS = {"oldest": ["--resolution", "lowest-direct"], "newest": []}
ALL_RESOLUTIONS = list(RESOLUTIONS)
PACKAGES = ("numpy", "torch", "jax", "optax")
TOOLS = ("pytest", "hypothesis", "expecttest")
QUICKLY = "--xla_backend_optimization_level=0"  # a flag that one of the versions does not know would end the process
TESTS = (
    "tests/core",
    "tests/test_minimize.py",
    "tests/torch/test_against_numpy.py",
    "tests/torch/test_resume.py",
    "tests/torch/test_distributed_checkpoint.py",
    "tests/optax/test_agreement.py",
    "tests/optax/test_scale.py",
    "tests/testing",
)


class Environment(NamedTuple):
    """One row of the table."""

    python: str
    resolution: str

    @property
    def folder(self) -> Path:
        """Where it is made."""
        return ENVIRONMENTS / f"{self.python}-{self.resolution}"


def row(environment: Environment) -> list[str]:
    """Make an environment and run the tests in it; what is not to be had is said."""
    made = _uv("venv", "--clear", "--python", environment.python, str(environment.folder))
    if made.returncode:
        return [environment.python, environment.resolution, *[""] * len(PACKAGES), "no such Python at hand"]
    python = ["--python", str(environment.folder / "bin" / "python")]
    install = ("pip", "install", *python)
    for wanted in ([*RESOLUTIONS[environment.resolution], f"{ROOT}[torch,optax]"], TOOLS):
        done = _uv(*install, *wanted)
        if done.returncode:
            reason = " ".join(done.stderr.split())[:120]
            return [
                environment.python,
                environment.resolution,
                *[""] * len(PACKAGES),
                f"not installed: {reason}",
            ]
    listed = json.loads(_uv("pip", "list", *python, "--format", "json").stdout)
    versions = {each["name"]: each["version"] for each in listed}
    return [
        environment.python,
        environment.resolution,
        *map(versions.__getitem__, PACKAGES),
        _tested(environment),
    ]


def _tested(environment: Environment) -> str:
    """The last line of pytest."""
    options = ["-q", "-W", "default", "-o", "addopts=", "-p", "no:cacheprovider", "--tb=line"]
    done = subprocess.run(
        [environment.folder / "bin" / "python", "-m", "pytest", *options, *TESTS],
        cwd=ROOT,
        env={**os.environ, "XLA_FLAGS": QUICKLY, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    write_text(environment.folder / "pytest.txt", done.stdout + done.stderr)
    if done.returncode not in (0, 1):
        return f"pytest ended with {done.returncode}"
    last = done.stdout.strip().splitlines()[-1] if done.stdout.strip() else "pytest did not start"
    return re.sub(r", \d+ warnings?| in .*", "", last)


def _uv(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [Path(sys.executable).with_name("uv"), *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def page(rows: list[list[str]]) -> str:
    """The page of the documentation."""
    head = ["Python", "versions", *PACKAGES, "tests"]
    table = [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]
    lines = [
        "# Compatibility",
        "",
        "The oldest versions that `pyproject.toml` admits and the newest ones that the package index has, all together",
        "in an environment for each Python; `make compat` writes this. The tests are a part of all:",
        f"{', '.join(f'`{test}`' for test in TESTS)}.",
        "",
        *table,
        "",
    ]
    return "\n".join(lines)


def answer(
    pythons: Annotated[list[str], typer.Option(metavar="VERSION")] = PYTHONS,
    resolutions: Annotated[
        list[str], typer.Option(metavar="NAME", callback=each_of(RESOLUTIONS, "resolution"))
    ] = ALL_RESOLUTIONS,
    output: Output = OUTPUT,
) -> None:
    """Make the environments, one after the other, and write the page."""
    console, rows = Console(width=160), []
    for python in pythons:
        for resolution in resolutions:
            rows.append(row(Environment(python, resolution)))
            console.print(" ".join(rows[-1]), markup=False)
    write_text(output, page(rows))


STUDY = Study("compat", "With which versions does the package work?", answer, (OUTPUT,))
