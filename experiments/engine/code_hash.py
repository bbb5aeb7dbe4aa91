"""The source code that a result depends on: what a module imports from this repository, directly or not."""

from __future__ import annotations

import ast
import hashlib
import io
import tokenize
from functools import cache
from importlib.util import find_spec
from pathlib import Path

PACKAGES = ("experiments", "pfopt")


@cache
def code_hash(modules: tuple[str, ...]) -> str:
    """Hash of the modules and of everything in this repository that they import, comments and docstrings aside."""
    digest = hashlib.sha256()
    for name, path in sorted(closure(modules).items()):
        code = _without_prose(path.read_text(encoding="utf-8"))
        digest.update(f"{name}\0{code}\0".encode())
    return digest.hexdigest()


@cache
def _without_prose(source: str) -> str:
    """The lines of a file without comments and docstrings."""
    lines = source.split("\n")  # as the parser counts them
    for node in ast.walk(ast.parse(source)):
        documented = isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
        if documented and ast.get_docstring(node) is not None:
            first, last = node.body[0].lineno, node.body[0].end_lineno or 0
            lines[first - 1 : last] = [""] * (last - first + 1)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    return "\n".join(line.rstrip() for line in lines if line.strip())


def closure(modules: tuple[str, ...]) -> dict[str, Path]:
    """Name and file of every module of this repository that ``modules`` lead to, themselves included."""
    found: dict[str, Path] = {}
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        path = _file_of(name)
        if path is None or name in found:
            continue
        found[name] = path
        waiting += _imported(path)
        parent = name.rpartition(".")[0]
        waiting += [parent] if parent else []
    return found


@cache
def _imported(path: Path) -> list[str]:
    """Modules and attributes that a file imports from this repository; it only uses absolute imports."""
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return [name for name in names if name.split(".")[0] in PACKAGES]


@cache
def _file_of(name: str) -> Path | None:
    """The file of a module; None if the name is that of an attribute, or of a module that is not there yet."""
    try:
        spec = find_spec(name)
    except (ModuleNotFoundError, AttributeError):
        return None
    return Path(spec.origin) if spec is not None and spec.origin else None
