"""Bytes that an optimizer keeps for every parameter, once it trains."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer

from benchmarks.optimizers import OURS, PLAIN, warmed_up
from benchmarks.timing import DEVICE, table

SIZE = 2**16
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def held(value: Any, seen: set[int]) -> Iterator[Tensor]:
    """Every tensor in what an optimizer keeps, once."""
    if isinstance(value, Tensor) and value.untyped_storage().data_ptr() not in seen:
        seen.add(value.untyped_storage().data_ptr())
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from held(each, seen)


def per_parameter(optimizer: Optimizer, param: Parameter) -> float:
    """Bytes, the parameter itself and its gradient left out."""
    seen = {param.data_ptr()}
    states: list[Any] = [dict(optimizer.state)]
    if hasattr(optimizer, "base"):
        states.append(dict(optimizer.base.state))  # pyright: ignore[reportAttributeAccessIssue]
    return sum(tensor.untyped_storage().nbytes() for state in states for tensor in held(state, seen)) / SIZE


def report() -> str:
    """One column a dtype."""
    rows = []
    for name in [*PLAIN, *OURS]:
        row = [name]
        for dtype in DTYPES.values():
            param = Parameter(torch.randn(256, 256, device=DEVICE).to(dtype))

            def gradient(param: Parameter = param) -> None:
                param.grad = 0.1 * param.detach() + 1e-3

            gradient()
            if name in OURS:
                make, phase = OURS[name]
                optimizer = warmed_up(make([param]), phase, gradient)
            else:
                optimizer = PLAIN[name]([param])
                optimizer.step()
            row.append(f"{per_parameter(optimizer, param):.0f}")
        rows.append(row)
    return table(["bytes of state a parameter", *DTYPES], rows)
