"""The report's pictures, from tables; nothing here reads files."""

from __future__ import annotations

import math
from itertools import cycle, product

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from experiments.common.frames import groups, where
from experiments.common.suboptimality import geometric_mean
from experiments.engine.suite import GRID_B
from experiments.methods.registry import METHODS
from experiments.report.demo_figure import PHASES, shade_phases
from experiments.report.grids import practitioner
from experiments.report.results import Results
from experiments.report.statistics import profile, profile_score

# Okabe and Ito's palette, safe for colour-blind readers; line styles tell what colours repeat.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STYLES = ("-", "--", ":", "-.")
PANELS = 3  # in a row
MAX_RANGE = 1e6  # of a vertical axis


def styles(columns: list[str]) -> dict[str, tuple[str, str]]:
    """Colour and line style of every column."""
    return dict(
        zip(columns, cycle((color, style) for style, color in product(STYLES, PALETTE)), strict=False)
    )


def _width(column: str) -> float:
    """Ours are thick: some twenty lines cross in one picture."""
    return 2.4 if column in METHODS and METHODS[column].role == "ours" else 1.0


def draw_profiles(results: Results) -> Figure:
    """Performance profiles: of the final figure, and of the gradients to the target."""
    figure = Figure(figsize=(10, 5.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    columns = [column for column in results.columns if column != GRID_B]
    judged = results.figures.dropna(subset=results.judged)
    final = {c: {t: geometric_mean(p[results.judged]) for (t,), p in groups(where(judged, column=c), "task")}
             for c in columns}  # fmt: skip
    reached = results.steps_to_target()
    steps = {
        c: {t: p.steps.median() for (t,), p in groups(where(reached, column=c), "task")} for c in columns
    }
    look = styles(results.columns)
    _draw_profile(left, final, look, results.labels)
    left.set_xlabel(f"τ: final {results.suite.judged} within τ of the task's best")
    _draw_profile(right, {column: tasks for column, tasks in steps.items() if tasks}, look, results.labels)
    right.set_xlabel("τ: gradients to the target within τ of the fastest")
    _legend(figure, [left, right])
    return figure


def _draw_profile(
    axes: Axes,
    costs: dict[str, dict[str, float]],
    look: dict[str, tuple[str, str]],
    labels: dict[str, str],
) -> None:
    """Draw the profile of costs by column and task; a task that a column lacks counts as missed."""
    axes.set_xscale("log", base=2)
    axes.set_xticks([1, 2, 4], ["1", "2", "4"])
    axes.set_ylim(-0.03, 1.03)
    axes.set_ylabel("share of the tasks", fontsize=9)
    if not costs:
        return
    table = pd.DataFrame(costs).fillna(math.inf)
    curves = profile(table)
    scores = profile_score(curves)
    for column in curves:
        color, style = look[str(column)]
        label, width = labels[str(column)], _width(str(column))
        axes.step(curves.index, curves[column], style, where="post", color=color, label=label, lw=width)
    best = str(scores.idxmax())
    axes.set_title(f"{len(table)} tasks; largest area: {labels[best]} ({scores.max():.2f})", fontsize=9)


def draw_sensitivity(results: Results) -> Figure:
    """Final figure against SGD's learning rate (a valley) and against our initial step (flat), by task."""
    seed = results.suite.seeds[0]
    lanes = where(results.lanes, seed=seed, output="last") if len(results.lanes) else results.lanes
    tasks = list(dict.fromkeys(results.sensitivity.task)) or [t for (t,), _ in groups(lanes, "task")]
    figure, panels = _panels(len(tasks))
    for axes, task in zip(panels, tasks, strict=False):
        last = where(lanes, task=task) if len(lanes) else lanes
        for (schedule, momentum), valley in groups(last, "schedule", "momentum"):
            usual = (schedule, momentum) == practitioner(results.suite, task)
            color, width = ("0.2", 1.8) if usual else ("0.75", 0.9)
            valley = valley.sort_values("learning_rate")
            label = f"SGD, {schedule}, momentum {momentum:g}"
            axes.plot(valley.learning_rate, valley.figure, ".-", ms=3, color=color, lw=width, label=label)
        ours = where(results.sensitivity, task=task).sort_values("initial_step")
        if len(ours):
            axes.plot(
                ours.initial_step, ours.figure, "o-", color=PALETTE[0], ms=4, label="ours, first step tried"
            )
        for column, color in (("pfopt", PALETTE[0]), ("dog", PALETTE[1])):
            single = where(results.figures, task=task, column=column)
            if len(single) and not (column == "pfopt" and len(ours)):
                level = geometric_mean(single.figure)
                axes.axhline(level, color=color, linestyle="--", label=results.labels[column])
        _scale(axes, [*(last.figure if len(last) else []), *ours.figure])
        axes.set_title(task, fontsize=10)
        axes.set_xscale("log")
        axes.set_xlabel("learning rate, or first step tried", fontsize=8)
    _legend(figure, panels)
    return figure


def draw_curves(results: Results) -> Figure:
    """The first seed's curves by task, our phases shaded; the reference's final figure as a dotted line."""
    seed = results.suite.seeds[0]
    curves = where(results.curves, seed=seed) if len(results.curves) else results.curves
    by_task = {task: own for (task,), own in groups(curves, "task")}
    look, labels, reference = styles(results.columns), results.labels, results.suite.reference
    figure, panels = _panels(len(by_task))
    phases: set[str] = set()
    for axes, (task, own) in zip(panels, by_task.items(), strict=False):
        for (column,), curve in groups(own, "column"):
            color, style = look[column]
            axes.plot(
                curve.num_grad_evals,
                curve[results.judged],
                style,
                color=color,
                lw=_width(column),
                label=labels[column],
            )
        ours = where(own, column="pfopt")
        if len(ours):
            shade_phases(axes, ours)
            phases |= set(ours.phase)
        best = list(where(results.figures, task=task, seed=seed, column=reference)[results.judged])
        if best:
            axes.axhline(best[0], color="0.2", linestyle=(0, (1, 1)), label=f"{labels[reference]}, final")
        _scale(axes, [*own[results.judged], *best])
        axes.set_title(task, fontsize=10)
        axes.set_xlabel("gradient evaluations of one run", fontsize=8)
        axes.margins(x=0)
    _legend(
        figure,
        panels,
        [Patch(color=c, alpha=0.2, label=f"phase: {n}") for n, c in PHASES.items() if n in phases],
    )
    return figure


def _panels(count: int) -> tuple[Figure, list[Axes]]:
    """A figure of so many panels, three in a row."""
    columns = min(PANELS, max(count, 1))
    rows = max(1, -(-count // columns))
    figure = Figure(figsize=(max(0.8 + 3.4 * columns, 8.0), 1.2 + 2.6 * rows), layout="constrained")
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes in panels[count:]:
        axes.set_visible(False)
    for axes in panels:
        axes.tick_params(labelsize=8)
    return figure, panels


def _scale(axes: Axes, values: list[float]) -> None:
    """A logarithmic axis over the finite values, at most ``MAX_RANGE`` above the smallest."""
    finite = np.array([value for value in values if np.isfinite(value) and value > 0])
    axes.set_yscale("log")
    if len(finite):
        axes.set_ylim(finite.min() / 1.6, min(finite.max() * 1.6, finite.min() * MAX_RANGE))


def _legend(figure: Figure, panels: list[Axes], more: list[Patch] | None = None) -> None:
    """One legend for all panels."""
    handles = {line.get_label(): line for axes in panels for line in axes.get_lines() if axes.get_visible()}
    entries = [*handles.values(), *(more or [])]
    labels = [str(entry.get_label()) for entry in entries]
    figure.legend(entries, labels, loc="outside lower center", ncols=3, fontsize=8, frameon=False)
