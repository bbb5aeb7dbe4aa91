"""Imports go one way, and a front end loads its own framework alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def test_imports_go_one_way() -> None:
    """The contracts are in pyproject.toml."""
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache", "--no-logo"]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr


def loaded(statement: str) -> set[str]:
    """The packages, but those of the standard library, that a fresh interpreter has after ``statement``."""
    code = f"import sys; {statement}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(answer.stdout.split()) - set(sys.stdlib_module_names)


def test_pfopt_loads_numpy_alone() -> None:
    before = loaded("pass")
    assert loaded("import pfopt, pfopt.reference") - before == {"numpy", "pfopt"}


@pytest.mark.parametrize("module", ["pfopt.testing", "pfopt.control"])
def test_what_needs_no_framework_loads_none(module: str) -> None:
    assert loaded(f"import {module}") - loaded("pass") == {"numpy", "pfopt"}


@pytest.mark.parametrize(
    ("module", "needed", "other"),
    [
        ("pfopt.torch", {"torch"}, {"jax", "jaxlib", "optax"}),
        ("pfopt.optax", {"jax", "optax"}, {"torch"}),
        ("pfopt.testing.torch", {"torch"}, {"jax", "jaxlib", "optax"}),
        ("pfopt.testing.optax", {"jax", "optax"}, {"torch"}),
    ],
)
def test_a_front_end_loads_its_own_framework_alone(module: str, needed: set[str], other: set[str]) -> None:
    found = loaded(f"import {module}")
    assert needed <= found
    assert not found & (other | {"experiments", "paper_repro", "pandas", "matplotlib"})
