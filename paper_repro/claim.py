"""What the scripts share: a claim, what was found, its command line and its picture."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import process_time

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import pfopt

PICTURES = Path(__file__).parent / "pictures"
# Okabe and Ito's palette, safe for colour-blind readers; markers and dashes tell curves apart as well.
BLUE, ORANGE, GREEN, PINK = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
SKY, YELLOW, BLACK = "#56B4E9", "#E69F00", "#000000"

Solver = Callable[..., pfopt.Result]  # pfopt.minimize, or what a test puts in its place


@dataclass(frozen=True)
class Finding:
    """What a script expected and measured; ``holds`` is decided with the tolerance named in ``expected``."""

    expected: str
    measured: str
    holds: bool
    figure: Figure


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    claim: Claim
    finding: Finding
    minutes: float

    @property
    def verdict(self) -> str:
        """In words."""
        return "holds" if self.finding.holds else "DOES NOT HOLD"

    def report(self) -> None:
        """Print what was expected and measured."""
        print(f"claim {self.claim.number}  {self.claim.statement} [{self.claim.theorem}]")
        print(f"  expected  {self.finding.expected}\n  measured  {self.finding.measured}")
        print(f"  {self.verdict}, {self.minutes:.1f} minutes of one core", flush=True)


@dataclass(frozen=True)
class Claim:
    """A statement that numbers can contradict.

    Attributes:
        number: In the table.
        name: Of the module: ``python -m paper_repro.NAME``.
        statement: One sentence.
        theorem: Where it is stated.
        measure: ``measure(solve, quick)``; ``solve`` has the signature of ``pfopt.minimize``.
    """

    number: int
    name: str
    statement: str
    theorem: str
    measure: Callable[[Solver, bool], Finding]

    def check(self, quick: bool = False, pictures: Path = PICTURES, solve: Solver = pfopt.minimize) -> Row:
        """Measure, save the picture, and say whether the claim holds."""
        torch.set_num_threads(1)
        started = process_time()
        finding = self.measure(solve, quick)
        pictures.mkdir(parents=True, exist_ok=True)
        finding.figure.savefig(pictures / f"{self.name}.png", dpi=110)
        return Row(self, finding, (process_time() - started) / 60)

    def main(self) -> None:
        """The command line of a script; exit code 0 says that the claim holds."""
        parser = argparse.ArgumentParser(
            prog=f"python -m paper_repro.{self.name}", description=self.statement
        )
        add_options(parser)
        options = parser.parse_args()
        row = self.check(options.quick, options.pictures)
        row.report()
        sys.exit(0 if row.finding.holds else f"claim {self.number} {row.verdict}")


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that all commands share."""
    parser.add_argument("--quick", action="store_true", help="seconds instead of minutes; a coarser check")
    parser.add_argument(
        "--pictures", type=Path, default=PICTURES, help="folder for the pictures (default: %(default)s)"
    )


def canvas(width: float, height: float, columns: int = 1) -> tuple[Figure, list[Axes]]:
    """An empty picture and its panels, left to right; no window is opened."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, list(figure.subplots(1, columns, squeeze=False)[0])
