"""How much a bystander sees of a search that tries step sizes which are far too large."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import pfopt
from pfopt.torch import ParameterFree, ParameterFreeSGD

STEPS = 800
SCALES = np.asarray(
    [1.0, 0.3, 0.1, 0.03]
)  # of a quadratic, on which a step that is too large explodes for many steps
START = np.ones(4)


def loss(x: Any) -> Any:
    """Σ (s_i (x_i − 3))² of numbers of either kind."""
    gap = (x - 3) * (torch.from_numpy(SCALES) if isinstance(x, torch.Tensor) else SCALES)
    return (gap**2).sum()


def losses_of_numpy() -> tuple[list[float], list[pfopt.ProbeRecord]]:
    seen: list[float] = []

    def gradient(x: np.ndarray) -> np.ndarray:
        seen.append(float(loss(x)))
        gap = (x - 3) * SCALES
        return 2 * gap * SCALES

    result = pfopt.minimize(gradient, START.copy(), STEPS)
    return seen, list(result.probes)


def losses_of_torch(make: Callable[..., Any]) -> tuple[list[float], list[pfopt.ProbeRecord]]:
    param = torch.nn.Parameter(torch.from_numpy(START.copy()))
    opt, seen = make([param]), []
    for _ in range(STEPS):
        opt.zero_grad()
        value = loss(param)
        value.backward()
        opt.step()
        seen.append(float(value.detach()))
    return seen, opt.history()


RUNS: dict[str, Callable[[], tuple[list[float], list[pfopt.ProbeRecord]]]] = {
    "numpy": losses_of_numpy,
    "torch": lambda: losses_of_torch(lambda params: ParameterFreeSGD(params, STEPS)),
    "tensors": lambda: losses_of_torch(lambda params: ParameterFreeSGD(params, STEPS, capturable=True)),
    "adam": lambda: losses_of_torch(lambda params: ParameterFree(torch.optim.Adam(params, lr=1.0), STEPS)),
}


@pytest.mark.parametrize("name", RUNS)
def test_a_probe_shows_few_bad_losses_and_then_stands_at_the_anchor(name: str) -> None:
    seen, probes = RUNS[name]()
    start = 0
    assert any(not probe.accepted for probe in probes)
    for probe in probes:
        those = seen[start : start + probe.steps]
        assert sum(value > 2 * seen[0] for value in those) <= 3
        start += probe.steps
    assert seen[-1] < 0.01 * seen[0]
    assert max(seen[start:]) <= 2 * seen[0]
