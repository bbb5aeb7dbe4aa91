"""Records on disk: a run is there whole or not at all, whenever and however often the suite is killed.

runs/<run_id>.json    the row of a finished run; written last, its presence says that the rest is there
curves/<run_id>.csv   one row per evaluation and metric
lanes/<run_id>.csv    one row per learning rate and output (grids)
final/<run_id>.npz    the returned parameters and the confusion matrix
runs.csv              all rows, merged

``records.tar.xz``, in a published report, holds runs, curves and lanes: a machine that has it runs only what changed.
"""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from experiments.common.atomic_files import remove_leftovers, write_atomically, write_text
from experiments.engine.execute import Record

KINDS = (("curves", "csv"), ("lanes", "csv"), ("runs", "json"))  # in the order in which a record is written
ARCHIVE = "records.tar.xz"


class Store:
    """The records of one suite in one folder; several processes may write to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def has(self, run_id: str) -> bool:
        """Whether the run is finished."""
        return self._path("runs", run_id, "json").is_file()

    def write(self, record: Record) -> None:
        """Keep a record; what was there under its id is replaced."""
        run_id = record.row["run_id"]
        write_atomically(
            self._path("curves", run_id, "csv"), lambda path: record.curve.to_csv(path, index=False)
        )
        if len(record.lanes):
            write_atomically(
                self._path("lanes", run_id, "csv"), lambda path: record.lanes.to_csv(path, index=False)
            )
        if record.final:
            write_atomically(
                self._path("final", run_id, "npz"),
                lambda path: np.savez_compressed(path, **_arrays(record.final)),
            )
        write_text(self._path("runs", run_id, "json"), json.dumps(record.row))

    def rows(self, run_ids: Iterable[str]) -> pd.DataFrame:
        """The rows of those of the runs that are finished, in the order given."""
        paths = [self._path("runs", run_id, "json") for run_id in run_ids]
        return pd.DataFrame([json.loads(path.read_text()) for path in paths if path.is_file()])

    def curve(self, run_id: str) -> pd.DataFrame:
        """The evaluations of a finished run."""
        return pd.read_csv(self._path("curves", run_id, "csv"))

    def lanes(self, run_id: str) -> pd.DataFrame:
        """The lanes of a finished run; empty where it has none."""
        path = self._path("lanes", run_id, "csv")
        return pd.read_csv(path) if path.is_file() else pd.DataFrame()

    def final(self, run_id: str) -> dict[str, NDArray[Any]]:
        """Returned parameters and confusion matrix of a finished run; empty where they were not kept."""
        path = self._path("final", run_id, "npz")
        if not path.is_file():
            return {}
        with np.load(path) as file:
            return dict(file)

    def merge(self, run_ids: Iterable[str]) -> Path:
        """Write ``runs.csv`` from the finished ones of the runs; return its path."""
        path, rows = self.folder / "runs.csv", self.rows(run_ids)
        write_atomically(path, lambda temporary: rows.to_csv(temporary, index=False))
        return path

    def pack(self, run_ids: Iterable[str], path: Path) -> None:
        """Write the finished ones of the runs to an archive, without their parameters."""
        names = [run_id for run_id in run_ids if self.has(run_id)]

        def write(temporary: Path) -> None:
            with tarfile.open(temporary, "w:xz") as archive:
                for kind, ending in KINDS:
                    for file in (self._path(kind, name, ending) for name in names):
                        if file.is_file():
                            archive.add(file, f"{kind}/{file.name}")

        write_atomically(path, write)

    def unpack(self, path: Path) -> int:
        """Take over the runs of an archive that are not here; return their number.

        Raises:
            OSError, tarfile.TarError: the archive cannot be read; nothing has been taken over.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=self.folder) as folder:
            with tarfile.open(path) as archive:
                archive.extractall(folder, filter="data")
            new = {file.stem for file in Path(folder, "runs").glob("*.json") if not self.has(file.stem)}
            for kind, ending in KINDS:
                for file in sorted(Path(folder, kind).glob(f"*.{ending}")):
                    if file.stem in new:
                        target = self._path(kind, file.stem, ending)
                        target.parent.mkdir(exist_ok=True)
                        os.replace(file, target)
        return len(new)

    def forget(self, run_id: str) -> None:
        """Let a run count as missing."""
        self._path("runs", run_id, "json").unlink(missing_ok=True)

    def clean(self) -> None:
        """Remove what killed processes left half written."""
        remove_leftovers(self.folder)

    def _path(self, kind: str, run_id: str, ending: str) -> Path:
        return self.folder / kind / f"{run_id}.{ending}"


def _arrays(final: dict[str, NDArray[Any]]) -> dict[str, Any]:
    return dict(final)
