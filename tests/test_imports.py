"""Imports go one way: experiments -> pfopt.{torch,optax} -> pfopt.search -> numpy."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# layer -> what its modules may import besides the standard library; the longest matching layer counts
ALLOWED = {
    "pfopt": ("pfopt.minimize", "pfopt.search", "numpy"),
    "pfopt.minimize": ("pfopt.search", "numpy"),
    "pfopt.search": ("pfopt.search", "numpy"),
    "pfopt.torch": ("pfopt.torch", "pfopt.search", "torch", "numpy"),
    "pfopt.optax": ("pfopt.optax", "pfopt.search", "jax", "optax", "numpy"),
}
FORBIDDEN = {"experiments": ("tests", "paper_repro"), "paper_repro": ("tests",)}


def within(module: str, prefixes: tuple[str, ...]) -> bool:
    return any(module == prefix or module.startswith(prefix + ".") for prefix in prefixes)


def module_name(path: Path, root: Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(path: Path, root: Path) -> Iterator[tuple[int, str]]:
    """Line and full name of every import of a file, relative ones and those inside functions included."""
    package = path.relative_to(root).parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join((*base, *([node.module] if node.module else [])))
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)


def allowed(layer: str, name: str) -> bool:
    if layer in FORBIDDEN:
        return not within(name, FORBIDDEN[layer])
    return within(name, ALLOWED[layer]) or name.split(".")[0] in sys.stdlib_module_names


def violations(root: Path) -> list[str]:
    found, layers = [], (*ALLOWED, *FORBIDDEN)
    for path in sorted(path for top in ("pfopt", *FORBIDDEN) for path in root.glob(f"{top}/**/*.py")):
        module = module_name(path, root)
        layer = max((layer for layer in layers if within(module, (layer,))), key=len)
        for line, name in imported(path, root):
            if not allowed(layer, name):
                found.append(f"{path.relative_to(root)}:{line}: {layer} may not import {name}")
    return found


def test_no_import_goes_sideways() -> None:
    assert list(ROOT.glob("pfopt/search/*.py"))
    assert violations(ROOT) == []


@pytest.mark.parametrize(
    ("file", "statement"),
    [
        ("pfopt/__init__.py", "import torch"),
        ("pfopt/__init__.py", "from pfopt.torch import optimizer"),
        ("pfopt/minimize.py", "from . import torch"),
        ("pfopt/minimize.py", "import scipy.optimize"),
        ("pfopt/search/plan.py", "import jax.numpy as jnp"),
        ("pfopt/search/plan.py", "from pfopt.minimize import minimize"),
        ("pfopt/search/plan.py", "from ..minimize import minimize"),
        ("pfopt/search/plan.py", "def f():\n    import torch"),
        ("pfopt/search/plan.py", "import numpyro"),
        ("pfopt/torch/optimizer.py", "import jax"),
        ("pfopt/torch/optimizer.py", "from ..optax import transform"),
        ("pfopt/torch/optimizer.py", "from pfopt import optax"),
        ("pfopt/torch/optimizer.py", "def f():\n    if 1:\n        from pfopt.minimize import minimize"),
        ("pfopt/optax/transform.py", "import torch"),
        ("pfopt/optax/kernels.py", "from pfopt.torch.kernels import move"),
        ("pfopt/torch/kernels.py", "import experiments.tasks"),
        ("experiments/runner.py", "from tests import problems"),
    ],
)
def test_a_seeded_violation_is_caught(tmp_path: Path, file: str, statement: str) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text(statement + "\n", encoding="utf-8")
    (found,) = violations(tmp_path)
    assert found.startswith(f"{file}:{len(statement.splitlines())}: ")


@pytest.mark.parametrize(
    ("file", "statement"),
    [
        ("pfopt/__init__.py", "from pfopt.minimize import minimize as minimize"),
        ("pfopt/minimize.py", "from .search import plan"),
        ("pfopt/search/plan.py", "import math, numpy.typing\nfrom . import state\nfrom .state import Config"),
        ("pfopt/torch/optimizer.py", "import torch.nn\nfrom ..search import plan\nfrom . import kernels"),
        ("pfopt/optax/transform.py", "import jax, optax\nfrom pfopt.search import plan"),
        ("experiments/runner.py", "import torch\nfrom pfopt.torch import ParameterFreeSGD"),
    ],
)
def test_what_the_architecture_allows_passes(tmp_path: Path, file: str, statement: str) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text(statement + "\n", encoding="utf-8")
    assert violations(tmp_path) == []


def test_pfopt_loads_numpy_and_nothing_heavier() -> None:
    code = "import sys, pfopt; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = set(answer.stdout.split())
    assert {"numpy", "pfopt"} <= loaded
    assert not loaded & {"torch", "jax", "jaxlib", "optax", "scipy", "pandas", "matplotlib", "experiments"}
