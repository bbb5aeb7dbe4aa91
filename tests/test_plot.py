"""Pictures show what an optimizer has tried."""

import sys
from dataclasses import replace
from typing import Any

import pytest

import pfopt.plot
from pfopt import Card, GroupCard, ProbeRecord, Status

PROBES = [
    ProbeRecord(2, 0, 0.1, 16, 2.0, 0.1 * 2.0 * 16, True, 3.0),  # a straight line
    ProbeRecord(2, 4, 1.6, 16, 2.0, 1.6 * 2.0 * 4, False, 9.0),  # a random walk
]
CARD = Card((GroupCard("SGD", {}, 0.1, 0.2, 1.0), GroupCard("SGD", {}, None, 0.4, None)), 0.5, 2, 32)


class Optimizer:
    def __init__(self, probes: list[ProbeRecord], phase: str, plan: dict[str, Any] | None = None) -> None:
        self.probes, self.phase = probes, phase
        self.param_groups = [{"plan": plan or {"name": "practical"}}]

    def history(self) -> list[ProbeRecord]:
        return self.probes

    def status(self) -> Status:
        return Status(self.phase, len(self.probes), 100, 900, 0.7, 1.0, 1.0, "")


def points(axes: Any) -> dict[tuple[float, float], int]:
    """Every scattered point, and the number of its collection."""
    return {
        tuple(point): place
        for place, each in enumerate(axes.collections)
        for point in each.get_offsets().tolist()
    }


@pytest.mark.parametrize("phase", ["search", "main"])
def test_history(phase: str) -> None:
    figure = pfopt.plot.history(Optimizer(PROBES, phase))
    tried, walked, losses = figure.axes
    lines: list[Any] = [(line.get_xdata(), line.get_ydata(), line.get_color()) for line in tried.lines[:2]]
    assert [(list(x), list(y)) for x, y, _ in lines] == [([0, 16], [0.1, 0.1]), ([16, 32], [1.6, 1.6])]
    assert lines[0][2] != lines[1][2]
    assert list(points(walked)) == [(0.1, pytest.approx(4.0)), (1.6, pytest.approx(1.0))]
    assert points(losses) == {(0.1, 3.0): 0, (1.6, 9.0): 1}
    assert losses.get_yscale() == "log"
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    now = ["main run", "step size now"] if phase == "main" else []
    assert labels == ["certified", "rejected", *now, "certificate"]
    silent = [probe._replace(mean_value=None) for probe in PROBES]
    assert len(pfopt.plot.history(Optimizer(silent, phase)).axes) == 2
    falling = [probe._replace(mean_value=-1.0) for probe in PROBES]
    assert pfopt.plot.history(Optimizer(falling, phase)).axes[2].get_yscale() == "linear"


@pytest.mark.parametrize(
    ("plan", "limit"),
    [
        ({"name": "practical"}, 1.5**0.5),
        ({"name": "certified", "alpha": 4.0, "lipschitz": None}, 2.0),
        ({"name": "certified", "alpha": 4.0, "lipschitz": 1.0}, None),
    ],
)
def test_the_certificate_is_a_line(plan: dict[str, Any], limit: float | None) -> None:
    walked = pfopt.plot.history(Optimizer(PROBES, "main", plan)).axes[1]
    assert [line.get_ydata()[0] for line in walked.lines] == ([] if limit is None else [pytest.approx(limit)])  # type: ignore[index]


@pytest.mark.parametrize("highest", [0.11, 0.4, 3.0, 1e3, 1e12, 1e-9])
def test_ticks_can_be_read(highest: float) -> None:
    probes = [PROBES[0], PROBES[1]._replace(step_size=highest, mean_value=highest)]
    figure = pfopt.plot.history(Optimizer(probes, "search"))
    figure.canvas.draw()
    for axes in figure.axes[1:]:
        shown = [label.get_text() for label in axes.get_xticklabels() if label.get_text()]
        low, high = axes.get_xlim()
        inside = [label for label in shown if low <= float(label.replace("\N{MINUS SIGN}", "-")) <= high]
        assert 2 <= len(inside) <= 7
        assert all("mathdefault" not in label for label in shown)


def test_history_needs_a_probe() -> None:
    with pytest.raises(ValueError, match="history needs a finished probe"):
        pfopt.plot.history(Optimizer([], "search"))


def test_card() -> None:
    (axes,) = pfopt.plot.card(CARD).axes
    assert points(axes) == {(0.1, 0): 0, (0.2, 0): 1, (0.4, 1): 1}
    assert [label.get_text() for label in axes.get_yticklabels()] == ["0: SGD", "1: SGD"]
    assert axes.get_title() == str(CARD).splitlines()[0]
    unknown = replace(CARD, groups=(GroupCard("SGD", {}, None, None, None),))
    pfopt.plot.card(unknown).canvas.draw()


def test_an_optimizer_of_torch_is_drawn() -> None:
    torch, pfopt_torch = pytest.importorskip("torch"), pytest.importorskip("pfopt.torch")
    x = torch.nn.Parameter(torch.ones(3))
    optimizer = pfopt_torch.ParameterFreeSGD([x], 400)
    for _ in range(100):
        x.grad = x.detach() * 2
        optimizer.step()
    figure = pfopt.plot.history(optimizer)
    figure.canvas.draw()
    assert len(points(figure.axes[1])) == len(optimizer.history())
    pfopt.plot.card(optimizer.card()).canvas.draw()


def test_without_matplotlib_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install 'pfopt\[plot\]'"):
        pfopt.plot.card(CARD)
