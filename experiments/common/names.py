"""Names that a user types: tasks, methods, suites."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches


def check_names(names: Iterable[str], valid: Sequence[str], what: str) -> None:
    """Raise a ``ValueError`` with the nearest and all valid names, unless every name is valid."""
    unknown = [name for name in names if name not in valid]
    if not unknown:
        return
    near = dict.fromkeys(match for name in unknown for match in get_close_matches(name, valid, cutoff=0.5))
    nearest = f"; nearest: {', '.join(near)}" if near else ""
    raise ValueError(f"unknown {what} {', '.join(unknown)}{nearest}; valid names: {', '.join(valid)}")
