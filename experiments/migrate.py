"""Give published records of our methods the ids of today's code, once a sample proves that results are the same.

Run as ``python -m experiments.migrate SUITE --tasks TASK TASK``. An id is a hash of code, so that a module that moves
makes every record stale that depends on it. Every method without a current record is run again on the sample tasks,
with the first seed; if no value differs from the published one by more than ``TOLERANCE`` of it, all its records get
their new ids, and ``experiments/results/SUITE`` is written anew. Grids and peers, whose ids are current, stay as they
are.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
from rich.console import Console
from rich.progress import track

from experiments.files import write_text
from experiments.frames import records
from experiments.parallel import run_parallel
from experiments.runner import Record, execute, run_id
from experiments.spec import RunSpec
from experiments.store import ARCHIVE, Store
from experiments.suite import load_suite
from experiments.suite_run import planned

RESULTS = Path(__file__).resolve().parent / "results"
TOLERANCE = 1e-9  # of a value; the records were made on another machine, whose sums are in another order
WORDS = {"train": "main"}  # phases in curves, as they are called now


def stale(
    store: Store, specs: list[RunSpec], rows: list[dict[str, Any]]
) -> list[tuple[RunSpec, dict[str, Any]]]:
    """Planned runs that have a record under an older id only, with its row."""
    by_spec = {_key(row): row for row in rows}
    missing = [spec for spec in specs if not store.has(run_id(spec))]
    pairs = [(spec, by_spec.get(_key({**vars(spec), "kwargs": spec.kwargs_json}))) for spec in missing]
    return [(spec, row) for spec, row in pairs if row is not None]


def difference(row: dict[str, Any], record: Record) -> float:
    """Relative difference of a run's value from the published one; infinite where one of them has none."""
    old, new = float(row["value"]), float(record.row["value"])
    if not (math.isfinite(old) and math.isfinite(new)):
        return 0.0 if old == new else math.inf
    return abs(new - old) / max(abs(old), 1e-300)


def rename(store: Store, spec: RunSpec, row: dict[str, Any]) -> None:
    """Write a record under its new id, and forget the old one."""
    old, new = row["run_id"], run_id(spec)
    curve = store.curve(old)
    if "phase" in curve:
        curve["phase"] = curve.phase.replace(WORDS)
    loaded = json.loads((store.folder / "runs" / f"{old}.json").read_text())
    store.write(Record({**loaded, "run_id": new}, curve, store.lanes(old)))
    store.forget(old)


def main() -> None:
    """Run the sample, print what differs, and rename what is proven."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("suite")
    parser.add_argument("--tasks", nargs="+", required=True, metavar="TASK")
    parser.add_argument("--data-dir")
    args = parser.parse_args()
    console, suite, published = Console(), load_suite(args.suite), RESULTS / args.suite
    with TemporaryDirectory() as folder:
        store = Store(Path(folder))
        store.unpack(published / ARCHIVE)
        ids = [path.stem for path in sorted((store.folder / "runs").glob("*.json"))]
        pairs = stale(store, planned(suite, store), records(store.rows(ids)))
        sample = [(s, row) for s, row in pairs if s.task in args.tasks and s.seed == suite.seeds[0]]
        again = run_parallel(execute, [spec for spec, _ in sample], 2)
        worst: dict[str, float] = {}
        for (spec, row), record in zip(sample, track(again, total=len(sample), console=console), strict=True):
            found = difference(row, record)
            console.print(f"{spec.task}, {spec.method}: differs by {found:.1e} of the value", highlight=False)
            worst[spec.method] = max(worst.get(spec.method, 0.0), found)
        proven = {method for method, found in worst.items() if found <= TOLERANCE}
        renamed = [(spec, row) for spec, row in pairs if spec.method in proven]
        for spec, row in renamed:
            rename(store, spec, row)
        kept = [run_id(spec) for spec in planned(suite, store)]
        left = [row["run_id"] for spec, row in pairs if spec.method not in proven]
        store.pack([*kept, *left], published / ARCHIVE)
        names = {row["run_id"]: run_id(spec) for spec, row in renamed}
        rows = pd.read_csv(published / "runs.csv", dtype=str, keep_default_na=False)
        write_text(published / "runs.csv", rows.assign(run_id=rows.run_id.replace(names)).to_csv(index=False))
        console.print(f"{len(renamed)} records renamed, {len(left)} left, of {', '.join(sorted(proven))}")


def _key(row: dict[str, Any]) -> tuple[Any, ...]:
    kwargs = json.dumps(json.loads(row["kwargs"]), sort_keys=True)
    return (
        row["suite"],
        row["task"],
        row["method"],
        int(row["seed"]),
        int(row["budget"]),
        row["scale"],
        kwargs,
    )


if __name__ == "__main__":
    main()
