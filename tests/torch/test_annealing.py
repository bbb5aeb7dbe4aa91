"""The main run's points: between iterate and average, and of what moves each coordinate."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import pfopt
from pfopt.core.config import PRACTICAL
from pfopt.torch import ParameterFree, ParameterFreeSGD
from pfopt.torch.base import ParameterFreeOptimizer

BUDGET = 400
TARGET = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)


def run(optimizer: ParameterFreeOptimizer, param: torch.Tensor, scale: torch.Tensor | float = 1.0) -> None:
    """Least absolute deviations, after a change of units by ``scale``, with recorded noise."""
    noise = torch.Generator().manual_seed(0)
    for _ in range(BUDGET):
        optimizer.zero_grad()
        draw = 0.3 * torch.randn(3, generator=noise, dtype=torch.float64)
        (scale * param - TARGET).abs().sum().backward()
        assert param.grad is not None
        param.grad += scale * draw
        optimizer.step()


def test_gradients_are_taken_between_the_iterate_and_the_average() -> None:
    """z is told from the point and the average, moved by hand, and the next point is where the two say."""
    param = torch.nn.Parameter(torch.zeros(3, dtype=torch.float64))
    optimizer = ParameterFreeSGD([param], BUDGET, plan=pfopt.Practical(scope="global"))
    noise = torch.Generator().manual_seed(0)
    while optimizer.status().phase != "main":
        param.grad = param.detach() - TARGET + torch.randn(3, generator=noise, dtype=torch.float64)
        optimizer.step()
    length = optimizer.status().steps_left
    assert length is not None
    for step in range(length - 1):
        before, share = (
            PRACTICAL.beta
            + (PRACTICAL.last_beta - PRACTICAL.beta) * max(0.0, 1 - (1 - taken / length) / PRACTICAL.rise)
            for taken in (step, step + 1)
        )
        average = optimizer.state[param]["average"].clone()
        z = param.detach() + before / (1 - before) * (param.detach() - average)
        if 3 * step == 2 * length or step == length - 9:
            param.grad = torch.full_like(param, torch.nan)  # refused, and z stays where it was
            optimizer.step()
        else:
            grad = param.detach() - TARGET + torch.randn(3, generator=noise, dtype=torch.float64)
            param.grad = grad.clone()
            optimizer.step()
            z -= optimizer.status().step_size * grad
        after = optimizer.state[param]["average"]
        torch.testing.assert_close(param.detach(), z + share * (after - z), rtol=1e-9, atol=1e-12)


def test_units_of_a_coordinate_matter_little() -> None:
    """One step size for all cannot serve coordinates whose units differ by 2^4, and step sizes by 2^8."""
    scale = torch.tensor([1.0, 2.0**-2, 2.0**2], dtype=torch.float64)
    gaps = {}
    scopes: list[Any] = ["auto", "tensor"]
    for scope in scopes:
        param = torch.nn.Parameter(torch.zeros(3, dtype=torch.float64))
        run(ParameterFreeSGD([param], BUDGET, plan=pfopt.Practical(scope=scope)), param, scale)
        gaps[scope] = float((scale * param.detach() - TARGET).abs().sum())
    assert gaps["auto"] < 0.2 * gaps["tensor"]


def test_flat_coordinates_that_come_far_do_not_certify_the_steep_ones() -> None:
    """Features in units from 1/30 to 100, as raw tables have them: the steep ones bound the whole's step."""
    draw = torch.Generator().manual_seed(1)
    features = torch.randn(500, 4, generator=draw, dtype=torch.float64)
    features = features @ torch.diag(torch.tensor([100.0, 30.0, 1.0, 1 / 30], dtype=torch.float64))
    solution = torch.tensor([0.01, -0.02, 1.0, 30.0], dtype=torch.float64)
    targets = features @ solution
    param = torch.nn.Parameter(torch.zeros(4, dtype=torch.float64))
    optimizer = ParameterFreeSGD([param], 4000)
    for _ in range(4000):
        rows = torch.randint(500, (16,), generator=draw)
        optimizer.zero_grad()
        (features[rows] @ param - targets[rows]).square().mean().backward()
        optimizer.step()
    assert (features @ param.detach() - targets).square().mean() < 1e-3 * targets.square().mean()


@pytest.mark.parametrize("anneal", ["averaging", "linear"])
@pytest.mark.parametrize("based", [False, True])
def test_every_kind_of_annealing_converges(based: bool, anneal: Any) -> None:
    param, plan = torch.nn.Parameter(torch.zeros(3, dtype=torch.float64)), pfopt.Practical(anneal=anneal)
    if based:
        run(ParameterFree(torch.optim.SGD([param]), BUDGET, plan=plan), param)
    else:
        run(ParameterFreeSGD([param], BUDGET, plan=plan), param)
    assert (param.detach() - TARGET).abs().max() < 0.3


def test_a_base_keeps_neither_squares_nor_an_average() -> None:
    param = torch.nn.Parameter(torch.zeros(3, dtype=torch.float64))
    optimizer = ParameterFree(torch.optim.Adam([param]), BUDGET)
    run(optimizer, param)
    assert set(optimizer.state[param]) == {"anchor", "base", "base_anchor"}
    assert optimizer.state[param]["base_anchor"] == {}
    assert (param.detach() - TARGET).abs().max() < 0.3
