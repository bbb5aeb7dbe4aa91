"""Check every claim and rewrite the table of README.md: ``python -m paper_repro [NAME ...]``."""

import argparse
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import cast

from joblib import Parallel, delayed

from paper_repro.claim import Claim, Row, add_options

README = Path(__file__).with_name("README.md")
BEGIN, END = "<!-- table: python -m paper_repro -->\n", "<!-- end of table -->"
HEAD = "| claim | theorem | command | minutes of one core | expected | measured | |\n|---|---|---|---|---|---|---|\n"
NAMES = (  # in the order of their numbers
    "nonsmooth_rate",
    "cost_of_range",
    "budget",
    "localisation",
    "fast_rates",
    "high_probability",
    "linear_decay_certificate",
    "limits",
    "convex_suite",
    "schedule_agreement",
)
LONGEST = ("high_probability", "convex_suite", "fast_rates")  # these start first


def load(name: str) -> Claim:
    """The claim that a script checks."""
    return import_module(f"paper_repro.{name}").CLAIM


def check(name: str, quick: bool, pictures: Path) -> Row:
    """One claim, in a worker."""
    return load(name).check(quick, pictures)


def as_line(row: Row) -> str:
    """One line of the table."""
    claim, finding = row.claim, row.finding
    picture = f"[{claim.number}. {claim.statement}](pictures/{claim.name}.png)"
    command = f"`python -m paper_repro.{claim.name}`"
    cells = (picture, claim.theorem, command, f"{row.minutes:.1f}", finding.expected, finding.measured)
    verdict = f"**{row.verdict}**"
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in (*cells, verdict)) + " |\n"


def rewrite(text: str, rows: list[Row]) -> str:
    """README.md with the lines of these claims replaced, the others as they were."""
    before, rest = text.split(BEGIN)
    table, after = rest.split(END)
    lines = {
        name: line + "\n" for name in NAMES for line in table.splitlines() if f"paper_repro.{name}`" in line
    }
    lines |= {row.claim.name: as_line(row) for row in rows}
    return before + BEGIN + HEAD + "".join(lines[name] for name in NAMES if name in lines) + END + after


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m paper_repro", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"default: all of {', '.join(NAMES)}")
    parser.add_argument("--jobs", type=int, default=2, help="processes (default: %(default)s)")
    add_options(parser)
    options = parser.parse_args()
    unknown = set(options.names) - set(NAMES)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; the names are {', '.join(NAMES)}")
    names = sorted(options.names or NAMES, key=lambda name: name not in LONGEST)
    run = Parallel(n_jobs=options.jobs, return_as="generator_unordered", inner_max_num_threads=1)
    rows: list[Row] = []
    jobs = (delayed(check)(name, options.quick, options.pictures) for name in names)
    for row in cast(Iterator[Row], run(jobs)):
        row.report()
        rows.append(row)
        if not options.quick:
            README.write_text(rewrite(README.read_text(encoding="utf-8"), rows), encoding="utf-8")
    failed = sorted(row.claim.number for row in rows if not row.finding.holds)
    sys.exit(f"claims {failed} DO NOT HOLD" if failed else 0)


if __name__ == "__main__":
    main()
