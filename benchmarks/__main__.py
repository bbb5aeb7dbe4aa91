"""What pfopt costs: ``python -m benchmarks`` prints every table, or those that are named.

Figures are ratios, taken alternately in one process; what did not move its parameters is an error, not a figure.
"""

import argparse
from pathlib import Path

import torch

from benchmarks import imports, memory, optax_compile, optax_step, step, training
from benchmarks.timing import machine

TABLES = ["step", "training", "memory", "optax", "compile", "imports"]


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("tables", nargs="*", metavar="TABLE", help=f"{', '.join(TABLES)}; default: all")
    parser.add_argument("--rounds", type=int, default=9, help="of which the median is taken")
    parser.add_argument("--threads", type=int, default=1, help="of torch on a CPU")
    parser.add_argument("--compiled", action="store_true", help="with fused=True, which takes a compiler")
    parser.add_argument("--picture", type=Path, help="write cost against size there as well; some minutes")
    given = parser.parse_args()
    if unknown := set(given.tables) - set(TABLES):
        parser.error(f"TABLE must be one of {', '.join(TABLES)}, got {', '.join(sorted(unknown))}")
    chosen = given.tables or TABLES
    torch.set_num_threads(given.threads)
    print(machine())
    if "step" in chosen:
        print(step.report(compiled=given.compiled, rounds=given.rounds), end="\n\n", flush=True)
    if "training" in chosen:
        print(training.report(rounds=given.rounds), end="\n\n", flush=True)
    if "memory" in chosen:
        print(memory.report(), end="\n\n", flush=True)
    if "optax" in chosen:
        print(optax_step.report(given.rounds), end="\n\n", flush=True)
    if "compile" in chosen:
        print(optax_compile.report(), end="\n\n", flush=True)
    if "imports" in chosen:
        print(imports.report(given.rounds), end="\n\n", flush=True)
    if given.picture:
        step.picture(given.picture, given.rounds)


if __name__ == "__main__":
    main()
