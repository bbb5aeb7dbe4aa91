"""The shared data folder: where it is looked for, and what happens when a file is missing or altered."""

from __future__ import annotations

import bz2
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from experiments.tasks import data


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data folder that holds one LIBSVM file of three rows."""
    (tmp_path / "libsvm").mkdir()
    content = bz2.compress(b"+1 1:0.5\n-1 3:2\n+1 2:1\n")
    (tmp_path / "libsvm" / "tiny.bz2").write_bytes(content)
    entry = {"file": "libsvm/tiny.bz2", "sha256": hashlib.sha256(content).hexdigest()}
    (tmp_path / "inventory.json").write_text(json.dumps({"files": [entry]}))
    return tmp_path


def test_svmlight_is_dense_and_padded(folder: Path) -> None:
    features, targets = data.load_svmlight("tiny", 4, folder)
    np.testing.assert_array_equal(features, [[0.5, 0, 0, 0], [0, 0, 2, 0], [0, 1, 0, 0]])
    np.testing.assert_array_equal(targets, [1, -1, 1])


def test_find_order(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PFOPT_DATA", str(tmp_path / "from_environment"))
    assert data.data_folder(folder) == folder
    assert data.data_folder() == tmp_path / "from_environment"
    assert not data.has_shared_data()
    monkeypatch.delenv("PFOPT_DATA")
    assert data.data_folder().parts[-2:] == ("shared", "data")


def test_missing_file_is_named(folder: Path) -> None:
    with pytest.raises(data.MissingDataError, match=r"libsvm/a9a\.bz2 is not in .*--data-dir.*PFOPT_DATA"):
        data.load_svmlight("a9a", 123, folder)


def test_altered_file_is_refused(folder: Path) -> None:
    (folder / "libsvm" / "tiny.bz2").write_bytes(bz2.compress(b"+1 1:0.25\n"))
    with pytest.raises(ValueError, match=r"sha256 .* but inventory.json says"):
        data.load_svmlight("tiny", 4, folder)


def test_hold_out_is_fixed_and_stratified() -> None:
    table = np.arange(100.0)[:, None], np.repeat([0.0, 1.0], [80, 20])
    (train, labels), (test, test_labels) = data.hold_out(table)
    assert (len(train), len(test)) == (80, 20)
    assert (labels.sum(), test_labels.sum()) == (16, 4)
    np.testing.assert_array_equal(test, data.hold_out(table)[1][0])
