"""Triton's kernels: in its interpreter they are the eager code, and they compile for a GPU that need not be there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.nn import Parameter

import pfopt.torch
from pfopt.torch import ParameterFreeSGD, compilers, validation

INTERPRETED = Path(__file__).with_name("interpreted_kernels.py")
SIGNATURE = {"table": "*i64", "owners": "*i32", "firsts": "*i32", "partials": "*fp64"}


def test_in_the_interpreter_they_are_the_eager_code() -> None:
    """In a process of its own: Triton asks once, at its import, whether it is to interpret."""
    pytest.importorskip("triton")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    found = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(INTERPRETED)],
        env={**environment, "TRITON_INTERPRET": "1"},
        cwd=INTERPRETED.parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stdout + found.stderr
    assert " passed" in found.stdout


def test_without_triton_the_constructor_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compilers, "TRITON", ("cpu",))
    for name in ("launch", "kernels"):
        monkeypatch.delitem(sys.modules, f"pfopt.torch.{name}", raising=False)
        monkeypatch.delattr(pfopt.torch, name, raising=False)
    monkeypatch.setitem(sys.modules, "triton", None)
    validation.compiler.cache_clear()
    with pytest.raises(
        RuntimeError, match=r"fused=True needs Triton, which does not work here on cpu: .*triton"
    ):
        ParameterFreeSGD([Parameter(torch.ones(2))], 100, fused=True)


# ---------------------------------------------------------------- for a GPU


@pytest.fixture
def kernels() -> Any:
    """The module, and a compiler for a GPU."""
    triton = pytest.importorskip("triton")
    if os.environ.get("TRITON_INTERPRET"):
        pytest.skip("Triton's interpreter compiles nothing")
    if not (Path(triton.__file__).parent / "backends/nvidia/bin/ptxas").exists():
        pytest.skip("Triton has no ptxas with it")
    return pytest.importorskip("pfopt.torch.kernels")


def form(kernels: Any, dtype: torch.dtype, **flags: Any) -> Any:
    from pfopt.torch.launch import KINDS

    wide = torch.float32 if dtype == torch.bfloat16 else dtype
    kind, tiny = KINDS[dtype], torch.finfo(wide).tiny
    flags = {"half": wide != dtype, "maximize": False, "decays": False, **flags}
    return kernels.Form(kind, kind, KINDS[wide], tiny, **flags)


def compiled(kernel: Any, signature: dict[str, str], **constants: Any) -> dict[str, Any]:
    import triton
    from triton.backends.compiler import GPUTarget

    signature = {**signature, **dict.fromkeys(constants, "constexpr")}
    source = triton.compiler.ASTSource(kernel, signature=signature, constexprs=constants)
    options = {"num_warps": 8, "enable_fp_fusion": True}
    return triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options).asm


@pytest.mark.parametrize("momentum", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_move_compiles_for_a_gpu(kernels: Any, dtype: torch.dtype, momentum: bool) -> None:
    signature = {**SIGNATURE, "steps": "*fp64", **dict.fromkeys(kernels.Numbers._fields, "*fp64")}
    signature |= dict.fromkeys(("taken", "restart", "moving"), "*u1") | dict.fromkeys(
        kernels.Rates._fields, "fp64"
    )
    flags = dict.fromkeys(("by_coordinate", "averages", "interpolates"), True)
    flags |= dict.fromkeys(("momentum", "nesterov", "decays", "guards"), momentum)
    found = compiled(kernels.move, signature, FORM=form(kernels, dtype, **flags))
    assert found["cubin"]
    assert "ld.global.v4" in found["ptx"]  # whole blocks are read 16 bytes at once
    assert "st.global.v4" in found["ptx"]


def test_the_norms_compile_for_a_gpu(kernels: Any) -> None:
    for dtype in (torch.float32, torch.bfloat16):
        found = compiled(kernels.norms, SIGNATURE, FORM=form(kernels, dtype))
        assert "ld.global.v4" in found["ptx"]
    assert compiled(kernels.total, {"partials": "*fp64", "firsts": "*i32", "sums": "*fp64"})["cubin"]


def test_one_compilation_serves_all_steps(kernels: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the numbers of a step lie, and whatever the rates are; they are not rounded to float32."""
    import triton
    from triton.backends.compiler import GPUTarget

    driver = SimpleNamespace(
        get_current_target=lambda: GPUTarget("cuda", 90, 32),
        get_current_device=lambda: "pretended",
        get_current_stream=lambda device: 0,
    )
    monkeypatch.setattr(triton.runtime.driver, "_active", driver)
    kind = form(kernels, torch.float64)
    tables = torch.zeros(1, dtype=torch.int64), *torch.zeros(2, 8, dtype=torch.int32), torch.zeros(8).double()
    flags, numbers = torch.zeros(4, dtype=torch.bool), torch.zeros(11, dtype=torch.float64)
    for start in (0, 1):
        own = [*flags[start : start + 3], *numbers[start : start + 9]]
        found = kernels.move.warmup(
            *tables,
            numbers[start:],
            *own,
            *[0.1 + start] * 5,
            kind,
            grid=(1,),
            num_warps=8,
            enable_fp_fusion=True,
        )
        assert found.asm["ptx"].count(".param .f64 move_param") == 5
    assert len(kernels.move.device_caches.pop("pretended")[0]) == 1
