"""What the runs say: figures over those of the defaults, by switch and group."""

from __future__ import annotations

import math
from typing import Any, cast

import numpy as np
import pandas as pd

from experiments.common.frames import where
from experiments.common.suboptimality import CLIP
from experiments.studies.ablation.switches import CONTROL, GROUPS
from experiments.studies.unseen import OUTPUTS as UNSEEN
from experiments.tasks.exact import ALL

NOTABLE = math.log(1.1)  # change of one task
NOTABLE_SHARE = 0.02  # likewise, of the share missed


def figures(table: pd.DataFrame) -> pd.DataFrame:
    """Every run beside its default: the log ratio of each figure, or the difference of the shares missed."""
    table = table.assign(where=table.group)
    lanes = table.group == "lanes"
    sizes = table.batch_size.astype(int)
    table.loc[lanes, "where"] = [
        "lanes, exact" if size == ALL else f"lanes, batches of {size}" for size in sizes[lanes]
    ]
    key = ["where", "task", "batch_size", "budget", "seed"]
    pairs = table[table.variant != ""].merge(table[table.variant == ""], on=key, suffixes=("", "_default"))
    deep = where(pairs, group=GROUPS[1:])
    parts = [_ratios(pairs, "value", ""), _ratios(deep, "held_out", ", held out")]
    losses = where(pairs, group=("flat", "unseen", "adamw"))
    if len(losses):
        parts.append(_missed(losses, table))
    return cast(pd.DataFrame, pd.concat(parts, ignore_index=True))


def _ratios(pairs: pd.DataFrame, name: str, title: str) -> pd.DataFrame:
    default = pairs[f"{name}_default"]
    good = pairs[(default > 0) & (pairs[name] > 0) & np.isfinite(default)]
    change = np.log(good[name] / good[f"{name}_default"])
    return pd.DataFrame(
        {
            "where": good["where"] + title,
            "variant": good.variant,
            "task": good.task,
            "change": change,
            "log": True,
        }
    )


def _missed(pairs: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """Share of (initial - best) that a run missed, less the default's; best is the lowest loss ever seen."""
    problems = pd.DataFrame(table[table.group != "lanes"], columns=["task", "seed", "value"])
    seen = pd.concat([problems, _recorded()])
    best = seen.groupby(["task", "seed"]).value.min().rename("best")
    pairs = pairs.join(best, on=["task", "seed"])
    reach = pairs.initial - pairs.best
    change = ((pairs.value - pairs.value_default) / reach).clip(-1.0, 1.0)
    return pd.DataFrame(
        {
            "where": pairs["where"] + ", share missed",
            "variant": pairs.variant,
            "task": pairs.task,
            "change": change,
            "log": False,
        }
    )


def _recorded() -> pd.DataFrame:
    """Losses of all methods at their full length."""
    table = pd.concat(map(pd.read_csv, UNSEEN.values())).rename(
        columns={"problem": "task", "training": "value"}
    )
    return cast(pd.DataFrame, table[["task", "seed", "value"]])


def summary(changes: pd.DataFrame) -> pd.DataFrame:
    """One row per switch and group."""
    keys = ["where", "log", "variant", "task"]
    tasks = cast(pd.DataFrame, changes.groupby(keys).change.mean().reset_index())
    is_control = tasks.variant.str.startswith(CONTROL)
    controls = cast(pd.DataFrame, tasks[is_control])
    spread = controls.assign(spread=controls.change.abs()).groupby(["where", "task"]).spread.max()
    tasks = cast(pd.DataFrame, tasks.join(spread, on=["where", "task"]))
    means = controls.assign(change=_clipped(controls)).groupby(["where", "variant"]).change.mean().abs()
    floors = means.groupby("where").max()
    rows = [_row(key, part, floors) for key, part in tasks.groupby(["where", "log", "variant"], sort=False)]
    return pd.DataFrame(rows)


def _clipped(tasks: pd.DataFrame) -> Any:
    return np.clip(tasks.change, -math.log(CLIP), math.log(CLIP))


def _row(key: Any, part: pd.DataFrame, floors: Any) -> dict[str, Any]:
    place, is_log, variant = key
    shown = math.exp if is_log else float
    notable = NOTABLE if is_log else NOTABLE_SHARE
    beyond = part.change.abs() - part.spread.fillna(0.0) > notable
    worst, best = part.loc[part.change.idxmax()], part.loc[part.change.idxmin()]
    mean = cast(float, _clipped(part).mean())
    return {
        "group": place,
        "variant": variant,
        "figure": "ratio" if is_log else "difference",
        "tasks": len(part),
        "mean": round(shown(mean), 4),
        "standard_error": round(float(_clipped(part).std() / math.sqrt(len(part))), 4),
        "control": round(shown(floors.get(place, math.nan)), 4),
        "best": _rounded(shown(min(best.change, 700.0))),
        "best_task": best.task,
        "worst": _rounded(shown(min(worst.change, 700.0))),
        "worst_task": worst.task,
        "worse_beyond_control": int((beyond & (part.change > 0)).sum()),
        "better_beyond_control": int((beyond & (part.change < 0)).sum()),
    }


def _rounded(number: float) -> float:
    return float(f"{number:.4g}")
