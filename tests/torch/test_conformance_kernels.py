"""What torch's own test-suite asks of foreach kernels, mixed dtypes, and steps that must change nothing."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import Parameter
from torch.testing._internal.common_device_type import instantiate_device_type_tests
from torch.testing._internal.common_utils import TestCase

from tests.torch.optimizer_info import each_row, kwargs_of
from tests.torch.problems import assert_same

ITERATIONS = 7
NO_GRADS_AT = 2
FROZEN_AT = (3, 4, 5)


def trained(
    optim_info: Any, kwargs: dict[str, Any], device: str, dtype: torch.dtype
) -> tuple[list[Parameter], Any]:
    """Parameters and optimizer after seven steps: one without gradients, three with a frozen layer."""
    torch.manual_seed(1)
    layers = [nn.Linear(2, 3), nn.Sigmoid(), nn.Linear(3, 1), nn.Sigmoid()]
    model, frozen = nn.Sequential(*layers).to(device, dtype), list(layers[2].parameters())
    scalar = Parameter(torch.full((), 0.3, device=device, dtype=dtype))
    params = [*model.parameters(), scalar]
    inputs = torch.arange(1, 7, device=device, dtype=dtype).reshape(3, 2) / 10
    optimizer = optim_info.optim_cls(params, **kwargs)
    for iteration in range(ITERATIONS):
        optimizer.zero_grad()
        for param in frozen:
            param.requires_grad_(iteration not in FROZEN_AT)
        if iteration != NO_GRADS_AT:
            (model(inputs).sum() + scalar.square()).backward()
        still = params if iteration == NO_GRADS_AT else frozen if iteration in FROZEN_AT else []
        before, probe = [param.detach().clone() for param in still], optimizer.status().probe
        optimizer.step()
        restarted = optimizer.status().probe > probe  # every parameter goes back to the anchor
        assert restarted or all(torch.equal(p, old) for p, old in zip(still, before, strict=True)), iteration
    return params, optimizer


class TestKernels(TestCase):
    """One arithmetic, two implementations, any dtype."""

    @each_row(dtypes=[torch.float64])
    def test_foreach_matches_forloop(
        self, device: str, dtype: torch.dtype, optim_info: Any, row: str
    ) -> None:
        kwargs = kwargs_of(optim_info, device, row)
        params, optimizer = trained(optim_info, {**kwargs, "foreach": False}, device, dtype)
        params_f, optimizer_f = trained(optim_info, {**kwargs, "foreach": True}, device, dtype)
        for param, param_f in zip(params, params_f, strict=True):
            torch.testing.assert_close(param, param_f)
            state, state_f = optimizer.state[param], optimizer_f.state[param_f]
            assert state.keys() == state_f.keys()
            assert state
            for key in state:
                torch.testing.assert_close(
                    state[key], state_f[key], msg=lambda text, key=key: f"{key}: {text}"
                )

    @each_row()
    def test_mixed_dtypes_in_one_group(
        self, device: str, dtype: torch.dtype, optim_info: Any, row: str
    ) -> None:
        dtypes = [of for of in (torch.float64, torch.float32, torch.float16, torch.bfloat16) for _ in "ab"]
        results: list[list[Tensor]] = []
        for foreach in (False, True):
            torch.manual_seed(3)
            params = [Parameter(torch.rand(2, 3, device=device, dtype=of)) for of in dtypes]
            optimizer = optim_info.optim_cls(params, **kwargs_of(optim_info, device, row, foreach=foreach))
            for _ in range(ITERATIONS):
                for param in params:
                    param.grad = torch.rand_like(param)
                optimizer.step()
            assert [param.dtype for param in params] == dtypes
            assert all(bool(torch.isfinite(param).all()) for param in params)
            results.append([param.detach().clone() for param in params])
        torch.testing.assert_close(results[0], results[1])

    @each_row()
    def test_default_dtype_does_not_matter(
        self, device: str, dtype: torch.dtype, optim_info: Any, row: str
    ) -> None:
        grads = torch.rand(ITERATIONS, 2, 3, device=device, dtype=dtype)
        start = torch.rand(2, 3, device=device, dtype=dtype)
        old_default, results = torch.get_default_dtype(), []
        for default in (torch.float32, torch.float64):
            try:
                torch.set_default_dtype(default)
                param = Parameter(start.clone())
                optimizer = optim_info.optim_cls([param], **kwargs_of(optim_info, device, row, foreach=True))
                for grad in grads:
                    param.grad = grad.clone()
                    optimizer.step()
            finally:
                torch.set_default_dtype(old_default)
            results.append(param.detach())
        torch.testing.assert_close(results[0], results[1])

    @each_row()
    def test_step_is_noop_without_grads(
        self, device: str, dtype: torch.dtype, optim_info: Any, row: str
    ) -> None:
        param = Parameter(torch.randn(3, 2, device=device, dtype=dtype))
        before = param.detach().clone()
        optimizer = optim_info.optim_cls([param], **kwargs_of(optim_info, device, row))
        fresh = optimizer.status()
        for _ in range(ITERATIONS):
            optimizer.step(lambda: torch.ones(1, device=device, dtype=dtype))
            optimizer.step()
        assert_same(param.detach(), before)
        assert optimizer.status().steps_left == fresh.steps_left

    @each_row()
    def test_step_is_noop_for_zero_grads(
        self, device: str, dtype: torch.dtype, optim_info: Any, row: str
    ) -> None:
        param = Parameter(torch.randn(3, 2, device=device, dtype=dtype))
        before = param.detach().clone()
        param.grad = torch.zeros_like(param)
        optimizer = optim_info.optim_cls([param], **kwargs_of(optim_info, device, row, weight_decay=0.0))
        fresh = optimizer.status()
        for _ in range(2 * STEPS_OF_A_LONG_WAIT):
            optimizer.step(lambda: torch.ones(1, device=device, dtype=dtype))
            optimizer.step()
        assert_same(param.detach(), before)
        assert optimizer.status().steps_left == fresh.steps_left
        assert optimizer.state[param]


STEPS_OF_A_LONG_WAIT = 30  # more than the whole budget: whoever counts zero gradients would be done

instantiate_device_type_tests(TestKernels, globals(), allow_mps=True)
