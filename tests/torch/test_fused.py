"""``fused=True``: the main run's moves of large tensors, compiled."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch._dynamo.exc import InternalTorchDynamoError
from torch._dynamo.testing import CompileCounter
from torch.nn import Parameter

from pfopt.torch import ParameterFreeSGD, bundles, moves, validation
from tests.torch.test_bundles import RUNS, trained

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit")  # torch's own, at the import of its compiler


@pytest.fixture(autouse=True)
def every_tensor_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(bundles.LARGE, "cpu", 2)


@pytest.fixture
def counter(monkeypatch: pytest.MonkeyPatch) -> CompileCounter:
    """Counts what is compiled, and runs it as it is."""
    torch._dynamo.reset()
    found = CompileCounter()
    compiled = torch.compile(moves.move_piece, backend=found)
    monkeypatch.setattr(moves, "_compiled", lambda: compiled)
    return found


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("default", torch.float32),
        ("default", torch.bfloat16),
        ("momentum", torch.float64),
        ("scope of tensors", torch.bfloat16),
        ("scope of groups", torch.complex128),
        ("one scope, linear", torch.float32),
    ],
)
def test_a_traced_move_is_the_eager_one(counter: CompileCounter, name: str, dtype: torch.dtype) -> None:
    eager = trained(RUNS[name], dtype)
    fused = trained({**RUNS[name], "fused": True}, dtype)
    for one, other in zip(fused, eager, strict=True):
        torch.testing.assert_close(one, other)
    assert counter.frame_count > 0


def test_a_compiled_move_is_the_eager_one_up_to_rounding() -> None:
    eager = trained(RUNS["momentum"], torch.float64)
    fused = trained({**RUNS["momentum"], "fused": True}, torch.float64)
    for one, other in zip(fused, eager, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)


def stepping(sizes: list[int], steps: int, **kwargs: Any) -> ParameterFreeSGD:
    params = [Parameter(torch.ones(size, 3)) for size in sizes]
    optimizer = ParameterFreeSGD(params, steps, fused=True, **kwargs)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 1.0 - step / steps
        for param in params:
            param.grad = param.detach() + step % 3
        optimizer.step()
    return optimizer


def test_one_compilation_serves_all_sizes_steps_and_rates(counter: CompileCounter) -> None:
    stepping([2, 3, 50, 7], 100)
    assert counter.frame_count <= 2  # at the first rate, and for all others


def test_a_gradient_that_is_not_finite_is_refused(counter: CompileCounter) -> None:
    param = Parameter(torch.ones(5))
    optimizer = ParameterFreeSGD([param], 200, fused=True)
    for step in range(200):
        param.grad = param.detach() - 3 if step % 7 else torch.full((5,), torch.nan)
        optimizer.step()
    assert counter.frame_count > 0
    torch.testing.assert_close(param.detach(), torch.full((5,), 3.0), rtol=0.0, atol=0.05)


def test_small_tensors_are_not_compiled(monkeypatch: pytest.MonkeyPatch, counter: CompileCounter) -> None:
    monkeypatch.setitem(bundles.LARGE, "cpu", 1000)
    stepping([2, 3], 40)
    assert counter.frame_count == 0


def test_a_compiler_that_fails_leaves_the_eager_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """With one warning, and the same run."""

    def refuse(*_: Any) -> Any:
        raise InternalTorchDynamoError("no compiler")

    monkeypatch.setattr(moves, "_compiled", lambda: refuse)
    with pytest.warns(UserWarning, match=r"fused=True: torch\.compile failed.*no compiler") as warned:
        fused = trained({**RUNS["default"], "fused": True}, torch.float32)
    assert sum("fused=True" in str(each.message) for each in warned) == 1
    for one, other in zip(fused, trained(RUNS["default"], torch.float32), strict=True):
        torch.testing.assert_close(one, other)


def test_without_a_compiler_the_constructor_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(function: Any) -> Any:
        raise OSError("no compiler")

    validation.compiler.cache_clear()
    monkeypatch.setattr(torch, "compile", refuse)
    with pytest.raises(RuntimeError, match=r"fused=True needs torch\.compile.* on cpu: no compiler"):
        ParameterFreeSGD([Parameter(torch.ones(2))], 100, fused=True)
