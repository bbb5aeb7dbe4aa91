"""Pictures of a search, as figures of matplotlib (``pip install 'pfopt[plot]'``), which is imported where one is drawn.

A figure is shown by a notebook, and written by ``figure.savefig("search.png")``.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import TYPE_CHECKING, Protocol

from pfopt.card import Card
from pfopt.status import ProbeRecord, Status

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CERTIFIED = {"color": "#0a6ab8", "marker": "o"}
REJECTED = {"color": "#d9541e", "marker": "x"}


class HasHistory(Protocol):
    """An optimizer of ``pfopt.torch``."""

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
    is a limit on it, √alpha.

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
    for axes in others:
        _draw_by_step_size(axes, probes, [probe.mean_value or 0.0 for probe in probes])
        positive = all((probe.mean_value or 0.0) > 0 for probe in probes)
        axes.set(ylabel="mean loss of the probe", yscale="log" if positive else "linear")
    handles, labels = tried.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
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
        axes.set_xlim(min(known) / 4, max(known) * 4)  # more than a decade, of which the ticks have labels
    axes.set(xscale="log", xlabel="learning rate", ylim=(len(names) - 0.5, -0.5))
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
    axes.set(yscale="log", xlabel="gradients", ylabel="step size")


def _draw_by_step_size(axes: Axes, probes: Sequence[ProbeRecord], values: Sequence[float]) -> None:
    for accepted, look in ((True, CERTIFIED), (False, REJECTED)):
        points = [
            (probe.step_size, value)
            for probe, value in zip(probes, values, strict=True)
            if probe.accepted == accepted
        ]
        axes.scatter(*zip(*points, strict=True) if points else ((), ()), **look)
    axes.set(xscale="log", xlabel="step size")
