"""The tables of docs/watch.md, between its markers, from ``experiments/results/control_*.csv``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from experiments.common.atomic_files import write_text
from experiments.common.frames import groups, records, where
from experiments.common.suboptimality import geometric_mean

ROOT = Path(__file__).resolve().parents[3]
PAGE, RESULTS = ROOT / "docs" / "watch.md", ROOT / "experiments" / "results"


def write() -> None:
    """Fill in what there are results for."""
    text = PAGE.read_text()
    for name, make in TABLES.items():
        path = RESULTS / f"control_{name}.csv"
        if path.is_file():
            part = "curves" if name == "gains" else name
            begin = f"<!-- {name}: python -m experiments study control --parts {part} -->\n"
            end = f"<!-- end of {name} -->"
            before, _, rest = text.partition(begin)
            _, _, after = rest.partition(end)
            text = f"{before}{begin}{make(pd.read_csv(path))}{end}{after}"
    write_text(PAGE, text)


def markdown(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table whose first column is text."""
    rule = "|" + "---|" + "---:|" * (len(heads) - 1)
    return (
        "\n".join(
            ["| " + " | ".join(heads) + " |", rule, *("| " + " | ".join(line) + " |" for line in lines)]
        )
        + "\n"
    )


def false_alarms(table: pd.DataFrame) -> str:
    """Noises by length and rate."""
    columns = [(rate, steps) for rate in (0.05, 0.2) for steps in (64, 256, 1024)]
    heads = ["noise", *(f"{steps} values at {rate}" for rate, steps in columns)]
    lines = []
    for (noise,), part in groups(table, "noise"):
        cells = [where(part, rate=rate, steps=steps).measured.iloc[0] for rate, steps in columns]
        lines.append([noise, *(f"{cell:.3f}" for cell in cells)])
    return markdown(heads, lines)


def power(table: pd.DataFrame) -> str:
    """Noises by the fall from end to end."""
    falls = sorted(set(table.fall))
    lines = []
    for (noise,), part in groups(table, "noise"):
        rows = [records(where(part, fall=fall))[0] for fall in falls]
        cells = (
            f"{row['found']:.2f}"
            + (f" ({row['median_step']:.0f})" if np.isfinite(row["median_step"]) else "")
            for row in rows
        )
        lines.append([noise, *cells])
    return markdown(["noise", *(f"{fall:g}" for fall in falls)], lines)


def plateaus(table: pd.DataFrame) -> str:
    """Curves by noise."""
    lines = []
    for row in records(table):
        step = f"{row['median_step']:.0f}" if np.isfinite(row["median_step"]) else ""
        lines.append([row["curve"], f"{row['noise']:g}", f"{row['told']:.2f}", step, f"{row['wrong']:.2f}"])
    return markdown(
        ["curve", "noise", "runs told of a plateau", "first at step (median)", "more was to come"], lines
    )


def curves(table: pd.DataFrame) -> str:
    """Rules by suite."""
    lines = []
    for (suite, rule), part in groups(table, "suite", "rule"):
        lines.append([f"{suite}: {rule}", str(len(part)), *_figures(part)])
    return markdown(["suite and rule", "runs", *FIGURES], lines)


def runs(table: pd.DataFrame) -> str:
    """Rules by task and method."""
    lines = []
    for (task, method), part in groups(table, "task", "method"):
        for (rule,), own in groups(part, "rule"):
            kinds = ", ".join(sorted({kind for kind in own.kind.fillna("") if kind}))
            lines.append([f"{task}, {method}: {rule}", *_figures(own), kinds])
    return markdown(["run and rule", *FIGURES, "verdict"], lines)


def gains(table: pd.DataFrame) -> str:
    """Bounds by how much of the run was done."""
    lines = []
    for name, low, high in (
        ("first quarter", 0, 0.25),
        ("second", 0.25, 0.5),
        ("third", 0.5, 0.75),
        ("last", 0.75, 1),
    ):
        finite = pd.DataFrame(table[(table.done > low) & (table.done <= high) & np.isfinite(table.bound)])
        if len(finite):
            held, slack = float((finite.gained <= finite.bound).mean()), finite.bound - finite.gained
            told = [f"{finite.gained.median():.3f}", f"{finite.bound.median():.3f}", f"{slack.median():.3f}"]
            lines.append([name, str(len(finite)), f"{held:.3f}", *told])
    return markdown(
        [
            "looks in the",
            "looks",
            "bound held",
            "gained, median",
            "bound, median",
            "bound less gained, median",
        ],
        lines,
    )


def probes(table: pd.DataFrame) -> str:
    """Batches to accumulate."""
    lines = [
        [row["task"], str(row["batch_size"]), f"{row['measured']:.2g}", f"{row['of_probes']:.2g}"]
        for row in records(table)
    ]
    return markdown(["network", "rows of a batch", "noise over signal at the start", "of the probes"], lines)


FIGURES = ("stopped", "gradients saved", "over the last iterate", "over the best checkpoint", "worst")


def _figures(part: pd.DataFrame) -> list[str]:
    ratios = [f"{geometric_mean(part[name]):.3f}" for name in ("to_end", "to_best")]
    return [
        f"{(part.saved > 0).mean():.2f}",
        f"{part.saved.mean():.2f}",
        *ratios,
        f"{part.to_best.max():.2f}",
    ]


TABLES = {
    "false_alarms": false_alarms,
    "power": power,
    "plateaus": plateaus,
    "curves": curves,
    "gains": gains,
    "probes": probes,
    "runs": runs,
}
