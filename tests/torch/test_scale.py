"""A loss times a number is the same run, down to what the number format can hold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from pfopt.core.records import Outcome
from pfopt.torch import ParameterFree, ParameterFreeSGD

STEPS = 200


def end(make: Callable[[Any], Any], factor: float) -> tuple[torch.Tensor, Any]:
    """Where a run on factor · ‖x − 3‖² ends, and its optimizer."""
    param = nn.Parameter(torch.zeros(10))
    optimizer = make([param])
    for _ in range(STEPS):
        optimizer.zero_grad()
        (factor * (param - 3).square().sum()).backward()
        optimizer.step()
    return param.detach(), optimizer


@pytest.mark.parametrize("power", [-110, -70, -33, -10, 10, 33, 60, 100])
@pytest.mark.parametrize("plan", ["practical", "certified"])
def test_a_loss_times_a_power_of_two_is_the_same_run(power: int, plan: Any) -> None:
    found, optimizer = end(lambda params: ParameterFreeSGD(params, STEPS, plan=plan), 2.0**power)
    plain, other = end(lambda params: ParameterFreeSGD(params, STEPS, plan=plan), 1.0)
    waits = power > 64 and plan == "practical"  # the first gradient cannot be squared: it is left out
    torch.testing.assert_close(found, plain, rtol=1e-5, atol=1e-3 if waits else 1e-6)
    if waits:
        return
    status, plain_status = optimizer.status(), other.status()
    assert status.message == plain_status.message == Outcome.CERTIFIED.message
    assert status.step_size * 2.0**power == pytest.approx(plain_status.step_size, rel=1e-4)
    assert status.lipschitz / 2.0**power == pytest.approx(plain_status.lipschitz, rel=1e-4)
    for record, plain_record in zip(optimizer.history(), other.history(), strict=True):
        assert record.step_size * 2.0**power == pytest.approx(plain_record.step_size, rel=1e-4)


def test_the_unit_is_resumed() -> None:
    _, optimizer = end(lambda params: ParameterFreeSGD(params, 2 * STEPS), 1e-25)
    param = nn.Parameter(torch.zeros(10))
    other = ParameterFreeSGD([param], 2 * STEPS)
    other.load_state_dict(optimizer.state_dict())
    assert other.status() == optimizer.status()


@pytest.mark.parametrize("factor", [1e-20, 1e18, 1e25])
def test_around_a_base_no_success_is_told_of_what_it_cannot_see(factor: float) -> None:
    """AdamW's squares and its eps are its own."""
    found, optimizer = end(lambda params: ParameterFree(torch.optim.AdamW(params), STEPS), factor)
    assert bool(found.isfinite().all())
    assert float((found - 3).square().sum()) <= 90 * (1 + 1e-3)
    moved = float(found.abs().max()) > 1
    assert moved == (optimizer.status().message == Outcome.CERTIFIED.message)


def test_a_tensor_without_entries_is_no_gradient_to_measure() -> None:
    params = [nn.Parameter(torch.zeros(0)), nn.Parameter(torch.zeros(2))]
    optimizer = ParameterFreeSGD(params, STEPS, foreach=False)
    params[0].grad, params[1].grad = torch.zeros(0), torch.ones(2)
    optimizer.step()
    assert optimizer.status().step == 1


@pytest.mark.parametrize(
    ("dtype", "factor", "off"),
    [
        (torch.float16, 1e-2, 0.01),
        (torch.float16, 1e-6, 0.1),
        (torch.bfloat16, 1e-12, 0.02),
        (torch.float32, 1e-20, 2e-3),
    ],
    ids=str,
)
@pytest.mark.parametrize("options", [{}, {"momentum": 0.9}], ids=str)
def test_directions_are_read_off_whatever_their_size(
    dtype: torch.dtype, factor: float, off: float, options: dict[str, Any]
) -> None:
    param = nn.Parameter(torch.zeros(10, dtype=dtype))
    optimizer = ParameterFree(torch.optim.SGD([param], 0.1, **options), STEPS)
    for _ in range(STEPS):
        optimizer.zero_grad()
        (factor * (param.float() - 3).square()).sum().backward()
        optimizer.step()
    assert float((param.detach() - 3).abs().max()) < off
