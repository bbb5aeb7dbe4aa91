"""A table of a report, as rows of text."""

from __future__ import annotations

import math
from typing import NamedTuple


class Table(NamedTuple):
    """A table with a title, a note below it, its header and its rows."""

    title: str
    note: str
    header: list[str]
    rows: list[list[str]]


def number(value: float) -> str:
    """Three significant digits."""
    if math.isnan(value):
        return ""
    return "∞" if math.isinf(value) else f"{value:.3g}"
