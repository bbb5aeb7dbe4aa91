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
import sklearn
from numpy.typing import NDArray
from scipy.io import arff
from scipy.sparse import csr_array
from sklearn import datasets
from sklearn.model_selection import train_test_split

DataDir = str | Path | None
Table = tuple[NDArray[np.float64], NDArray[np.float64]]  # features (n, d), targets (n,)
SparseTable = tuple[csr_array, NDArray[np.float64]]

SOURCES = Path(__file__).with_name(
    "sources.json"
)  # checksum and public address of every file that a task reads
_BESIDE_REPOSITORY = Path(__file__).resolve().parents[2].parent / "shared" / "data"


class MissingDataError(FileNotFoundError):
    """A file of the shared data folder is not there; the message says which, and how to pass the folder."""


def data_folder(data_dir: DataDir = None) -> Path:
    """Return the shared data folder; whether it exists is decided when a file is read."""
    return Path(data_dir or os.environ.get("PFOPT_DATA") or _BESIDE_REPOSITORY)


def has_shared_data(data_dir: DataDir = None) -> bool:
    """Whether the shared data folder is there."""
    return (data_folder(data_dir) / "inventory.json").is_file()


def load_sklearn(name: str) -> Table:
    """Load a data set that scikit-learn carries: breast_cancer, diabetes, digits or wine."""
    bunch = getattr(datasets, f"load_{name}")()
    return bunch.data.astype(np.float64), bunch.target.astype(np.float64)


def load_svmlight(name: str, num_features: int, data_dir: DataDir = None) -> Table:
    """Load a LIBSVM-format file of the shared folder as a dense table."""
    features, targets = load_sparse(name, num_features, data_dir)
    return features.toarray(), targets


def load_sparse(name: str, num_features: int, data_dir: DataDir = None) -> SparseTable:
    """Load a LIBSVM-format file of the shared folder as it is."""
    path = verified(f"libsvm/{name}.bz2", data_dir)
    features, targets = datasets.load_svmlight_file(str(path), n_features=num_features)[:2]
    return csr_array(features, dtype=np.float64), np.asarray(targets, dtype=np.float64)


def load_arff(name: str, target: str, drop: tuple[str, ...] = (), data_dir: DataDir = None) -> Table:
    """Load a numeric ARFF file of the shared folder, without the columns in ``drop``."""
    path = verified(f"tabular/{name}.arff.gz", data_dir)
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


def verified(relative: str, data_dir: DataDir) -> Path:
    """Return the path of a shared file after checking its checksum against the inventory.

    Raises:
        MissingDataError: the file is neither in the folder nor in the local cache.
        ValueError: its checksum is not the inventory's.
    """
    folder = data_folder(data_dir)
    inventory = folder / "inventory.json"
    path = folder / relative
    if not path.is_file():
        path = cached(relative)
        if path is None:
            raise MissingDataError(_missing(relative, folder))
    entry = _entries(inventory if inventory.is_file() else SOURCES).get(relative)
    if entry is None:
        raise ValueError(f"{relative} is not listed in {inventory}")
    actual = hashlib.sha256(path.read_bytes()).hexdigest()
    if actual != entry["sha256"]:
        raise ValueError(f"{path} has sha256 {actual}, but inventory.json says {entry['sha256']}")
    return path


def cached(relative: str) -> Path | None:
    """The file in the local cache, where somebody may have put it; None if it is not there."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    path = root / "pfopt" / "data" / relative
    return path if path.is_file() else None


def data_hash(files: tuple[str, ...]) -> str:
    """Hash of the listed checksums of ``files``; scikit-learn's version where there are none."""
    if not files:
        return f"scikit-learn {sklearn.__version__}"
    entries = _entries(SOURCES)
    return hashlib.sha256(" ".join(entries[name]["sha256"] for name in files).encode()).hexdigest()


def _missing(relative: str, folder: Path) -> str:
    """Which file, from where, and how to pass it."""
    source = _entries(SOURCES).get(relative, {}).get("url", "")
    origin = f" It comes from {source}." if source else ""
    return (
        f"{relative} is not in the data folder {folder}.{origin} Pass the folder that holds inventory.json "
        "with --data-dir or in the environment variable PFOPT_DATA, or put the file under ~/.cache/pfopt/data"
    )


@cache
def _entries(inventory: Path) -> dict[str, dict[str, str]]:
    """Map each file of an inventory to its entry."""
    return {entry["file"]: entry for entry in json.loads(inventory.read_text())["files"]}
