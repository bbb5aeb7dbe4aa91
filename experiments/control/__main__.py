"""Run as ``python -m experiments.control``: writes ``results/control_*.csv`` and the tables of docs/watch.md.

Parts may be named: false_alarms, power, plateaus (simulations), curves (of the suites), probes and runs (new
ones, which need the data of the suites).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from itertools import chain
from pathlib import Path

import pandas as pd
import torch

from experiments.control import curves, page, probes, runs, simulate
from experiments.files import write_text

RESULTS = Path(__file__).resolve().parents[1] / "results"


def tables(
    series: int, seeds: list[int], data_dir: str | None
) -> dict[str, Callable[[], dict[str, pd.DataFrame]]]:
    """What every part writes."""

    def of_curves() -> dict[str, pd.DataFrame]:
        stopped, foretold = curves.study()
        return {"curves": stopped, "gains": foretold}

    return {
        "false_alarms": lambda: {"false_alarms": pd.DataFrame(simulate.false_alarms(series))},
        "power": lambda: {"power": pd.DataFrame(simulate.power(series // 4))},
        "plateaus": lambda: {"plateaus": pd.DataFrame(simulate.plateaus(series // 8))},
        "curves": of_curves,
        "probes": lambda: {"probes": pd.DataFrame(probes.study(data_dir))},
        "runs": lambda: {"runs": pd.DataFrame(chain.from_iterable(runs.study(seeds, data_dir)))},
    }


def main() -> None:
    """Run the parts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*")
    parser.add_argument("--series", type=int, default=200)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--data-dir")
    parser.add_argument("--output", type=Path, default=RESULTS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    parts = tables(args.series, args.seeds, args.data_dir)
    if unknown := set(args.parts) - set(parts):
        parser.error(f"parts must be some of {', '.join(parts)}, got {', '.join(sorted(unknown))}")
    for part in args.parts or parts:
        for name, table in parts[part]().items():
            text = table.to_csv(index=False, float_format="%.5g")
            write_text(args.output / f"control_{name}.csv", text)
    if args.output == RESULTS:
        page.write()


if __name__ == "__main__":
    main()
