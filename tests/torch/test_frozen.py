"""What has never had a gradient takes no part: no state, no work, no check, no share in a norm."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pfopt import Practical
from pfopt.torch import ParameterFree, ParameterFreeSGD
from tests.torch.problems import assert_same

STEPS = 80
STARTS = [torch.linspace(-1, 1, 6).double(), torch.linspace(2, 1, 4).double().reshape(2, 2)]

MAKE: dict[str, Callable[[Any], Any]] = {
    "auto": lambda params: ParameterFreeSGD(params, STEPS),
    "tensor": lambda params: ParameterFreeSGD(params, STEPS, plan=Practical(scope="tensor"), momentum=0.9),
    "in tensors": lambda params: ParameterFreeSGD(params, STEPS, capturable=True),
    "certified": lambda params: ParameterFreeSGD(params, STEPS, plan="certified"),
    "around AdamW": lambda params: ParameterFree(torch.optim.AdamW(params), STEPS),
}


def frozen(*values: Tensor) -> list[nn.Parameter]:
    return [nn.Parameter(value, requires_grad=False) for value in values]


def descend(params: list[nn.Parameter], optimizer: Any, first: int = 0, last: int = STEPS) -> None:
    for step in range(first, last):
        for param in params:
            draw = torch.Generator().manual_seed(step)
            param.grad = param.detach() - 3 + 0.1 * torch.randn(param.shape, generator=draw).double()
        optimizer.step()


@pytest.mark.parametrize("name", MAKE)
def test_the_same_run_as_with_the_trainable_ones_alone(name: str) -> None:
    alone = [nn.Parameter(start.clone()) for start in STARTS]
    descend(alone, MAKE[name](alone))
    among = [nn.Parameter(start.clone()) for start in STARTS]
    others = frozen(torch.full((7,), 1e6).double(), torch.ones(3, 2))
    optimizer = MAKE[name]([others[0], among[0], others[1], among[1]])
    descend(among, optimizer)
    assert_same([param.detach() for param in among], [param.detach() for param in alone])
    assert set(optimizer.state) == set(among)
    assert optimizer.status().phase == "done"


@pytest.mark.parametrize("name", ["auto", "certified", "around AdamW"])
@pytest.mark.parametrize("when", [1, 5, 50])
def test_the_anchor_is_where_a_parameter_stands_at_its_first_gradient(name: str, when: int) -> None:
    first, late = (nn.Parameter(start.clone()) for start in STARTS)
    optimizer = MAKE[name]([late, first])
    descend([first], optimizer, 0, when)
    with torch.no_grad():
        late.fill_(5.0)
    assert late not in optimizer.state
    descend([first, late], optimizer, when, when + 1)
    assert_same(optimizer.state[late]["anchor"], torch.full((2, 2), 5.0).double())
    descend([first, late], optimizer, when + 1)
    assert not torch.equal(late.detach(), torch.full((2, 2), 5.0).double())
    assert optimizer.status().phase == "done"


@pytest.mark.parametrize(
    "value",
    [
        torch.ones(3, dtype=torch.int8),
        torch.ones(3, dtype=torch.uint8),
        torch.ones(3).to(torch.float8_e4m3fn),
        torch.tensor([-math.inf]),
        torch.tensor([math.nan]),
    ],
    ids=str,
)
@pytest.mark.parametrize("name", ["auto", "around AdamW"])
def test_what_is_frozen_is_nobodys_business(name: str, value: Tensor) -> None:
    param = nn.Parameter(STARTS[0].clone())
    (other,) = frozen(value)
    optimizer = MAKE[name]([other, param])
    descend([param], optimizer)
    assert other not in optimizer.state
    assert float((param.detach() - 3).abs().max()) < 0.5
    optimizer.load_state_dict(optimizer.state_dict())


def test_a_gradient_in_a_dtype_that_nobody_computes_with() -> None:
    param = nn.Parameter(torch.ones(3).to(torch.float8_e4m3fn))
    optimizer = ParameterFreeSGD([param], STEPS)
    param.grad = torch.ones(3).to(torch.float8_e4m3fn)
    with pytest.raises(TypeError, match=r"params with a gradient .*float8"):
        optimizer.step()
