"""Small table helpers with plain types: rows by value, groups, records."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import pandas as pd


def where(frame: pd.DataFrame, **wanted: Any) -> pd.DataFrame:
    """The rows whose columns equal the values; a list or tuple allows several."""
    mask = pd.Series(True, frame.index)
    for column, value in wanted.items():
        mask &= frame[column].isin(value if isinstance(value, list | tuple) else [value])
    return cast(pd.DataFrame, frame[mask])


def groups(frame: pd.DataFrame, *keys: str) -> Iterator[tuple[tuple[Any, ...], pd.DataFrame]]:
    """Key values and rows of every group, in order of appearance."""
    if len(frame):
        yield from cast(Any, frame.groupby(list(keys), sort=False))


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """One dictionary per row."""
    return cast(Any, frame.to_dict("records"))


def concat(tables: list[pd.DataFrame]) -> pd.DataFrame:
    """The tables below each other; empty if there are none."""
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()
