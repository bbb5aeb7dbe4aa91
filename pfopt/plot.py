"""Pictures of a search, as figures of matplotlib (``pip install 'pfopt[plot]'``), which is imported where one is drawn.

A figure is shown by a notebook, and written by ``figure.savefig("search.png")``.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log10, sqrt
from typing import TYPE_CHECKING, Any, Literal, Protocol

from pfopt.card import Card
from pfopt.core.config import PRACTICAL
from pfopt.status import ProbeRecord, Status

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CERTIFIED = {"color": "#0a6ab8", "marker": "o"}
REJECTED = {"color": "#d9541e", "marker": "x"}


class HasHistory(Protocol):
    """An optimizer of ``pfopt.torch``."""

    param_groups: list[dict[str, Any]]

    def history(self) -> list[ProbeRecord]:
        """Every finished probe."""
        ...

    def status(self) -> Status:
        """Where it stands."""
        ...


def history(optimizer: HasHistory) -> Figure:
    """What an optimizer has tried: step sizes over gradients, what certified each, and losses where it was told them.

    The second part shows how far a probe came beside a random walk of as many steps, r̄/(η √Σ‖g‖²): 1 is noise, or a
    step size at which the run goes back and forth, and the root of the number of steps a straight line. The certificate
    is a limit on it, √alpha, which is drawn where it is one number.

    Args:
        optimizer: of ``pfopt.torch``, at any time.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: no probe has finished yet.
    """
    probes, status = optimizer.history(), optimizer.status()
    if not probes:
        raise ValueError("history needs a finished probe, got an optimizer that has none yet")
    told = all(probe.mean_value is not None for probe in probes)
    figure = _figure(10 if told else 7.5)
    tried, walked, *others = figure.subplots(1, 3 if told else 2)
    _draw_step_sizes(tried, probes, status)
    walks = [
        probe.distance / (probe.step_size * probe.lipschitz * sqrt(probe.steps)) if probe.lipschitz else 0.0
        for probe in probes
    ]
    _draw_by_step_size(walked, probes, walks)
    walked.set(ylabel="distance over a random walk's", ylim=0)
    limit = _limit(optimizer.param_groups[0]["plan"])
    if limit is not None:
        tried.plot([], [], color="0.6", linestyle="--", label="certificate")  # for the legend
        walked.axhline(limit, color="0.6", linestyle="--", zorder=0)
    for axes in others:
        _draw_by_step_size(axes, probes, [probe.mean_value or 0.0 for probe in probes])
        axes.set(ylabel="mean loss of the probe")
        if all((probe.mean_value or 0.0) > 0 for probe in probes):
            _make_log(axes, "y")
    handles, labels = tried.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5, frameon=False)
    return figure


def card(found: Card) -> Figure:
    """The largest certified and the smallest rejected learning rate of each group.

    Args:
        found: of ``opt.card()`` or ``pfopt.torch.find_lr``.

    Raises:
        ImportError: matplotlib is not installed.
    """
    figure = _figure(6, 1.6 + 0.4 * len(found.groups))
    axes: Axes = figure.subplots()
    names = [f"{place}: {group.optimizer}" for place, group in enumerate(found.groups)]
    limits = [(group.certified, group.rejected) for group in found.groups]
    for label, look, rates in zip(
        ("certified", "rejected"), (CERTIFIED, REJECTED), zip(*limits, strict=True), strict=True
    ):
        points = [(rate, place) for place, rate in enumerate(rates) if rate is not None]
        axes.scatter(*zip(*points, strict=True) if points else ((), ()), label=label, zorder=2, **look)
    for place, (least, most) in enumerate(limits):
        if least is not None and most is not None:
            axes.plot([least, most], [place, place], color="0.8", zorder=1)
    known = [rate for pair in limits for rate in pair if rate is not None]
    if known:
        axes.set_xlim(min(known) / 4, max(known) * 4)
        _make_log(axes, "x")
    axes.set(xlabel="learning rate", ylim=(len(names) - 0.5, -0.5))
    axes.set_yticks(range(len(names)), names)
    axes.set_title(str(found).partition("\n")[0], fontsize="medium")
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure


def _figure(width: float, height: float = 3.2) -> Figure:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("pfopt.plot needs matplotlib: pip install 'pfopt[plot]'") from error
    return Figure(figsize=(width, height), layout="constrained")


def _draw_step_sizes(axes: Axes, probes: Sequence[ProbeRecord], status: Status) -> None:
    spent = 0
    for probe in probes:
        look = CERTIFIED if probe.accepted else REJECTED
        axes.plot([spent, spent + probe.steps], [probe.step_size] * 2, color=look["color"], linewidth=3)
        spent += probe.steps
    for label, look in (("certified", CERTIFIED), ("rejected", REJECTED)):
        axes.plot([], [], color=look["color"], linewidth=3, label=label)
    if status.phase != "search":
        axes.axvspan(spent, status.step, color="0.93", label="main run")
        axes.plot([status.step], [status.step_size], "k*", label="step size now")
    axes.set(xlabel="gradients", ylabel="step size")
    _make_log(axes, "y")


def _draw_by_step_size(axes: Axes, probes: Sequence[ProbeRecord], values: Sequence[float]) -> None:
    for accepted, look in ((True, CERTIFIED), (False, REJECTED)):
        points = [
            (probe.step_size, value)
            for probe, value in zip(probes, values, strict=True)
            if probe.accepted == accepted
        ]
        axes.scatter(*zip(*points, strict=True) if points else ((), ()), **look)
    axes.set(xlabel="step size")
    _make_log(axes, "x")


def _limit(plan: dict[str, Any]) -> float | None:
    """The √alpha of a plan, as a parameter group has it; None where alpha depends on the range."""
    if plan["name"] == "practical":
        return sqrt(PRACTICAL.alpha)
    return sqrt(plan["alpha"]) if plan["lipschitz"] is None else None


def _make_log(axes: Axes, name: Literal["x", "y"]) -> None:
    """A logarithmic axis with ticks in plain numbers, few enough to be read, however many decades it has."""
    from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

    axes.set(**{f"{name}scale": "log"})
    axis, (low, high) = (axes.xaxis, axes.get_xlim()) if name == "x" else (axes.yaxis, axes.get_ylim())
    decades = log10(high / low)
    mantissas = (1.0, 2.0, 5.0) if decades < 1.5 else (1.0, 3.0) if decades < 3 else (1.0,)
    axis.set_major_locator(MaxNLocator(4) if decades < 0.8 else LogLocator(subs=mantissas, numticks=6))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())
