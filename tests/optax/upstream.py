"""optax's own tests, taken from the installed wheel and aimed at our transformations; nothing is copied.

Each test module picks its optimizers from a module-level table that decorators read while the class is made.
So the module is parsed, the table is replaced just before the first class, and the result is executed under a
new name.
"""

import ast
import importlib.util
import sys
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import optax


def load(name: str, alias: str, tables: dict[str, Any], keep: tuple[str, ...] = ()) -> ModuleType:
    """Execute ``optax.<name>`` with other tables.

    Args:
        name: the module, for example "contrib._common_test".
        alias: what to call it here.
        tables: module-level names and what they hold while the test classes are made.
        keep: classes to keep; all of them if empty.
    """
    spec = importlib.util.find_spec(f"optax.{name}")
    assert spec is not None
    assert spec.origin is not None
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    dropped = [node for node in classes if keep and node.name not in keep]
    tree.body = [node for node in tree.body if node not in dropped]
    first = next(place for place, node in enumerate(tree.body) if isinstance(node, ast.ClassDef))
    tree.body[first:first] = ast.parse("globals().update(_TABLES)").body
    module = ModuleType(alias)
    module.__dict__.update(__file__=spec.origin, _TABLES=tables)
    sys.modules[alias] = module
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # optax's own, about its own
        exec(compile(ast.fix_missing_locations(tree), spec.origin, "exec"), module.__dict__)
    return module


def rows(**entries: Any) -> tuple[dict[str, Any], ...]:
    """Rows of optax's tables, from ``name=(factory, kwargs)``; the factories are put where optax looks."""
    found = []
    for name, (factory, kwargs) in entries.items():
        for module in (optax.contrib, importlib.import_module("optax._src.alias")):
            setattr(module, name, factory)
        found.append({"opt_name": name, "opt_kwargs": kwargs})
    return tuple(found)
