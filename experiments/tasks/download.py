"""Data files that are nowhere on this machine, from their public addresses into the local cache.

``tasks/sources.json`` has for each file its checksum, the address of its origin, the address of a copy that does not
change (a repository at a fixed commit), and how that copy becomes the file. The checksum decides whether it did.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, cast

import pooch
import requests
from rich.console import Console

from experiments.common.atomic_files import write_atomically
from experiments.tasks.data import SOURCES, DataDir, MissingDataError, has_shared_data, verified
from experiments.tasks.registry import task_files

SECONDS = 20.0  # without an answer

CONVERT: dict[str, Callable[[bytes], bytes]] = {
    "line-feeds": lambda content: content.replace(b"\r\n", b"\n"),
    "splice-train": lambda content: b"".join(content.splitlines(keepends=True)[:1000]),
    "splice-test": lambda content: b"".join(content.splitlines(keepends=True)[1000:]),
    "cifar10-labels": lambda content: _lines(re.findall(rb"\d+", content), 12_000, 1_000),
}
COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    ".bz2": bz2.compress,
    ".gz": lambda content: gzip.compress(content, mtime=0),
}


def complete(files: Iterable[str], data_dir: DataDir, console: Console) -> None:
    """Download those of ``files`` that are neither in the data folder nor in the cache.

    Raises:
        MissingDataError: an address does not answer; the message names file, address and what to do instead.
        ValueError: what came, or what is there, has another checksum.
    """
    for file in dict.fromkeys(files):
        missing = _missing(file, data_dir)
        if missing is not None:
            _download(file, missing, console)


def is_complete(files: Iterable[str], data_dir: DataDir) -> bool:
    """Whether none of ``files`` would have to be downloaded."""
    return all(_missing(file, data_dir) is None for file in files)


def with_data(
    names: Sequence[str] | None, default: tuple[str, ...], data_dir: DataDir, console: Console
) -> tuple[str, ...]:
    """The tasks asked for; or those of ``default`` whose data are there, or can be downloaded.

    Raises:
        MissingDataError: ``data_dir`` is no data folder, or a task that was asked for has no data.
    """
    if data_dir and not has_shared_data(data_dir):
        raise MissingDataError(f"--data-dir {data_dir} holds no inventory.json")
    wanted = tuple(dict.fromkeys(names or default))
    try:
        complete((file for name in wanted for file in task_files(name)), data_dir, console)
    except MissingDataError as error:
        if names:
            raise
        console.print(f"Tasks without data are left out. {error}", markup=False, soft_wrap=True)
        return tuple(name for name in default if is_complete(task_files(name), data_dir))
    return wanted


def _missing(file: str, data_dir: DataDir) -> MissingDataError | None:
    try:
        verified(file, data_dir)
    except MissingDataError as error:
        return error
    return None


def _download(file: str, missing: MissingDataError, console: Console) -> None:
    entry = next(entry for entry in json.loads(SOURCES.read_text())["files"] if entry["file"] == file)
    if "download" not in entry:  # no address has it in this form
        raise missing
    address = entry["download"]
    console.print(f"{file}: downloading {address}", highlight=False, soft_wrap=True)
    with tempfile.TemporaryDirectory() as folder:
        try:
            path = pooch.retrieve(
                address,
                known_hash=None,
                fname="copy",
                path=folder,
                downloader=cast("Any", pooch.HTTPDownloader(timeout=SECONDS)),  # annotated as always None
            )
        except (requests.RequestException, OSError) as error:
            reason = type(error).__name__
            raise MissingDataError(f"{missing}. {address} does not answer ({reason}).") from error
        content = Path(path).read_bytes()
    content = CONVERT.get(entry.get("convert", ""), bytes)(content)
    packed = Path(file).suffix == Path(address).suffix or Path(file).suffix not in COMPRESS
    content = content if packed else COMPRESS[Path(file).suffix](content)
    actual = hashlib.sha256(content).hexdigest()
    if actual != entry["sha256"]:
        raise ValueError(f"{file} as made from {address} has sha256 {actual}, not {entry['sha256']}: refused")
    write_atomically(_cache() / file, lambda temporary: temporary.write_bytes(content))


def _cache() -> Path:
    """Where ``experiments.tasks.data`` looks last."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pfopt" / "data"


def _lines(numbers: list[bytes], train: int, test: int) -> bytes:
    """The first ``train`` and the last ``test`` numbers, one a line."""
    return b"".join(number + b"\n" for number in numbers[:train] + numbers[-test:])
