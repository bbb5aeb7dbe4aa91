"""Ids of runs: stable, and different whenever specification, code, data or versions are."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from experiments.engine import code_hash as sources
from experiments.engine import execute as runner
from experiments.engine.code_hash import closure
from experiments.engine.spec import RunSpec
from experiments.methods.registry import METHODS, Method

SPEC = RunSpec("quick", "diabetes-ridge", "dog", 0, 100)


def test_ids_do_not_depend_on_the_order_of_arguments() -> None:
    one = replace(SPEC, method="sgd", kwargs={"learning_rate": 0.1, "momentum": 0.9})
    other = replace(SPEC, method="sgd", kwargs={"momentum": 0.9, "learning_rate": 0.1})
    assert one.canonical_json() == other.canonical_json()
    assert runner.run_id(one) == runner.run_id(other)


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"budget": 200}, {"task": "diabetes-lad"}, {"method": "ldog"}, {"scale": "large"}]
)
def test_every_field_counts(change: dict[str, object]) -> None:
    assert runner.run_id(replace(SPEC, **change)) != runner.run_id(SPEC)  # type: ignore[arg-type]


def test_code_is_followed_through_imports_and_no_further() -> None:
    ours, dog = closure(METHODS["pfopt"].modules), closure(METHODS["dog"].modules)
    assert {"pfopt.torch", "pfopt.core.main_run", "experiments.methods.run"} <= set(ours)
    assert "experiments.methods.run" in dog
    assert not [name for name in dog if name.startswith("pfopt")]


@pytest.mark.parametrize(
    ("old", "new", "changes"),
    [
        (rb"\Z", b"FACTOR = 2\n", True),
        (rb"\Z", b"def name() -> str:\n    return 'dog'\n", True),
        (rb"\Z", b"# a comment\n", False),
        (rb'\A"""', b'"""Other words. ', False),
    ],
)
def test_code_counts_and_prose_does_not(
    old: bytes, new: bytes, changes: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = replace(SPEC, method="prodigy")
    before, other_before = runner.run_id(SPEC), runner.run_id(other)
    original = sources._file_of("experiments.methods.dog")
    assert original is not None
    changed = tmp_path / "dog.py"
    text, count = re.subn(old, new, original.read_bytes())
    assert count == 1
    changed.write_bytes(text)
    find = sources._file_of.__wrapped__
    monkeypatch.setattr(sources, "_file_of", lambda name: changed if name.endswith(".dog") else find(name))
    sources.code_hash.cache_clear()
    try:
        assert (runner.run_id(SPEC) != before) == changes
        assert runner.run_id(other) == other_before
    finally:
        sources.code_hash.cache_clear()


def test_a_new_version_of_a_package_changes_the_id(monkeypatch: pytest.MonkeyPatch) -> None:
    before = runner.run_id(SPEC)
    monkeypatch.setattr(Method, "versions", lambda self: {"dog-optimizer": "9"})
    assert runner.run_id(SPEC) != before
