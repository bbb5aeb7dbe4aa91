"""The demo's picture: the valley of SGD's learning rates, and the loss curves with the phases of our run."""

from __future__ import annotations

from itertools import groupby

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from experiments.common.suboptimality import gap
from experiments.report.demo import TaskResult

# Okabe and Ito's palette, safe for colour-blind readers; dashes and markers tell the methods apart as well.
COLORS = {"pfopt": "#0072B2", "dog": "#D55E00", "grid": "#000000"}
STYLES = {"pfopt": "-", "dog": "--", "grid": ":"}
NAMES = {"pfopt": "ParameterFreeSGD, one run", "grid": "SGD, best learning rate", "dog": "DoG, one run"}
PHASES = {"search": "#56B4E9", "main": "#009E73"}
COLUMNS = 3
HIGHEST = 1e20  # times the smallest gap: what ends higher is on its way to infinity


def draw_demo(results: list[TaskResult]) -> Figure:
    """Two panels per task: final gap against learning rate, and below it gap against gradient evaluations."""
    columns = min(COLUMNS, len(results))
    rows = 2 * -(-len(results) // columns)
    figure = Figure(figsize=(1.0 + 3.3 * columns, 0.6 + 2.0 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for panel in axes.flat:
        panel.set_visible(False)
    for index, result in enumerate(results):
        row, column = divmod(index, columns)
        valley, curves = axes[2 * row, column], axes[2 * row + 1, column]
        valley.set_title(result.task, fontsize=10)
        _draw_valley(valley, result)
        _draw_curves(curves, result)
        for panel in (valley, curves):
            panel.set_visible(True)
            panel.tick_params(labelsize=8)
            if column == 0:
                panel.set_ylabel("f - f*  (network: loss)", fontsize=9)
    handles = [*axes[0, 0].get_lines()[:2], *axes[1, 0].get_lines()]
    seen = {phase for result in results for phase in result.runs["pfopt"].curve.phase}
    handles += [
        Patch(color=c, alpha=0.2, label=f"phase: {name}") for name, c in PHASES.items() if name in seen
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, fontsize=9, frameon=False)
    return figure


def _draw_valley(axes: Axes, result: TaskResult) -> None:
    """Final gap of every learning rate of the grid, diverged ones along the top; our run as a line across."""
    gaps = np.array([gap(value, result.minimum) for value in result.grid.value])
    ours = {method: gap(result.runs[method].value, result.minimum) for method in ("pfopt", "dog")}
    highest = min(HIGHEST * gaps.min(), np.finfo(float).max)
    shown = [g for g in (*gaps, *ours.values()) if g <= highest]
    rates, diverged = result.grid.learning_rate.to_numpy(), gaps > highest
    axes.loglog(
        rates, np.where(diverged, np.nan, gaps), "o-", color="0.45", markersize=3.5, label="SGD, every rate"
    )
    edge = axes.get_xaxis_transform()
    axes.plot(
        rates[diverged],
        np.full(diverged.sum(), 0.96),
        "x",
        color="0.45",
        transform=edge,
        label="SGD, diverged",
    )
    for method, height in ours.items():
        axes.axhline(height, color=COLORS[method], linestyle=STYLES[method], linewidth=1.8)
    axes.set_ylim(min(shown) / 2, max(shown) * 4)
    axes.set_xlabel("learning rate of SGD", fontsize=9)


def _draw_curves(axes: Axes, result: TaskResult) -> None:
    """Gap of the iterate that each method would return, against gradients spent."""
    for method, name in NAMES.items():
        curve = result.runs[method].curve
        gaps = [gap(value, result.minimum) for value in curve.value]
        line, color = STYLES[method], COLORS[method]
        axes.semilogy(curve.num_grad_evals, gaps, line, color=color, linewidth=1.5, label=name)
    shade_phases(axes, result.runs["pfopt"].curve)
    axes.set_xlabel("gradient evaluations of one run", fontsize=9)
    axes.margins(x=0)


def shade_phases(axes: Axes, curve: pd.DataFrame) -> None:
    """Shade every stretch of one phase."""
    start = 0
    for phase, stretch in groupby(
        zip(curve.phase, curve.num_grad_evals, strict=True), key=lambda item: item[0]
    ):
        end = [count for _, count in stretch][-1]
        axes.axvspan(start, end, color=PHASES.get(phase, "none"), alpha=0.2, linewidth=0)
        start = end
