"""Does it hold on problems that it was not made on? Fifty-four small ones, against grids of SGD and AdamW.

Writes ``experiments/results/unseen.csv``, one row per run. Both grids anneal
by a cosine, SGD's with momentum 0.9; a loss that is not finite counts as infinite.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch
from rich.console import Console
from rich.progress import track

from experiments.common.atomic_files import write_text
from experiments.common.names import check_names
from experiments.common.parallel import run_parallel
from experiments.engine.execute import device_name
from experiments.held_out_problems.registry import FIRST, PROBLEMS, SECOND
from experiments.held_out_problems.run import jobs, run
from experiments.held_out_problems.table import conclusions, summary

OUTPUT = Path(__file__).resolve().parents[1] / "results" / "unseen.csv"


def report(frame: pd.DataFrame, console: Console) -> None:
    """Print a line per problem, and for each of the two sets a line for each of ours."""
    table = summary(frame)
    console.print(table.to_string(float_format="{:.4g}".format), markup=False, soft_wrap=True)
    for title, names in (("First set", FIRST), ("Second set", SECOND)):
        part = pd.DataFrame(table[table.index.isin(list(names))])
        if len(part):
            console.print("\n".join([f"{title}:", *conclusions(part)]), markup=False, soft_wrap=True)


def main(argv: Sequence[str] | None = None) -> None:
    """Run them all and print the table."""
    parser = argparse.ArgumentParser(prog="python -m experiments study unseen", description=__doc__)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--only", nargs="+", default=list(PROBLEMS), metavar="PROBLEM")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    parser.add_argument("--ours-only", action="store_true", help="keep all other runs that the output holds")
    args = parser.parse_args(argv)
    try:
        check_names(args.only, tuple(PROBLEMS), "problem")
    except ValueError as error:
        parser.error(str(error))
    torch.set_num_threads(1)
    console = Console()
    if args.ours_only and not args.output.exists():
        parser.error(f"--ours-only goes with an output that holds the grids' runs, got {args.output}")
    planned = list(jobs(args.only, args.seeds, ours_only=args.ours_only))
    finished = run_parallel(run, planned, args.processes)
    table = pd.DataFrame(track(finished, total=len(planned), console=console))
    table = table.assign(device=device_name("small"))
    if args.ours_only:
        known, anew = pd.read_csv(args.output), {(job.problem, job.method, job.seed) for job in planned}
        keys = zip(known.problem, known.method, known.seed, strict=True)
        kept = known.iloc[[place for place, key in enumerate(keys) if key not in anew]]
        table = pd.concat([pd.DataFrame(kept), table])
    table = table.sort_values(["problem", "method", "learning_rate", "seed"])
    write_text(args.output, table.to_csv(index=False))
    report(table, console)


if __name__ == "__main__":
    main()
