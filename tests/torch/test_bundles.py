"""How tensors are joined to bundles and cut into pieces changes nothing."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from torch.nn import Parameter

import pfopt
from pfopt.torch import ParameterFree, ParameterFreeSGD, bundles
from pfopt.torch.base import ParameterFreeOptimizer

STEPS = 40
SHAPES = [(4, 3, 2, 2), (), (7,), (5, 5), (1,)]
RUNS: dict[str, dict[str, Any]] = {
    "default": {},
    "momentum": {"momentum": 0.9, "nesterov": True, "weight_decay": 0.01},
    "scope of tensors": {"plan": pfopt.Practical(scope="tensor")},
    "scope of groups": {"plan": pfopt.Practical(scope="group")},
    "one scope, linear": {"plan": pfopt.Practical(anneal="linear", scope="global")},
    "certified": {"plan": "certified"},
    "certified, last": {"plan": pfopt.Certified(output="last")},
}


def trained(kwargs: dict[str, Any], dtype: torch.dtype, *, adam: bool = False) -> list[torch.Tensor]:
    """Parameters, one of them in another memory format, and one without gradients in every third step."""
    draw = torch.Generator().manual_seed(0)
    params = [
        Parameter(torch.randn(shape, generator=draw, dtype=torch.float64).to(dtype)) for shape in SHAPES
    ]
    params[0] = Parameter(params[0].detach().to(memory_format=torch.channels_last))
    groups: list[dict[str, Any]] = [{"params": params[:2]}, {"params": params[2:], "lr": 0.5}]
    targets = [param.detach() + 1 for param in params]
    if adam:
        groups[0]["lr"] = 1.0
        optimizer: ParameterFreeOptimizer = ParameterFree(torch.optim.Adam(groups), STEPS, **kwargs)
    else:
        optimizer = ParameterFreeSGD(groups, STEPS, **kwargs)
    for step in range(STEPS):
        for place, (param, target) in enumerate(zip(params, targets, strict=True)):
            noise = torch.randn(param.shape, generator=draw, dtype=torch.float64).to(param.dtype)
            param.grad = None if place == 3 and step % 3 == 0 else param.detach() - target + 0.1 * noise
        optimizer.step()
    return [param.detach() for param in params]


@cache
def one_by_one(name: str, dtype: torch.dtype) -> list[torch.Tensor]:
    return trained({"foreach": False, **RUNS[name]}, dtype)


@pytest.mark.parametrize("full", [5, 1000])
@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.complex128])
def test_pieces_move_as_their_tensors_do(
    monkeypatch: pytest.MonkeyPatch, name: str, dtype: torch.dtype, full: int
) -> None:
    whole = one_by_one(name, dtype)
    monkeypatch.setitem(bundles.FULL, "cpu", full)
    for one, other in zip(trained(RUNS[name], dtype), whole, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("full", [5, 1000])
def test_pieces_of_a_base_move_as_their_tensors_do(monkeypatch: pytest.MonkeyPatch, full: int) -> None:
    whole = trained({"foreach": False}, torch.float64, adam=True)
    monkeypatch.setitem(bundles.FULL, "cpu", full)
    for one, other in zip(trained({}, torch.float64, adam=True), whole, strict=True):
        torch.testing.assert_close(one, other)


def test_a_piece_is_no_longer_than_full(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many small tensors are a bundle, of which the tensors in the state are views; a large one is cut."""
    monkeypatch.setitem(bundles.FULL, "cpu", 12)
    params: list[Any] = [Parameter(torch.zeros(size)) for size in (2, 1, 33, 3, 3, 3, 3)]
    states = {param: {"anchor": param.detach().clone()} for param in params}
    members = bundles.members([{"params": params}], states, gradients=False)
    layout = bundles.Layout(
        members, lambda param: (states[param], ["anchor"]), together=True, large_apart=False
    )
    sizes = [[piece.sizes for piece in bundle.pieces([])] for bundle in layout.bundles()]
    assert sizes == [[[2, 1, 3, 3, 3]], [(12,), (12,), (9,)], [[3]]]
    layout.bundles()[0].state["anchor"].fill_(7.0)
    assert [float(states[param]["anchor"].sum()) for param in params] == [
        14.0,
        7.0,
        0.0,
        21.0,
        21.0,
        21.0,
        0.0,
    ]


def test_what_was_exchanged_is_packed_anew() -> None:
    params: list[Any] = [Parameter(torch.zeros(2)), Parameter(torch.zeros(3))]
    states = {param: {"anchor": param.detach().clone()} for param in params}
    members = bundles.members([{"params": params}], states, gradients=False)
    layout = bundles.Layout(
        members, lambda param: (states[param], ["anchor"]), together=True, large_apart=False
    )
    assert layout.is_current(members, states)
    kept, states[params[0]]["anchor"] = states[params[0]]["anchor"], torch.ones(2)
    assert not layout.is_current(members, states)
    states[params[0]]["anchor"] = kept
    params[1].data = torch.ones(3)
    assert not layout.is_current(members, states)
    assert not layout.is_current(members[:1], states)
