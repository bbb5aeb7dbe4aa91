"""Does every mechanism of the practical plan earn its place? Each one is switched off alone, and some of them together.

Prints, of all groups below or some of them, and writes to
``experiments/results/ablation.csv``, one row per switch and group: the figure over that of the default on the same
task and seed, as geometric mean, best and worst task, and how many tasks change by more than 10 % beyond what the
controls change them by. ``standard_error`` is that of the mean over tasks, of its logarithm where the figure is a
ratio. A control is the default with its constants changed in the sixth digit: what it changes is rounding, so that
smaller effects of a switch cannot be told from nothing. In the means a ratio counts as ``CLIP`` at most, and as its
inverse at least.

The groups, of which a switch has those where it can make a difference:

    lanes      convex tasks by ``pfopt.minimize``; the figure is suboptimality
    flat       problems of ``experiments.held_out_problems`` by ``pfopt.minimize``, their parameters as one vector
    unseen     the same by ``ParameterFreeSGD``
    adamw      the same by ``ParameterFree`` around AdamW
    networks   four networks of the suite ``deep`` by ``ParameterFreeSGD``

Of a problem the figures are the loss on training rows and on held-out ones, where these are positive, and the share
of the decrease within reach that was missed, as a difference to the default's (2 points count as notable).

Every run is kept as it ends in ``experiments/results/ablation_runs.csv``, and is not made again; ``--table`` makes the
table of those that are there. On a core of its own a lane takes 0.6 ms per gradient, a switch in all regimes about
half a minute; a problem takes 2 to 4 ms per gradient in group flat, and twice that in group unseen: hours in all.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console

from experiments.common.atomic_files import write_text
from experiments.studies.ablation.runs import finished, jobs
from experiments.studies.ablation.switches import CONTROL, GROUPS, switches
from experiments.studies.ablation.table import figures, summary

RESULTS = Path(__file__).resolve().parents[2] / "results"
OUTPUT, RUNS = RESULTS / "ablation.csv", RESULTS / "ablation_runs.csv"


def main(argv: Sequence[str] | None = None) -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(prog="python -m experiments study ablation", description=__doc__)
    parser.add_argument(
        "groups", nargs="*", metavar="GROUP", help=f"any of {', '.join(GROUPS)}; default: all"
    )
    parser.add_argument("--tasks", nargs="+", metavar="TASK")
    parser.add_argument(
        "--only", nargs="+", metavar="TEXT", help="switches whose label begins so, and controls"
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--steps", type=int, default=600, help="gradients of an unseen problem at most")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--table", action="store_true", help="run nothing, tell what the runs so far say")
    parser.add_argument("--runs", type=Path, default=RUNS)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    args = parser.parse_args(argv)
    groups = args.groups or list(GROUPS)
    if unknown := set(groups) - set(GROUPS):
        parser.error(f"unknown group {', '.join(sorted(unknown))}, expected {', '.join(GROUPS)}")
    torch.set_num_threads(1)
    starts = (CONTROL, *args.only) if args.only else ("",)
    variants = [label for label in switches() if label == "" or label.startswith(starts)]
    console = Console(width=220)
    planned = list(jobs(groups, args.tasks, args.seeds, args.steps, variants))
    runs = finished([] if args.table else planned, args.processes, args.runs, console)
    table = summary(figures(runs)).sort_values(["group", "variant"])
    write_text(args.output, table.to_csv(index=False))
    for place, part in table.groupby("group", sort=False):
        console.print(f"\n{place}, control {part.control.iloc[0]:.4g}")
        console.print(part.drop(columns=["group", "figure", "control"]).to_string(index=False), markup=False)


if __name__ == "__main__":
    main()
