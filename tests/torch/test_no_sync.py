"""On an accelerator, step() reads the device only at the first gradient, and at the last step of a probe or main run.

``capturable=True`` makes CPUs take that path; otherwise they compute on numbers of the host. Around a base every step
reads, since the base takes its learning rate from the host.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import pfopt
from pfopt.torch import ParameterFreeSGD
from tests.torch.problems import Regression

READING_OPERATORS = {
    "_local_scalar_dense",
    "_unique2",
    "_assert_async",
    "allclose",
    "equal",
    "is_nonzero",
    "item",
    "masked_select",
    "nonzero",
    "unique_dim",
}
READING_METHODS = {
    "__array__",
    "__bool__",
    "__complex__",
    "__contains__",
    "__float__",
    "__format__",
    "__index__",
    "__int__",
    "__repr__",
    "allclose",
    "cpu",
    "equal",
    "is_nonzero",
    "item",
    "numpy",
    "tolist",
}


class CountOperators(TorchDispatchMode):
    """Operators that wait for the device, `float(t)` and `t.add_(g, alpha=t)` included: both end in one."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        boolean_index = name in ("index", "index_put_") and any(
            isinstance(index, torch.Tensor) and index.dtype == torch.bool for index in args[1] or ()
        )
        if name in READING_OPERATORS or boolean_index:
            self.reads.append(name)
        return func(*args, **(kwargs or {}))


class CountMethods(TorchFunctionMode):
    """Methods that on the CPU read memory without an operator: `tolist`, `numpy`, …"""

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[str] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") in READING_METHODS:
            self.reads.append(func.__name__)
        return func(*args, **(kwargs or {}))


def reads_of(action: Callable[[], Any]) -> list[str]:
    operators, methods = CountOperators(), CountMethods()
    with operators, methods:
        action()
    return operators.reads + methods.reads


@pytest.mark.parametrize(
    "read",
    [
        lambda t: t.item(),
        lambda t: float(t),
        lambda t: bool(t > 0),
        lambda t: t.tolist(),
        lambda t: t.reshape(1).tolist(),
        lambda t: t.numpy(),
        lambda t: torch.ones(3).add_(torch.ones(3), alpha=t),
        lambda t: torch.ones(3)[torch.ones(3) > t],
        lambda t: torch.equal(t, t),
        lambda t: (t > 0).nonzero(),
        lambda t: f"{t:.3f}",
        lambda t: int(t),
        lambda t: t in (torch.zeros(()),),
        lambda t: torch.where(t > 0),
    ],
)
def test_the_counters_see_a_read(read: Callable[[torch.Tensor], Any]) -> None:
    value = torch.full((), 0.5)
    assert reads_of(lambda: read(value))


def test_the_counters_see_nothing_else() -> None:
    values = [torch.ones(3), torch.ones(2)]

    def compute() -> None:
        norm = torch.nn.utils.get_total_norm(values)
        values[1].mul_(torch.where(norm > 1, 0.5, 2.0))
        values[0].addcmul_(values[0], norm)

    assert reads_of(compute) == []


CASES: dict[str, tuple[dict[str, Any], str, int]] = {
    "gradients": ({}, "gradients", 64),
    "losses": ({}, "loss", 64),
    "closure": ({"momentum": 0.9}, "closure", 64),
    "momentum, weight decay": ({"momentum": 0.9, "nesterov": True, "weight_decay": 0.01}, "gradients", 64),
    "a scope per tensor": ({"plan": pfopt.Practical(scope="tensor")}, "gradients", 64),
    "a scope per group": ({"plan": pfopt.Practical(scope="group")}, "gradients", 64),
    "one scope": ({"plan": pfopt.Practical(scope="global")}, "gradients", 64),
    "linear decay": ({"plan": pfopt.Practical(anneal="linear")}, "gradients", 64),
    "maximize": ({"maximize": True}, "gradients", 64),
    "certified": ({"plan": "certified"}, "gradients", 64),
    "certified, last": ({"plan": pfopt.Certified(output="last")}, "loss", 64),
    "unknown horizon": ({"total_steps": None}, "gradients", 100),
    "buffers": ({"buffers": True}, "gradients", 64),
}


@pytest.mark.parametrize(("name", "foreach"), [*((name, None) for name in CASES), ("losses", False)])
def test_step_reads_only_at_the_end_of_a_run(name: str, foreach: bool | None) -> None:
    options, feed, steps = CASES[name]
    kwargs: dict[str, Any] = {"total_steps": steps, "foreach": foreach, **options}
    model = Regression(batch_norm="buffers" in kwargs)
    if "buffers" in kwargs:
        kwargs["buffers"] = list(model.buffers())
    sign = -1.0 if kwargs.get("maximize", False) else 1.0
    groups = [{"params": [param]} for param in model.parameters()]
    optimizer = ParameterFreeSGD(groups, capturable=True, **kwargs)
    reading_steps = []

    def where() -> tuple[str, int, int]:
        status = optimizer.status()
        return status.phase, status.probe, len(optimizer.history())

    for step in range(steps):
        before = where()

        def one_step(step: int = step) -> None:
            def closure() -> torch.Tensor:
                optimizer.zero_grad()
                loss = sign * model.loss(step)
                loss.backward()
                return loss

            if feed == "closure":
                optimizer.step(closure)
            elif feed == "loss":
                optimizer.step(loss=closure())
            else:
                closure()
                optimizer.step()

        reads = reads_of(one_step)
        ended = where() != before
        first = step == 0  # it fixes the unit
        assert first or ended or not reads, f"step {step} in {before} read {reads}"
        if reads:
            reading_steps.append(step)
    assert 1 <= len(reading_steps) <= len(optimizer.history()) + 7
