"""Data sets: scikit-learn's bundled ones and the checksummed files of the shared data folder.

The folder is looked for in this order: an explicit path, the environment variable ``PFOPT_DATA``,
``../shared/data`` beside the repository. Its ``inventory.json`` holds the checksum of every file; a file that
differs is refused.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.io import arff
from sklearn import datasets
from sklearn.model_selection import train_test_split

Table = tuple[NDArray[np.float64], NDArray[np.float64]]  # features (n, d), targets (n,)

_BESIDE_REPOSITORY = Path(__file__).resolve().parents[2].parent / "shared" / "data"


class MissingDataError(FileNotFoundError):
    """A file of the shared data folder is not there; the message says which, and how to pass the folder."""


def data_folder(data_dir: str | Path | None = None) -> Path:
    """Return the shared data folder; whether it exists is decided when a file is read."""
    return Path(data_dir or os.environ.get("PFOPT_DATA") or _BESIDE_REPOSITORY)


def has_shared_data(data_dir: str | Path | None = None) -> bool:
    """Whether the shared data folder is there."""
    return (data_folder(data_dir) / "inventory.json").is_file()


def load_sklearn(name: str) -> Table:
    """Load a data set that scikit-learn carries: breast_cancer, diabetes, digits or wine."""
    bunch = getattr(datasets, f"load_{name}")()
    return bunch.data.astype(np.float64), bunch.target.astype(np.float64)


def load_svmlight(name: str, num_features: int, data_dir: str | Path | None = None) -> Table:
    """Load a LIBSVM-format file of the shared folder as a dense table."""
    path = _verified(f"libsvm/{name}.bz2", data_dir)
    features, targets = datasets.load_svmlight_file(str(path), n_features=num_features)[:2]
    return np.asarray(features.todense(), dtype=np.float64), np.asarray(targets, dtype=np.float64)


def load_arff(
    name: str, target: str, drop: tuple[str, ...] = (), data_dir: str | Path | None = None
) -> Table:
    """Load a numeric ARFF file of the shared folder, without the columns in ``drop``."""
    path = _verified(f"tabular/{name}.arff.gz", data_dir)
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows, meta = arff.loadarff(file)
    columns = [column for column in meta.names() if column != target and column not in drop]
    features = np.stack([np.asarray(rows[column], dtype=np.float64) for column in columns], axis=1)
    return features, np.asarray(rows[target], dtype=np.float64)


def hold_out(table: Table) -> tuple[Table, Table]:
    """Split off 20 % of the rows for testing, the same ones at every call and in every class."""
    features, targets = table
    rows = np.arange(len(targets))
    train, test = train_test_split(rows, test_size=0.2, random_state=0, stratify=targets)
    return (features[train], targets[train]), (features[test], targets[test])


def _verified(relative: str, data_dir: str | Path | None) -> Path:
    """Return the path of a shared file after checking its checksum against the inventory."""
    folder = data_folder(data_dir)
    path = folder / relative
    if not path.is_file():
        raise MissingDataError(
            f"{relative} is not in the data folder {folder}; pass the folder that holds inventory.json "
            "with --data-dir or in the environment variable PFOPT_DATA"
        )
    expected = _checksums(folder / "inventory.json").get(relative)
    if expected is None:
        raise ValueError(f"{relative} is not listed in {folder / 'inventory.json'}")
    actual = hashlib.sha256(path.read_bytes()).hexdigest()
    if actual != expected:
        raise ValueError(f"{path} has sha256 {actual}, but inventory.json says {expected}")
    return path


@cache
def _checksums(inventory: Path) -> dict[str, str]:
    """Map each file of the inventory to its sha256."""
    if not inventory.is_file():
        raise MissingDataError(
            f"{inventory} is missing; pass the folder that holds it with --data-dir or in PFOPT_DATA"
        )
    return {entry["file"]: entry["sha256"] for entry in json.loads(inventory.read_text())["files"]}
