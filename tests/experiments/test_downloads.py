"""Downloads into the local cache, from a server on this machine."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from rich.console import Console

from experiments.tasks import data
from experiments.tasks import download as downloads

ROWS = b"+1 1:0.5\r\n-1 3:2\r\n"
QUIET = Console(quiet=True)


class Handler(SimpleHTTPRequestHandler):
    """Serves a folder and says nothing."""

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """A server that has the two rows, with line ends of two characters."""
    (tmp_path / "public").mkdir()
    (tmp_path / "public" / "rows").write_bytes(ROWS)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(tmp_path / "public")))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/rows"
    server.shutdown()
    server.server_close()


@pytest.fixture
def list_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Make one file the only one that tasks read; the data folder is empty, the cache too."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PFOPT_DATA", str(tmp_path / "empty"))

    def write(file: str, content: bytes, address: str, **convert: str) -> None:
        entry = {"file": file, "sha256": hashlib.sha256(content).hexdigest(), "url": "https://origin.example"}
        sources = tmp_path / f"{entry['sha256']}.json"  # entries are cached by name
        sources.write_text(json.dumps({"files": [{**entry, "download": address, **convert}]}))
        for module in (data, downloads):
            monkeypatch.setattr(module, "SOURCES", sources)

    return write


def test_the_file_lands_where_the_tasks_look(list_file: Callable[..., None], address: str) -> None:
    list_file("libsvm/tiny.bz2", bz2.compress(ROWS), address)
    downloads.complete(["libsvm/tiny.bz2"], None, QUIET)
    assert data.load_svmlight("tiny", 3)[0].tolist() == [[0.5, 0, 0], [0, 0, 2]]
    list_file("libsvm/tiny.bz2", bz2.compress(ROWS), "http://127.0.0.1:1/gone")
    downloads.complete(["libsvm/tiny.bz2"], None, QUIET)  # from the cache


def test_a_copy_is_converted(list_file: Callable[..., None], address: str) -> None:
    content = gzip.compress(ROWS.replace(b"\r\n", b"\n"), mtime=0)
    list_file("tabular/tiny.gz", content, address, convert="line-feeds")
    downloads.complete(["tabular/tiny.gz"], None, QUIET)
    assert data.verified("tabular/tiny.gz", None).read_bytes() == content


def test_a_wrong_checksum_is_refused_and_leaves_nothing(
    list_file: Callable[..., None], address: str, tmp_path: Path
) -> None:
    list_file("libsvm/tiny.bz2", bz2.compress(b"+1 1:0.25\n"), address)
    with pytest.raises(ValueError, match=rf"libsvm/tiny\.bz2 as made from {address} has sha256 .* refused"):
        downloads.complete(["libsvm/tiny.bz2"], None, QUIET)
    assert not list((tmp_path / "cache").rglob("tiny*"))


@pytest.mark.parametrize("broken", ["http://127.0.0.1:1/gone", "missing"])
def test_without_network_the_message_says_which_file_from_where_and_how_to_pass_it(
    list_file: Callable[..., None], address: str, broken: str
) -> None:
    broken = address + "-gone" if broken == "missing" else broken
    list_file("libsvm/tiny.bz2", b"", broken)
    with pytest.raises(
        data.MissingDataError, match=rf"libsvm/tiny\.bz2 .*origin.*--data-dir.*PFOPT_DATA.*{broken}"
    ):
        downloads.complete(["libsvm/tiny.bz2"], None, QUIET)


def test_every_source_can_be_made() -> None:
    entries = json.loads(data.SOURCES.read_text())["files"]
    converted = [entry["file"] for entry in entries if "download" not in entry]
    assert converted == ["graph/citeseer.npz"]  # from pickles, which nobody should load
    assert all(entry.get("download", "https://").startswith("https://") for entry in entries)
    assert {entry.get("convert") for entry in entries} == {None, *downloads.CONVERT}
    labels = b"var labels=[" + b", ".join(str(i).encode() for i in range(51_000)) + b"];"
    lines = downloads.CONVERT["cifar10-labels"](labels).split()
    assert (len(lines), lines[11_999], lines[12_000]) == (13_000, b"11999", b"50000")
