"""What torch's own test-suite asks of an optimizer's direction, groups and errors, in our words.

The machinery (rows, parametrisation, devices) is torch.testing._internal.common_optimizers; the properties
are those of class TestOptimRenewed in PyTorch's test/test_optim.py, whose bodies are not in the wheel.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch.testing._internal.common_device_type import instantiate_device_type_tests
from torch.testing._internal.common_optimizers import OptimizerErrorEnum, optims
from torch.testing._internal.common_utils import TestCase, parametrize

from pfopt import Practical
from tests.torch.optimizer_info import GROUP_KEYS, INFOS, INPUTS, STEPS, each_row, kwargs_of


class Affine:
    """f(W, b) = ||W x + b||^2, contiguous in memory or not."""

    def __init__(self, device: str, dtype: torch.dtype, *, contiguous: bool = True) -> None:
        def draw(*shape: int) -> Tensor:
            value = torch.randn(*shape, 2, device=device, dtype=dtype)[..., 0]
            return value.clone(memory_format=torch.contiguous_format) if contiguous else value

        self.weight, self.bias, self.inputs = Parameter(draw(10, 5)), Parameter(draw(10)), draw(5)
        assert self.weight.is_contiguous() == contiguous

    def loss(self) -> Tensor:
        return (self.weight.mv(self.inputs) + self.bias).square().sum()

    def closure_for(self, optimizer: Any) -> Callable[[], Tensor]:
        def closure() -> Tensor:
            optimizer.zero_grad()
            loss = self.loss()
            loss.backward()
            return loss

        return closure


def steps_of(kwargs: dict[str, Any]) -> int:
    """The whole budget: twenty steps, as in torch's tests, for all rows but the certified ones."""
    return kwargs["total_steps"] or STEPS


def assert_progress(
    optimizer: Any, kwargs: dict[str, Any], before: float, loss: Callable[[], Tensor]
) -> None:
    """Up for maximize, down otherwise; a search that has just begun deploys nothing worse than the anchor."""
    if kwargs["total_steps"] is None:
        optimizer.eval()
        assert loss().item() <= before
    elif kwargs.get("maximize", False):
        assert loss().item() > before
    else:
        assert loss().item() < before


def step_schedulers(schedulers: list[Any], loss: Tensor) -> None:
    for scheduler in schedulers:
        if isinstance(scheduler, ReduceLROnPlateau):
            scheduler.step(loss.detach())
        else:
            scheduler.step()


class TestConformance(TestCase):
    """Errors, direction, groups, complex and sparse parameters."""

    @optims(INFOS)
    def test_errors(self, device: str, dtype: torch.dtype, optim_info: Any) -> None:
        error_inputs = optim_info.optim_error_inputs_func(device=device, dtype=dtype)
        for error_input in error_inputs:
            given = error_input.optimizer_error_input
            params = given.params
            if params is None:
                params = [Parameter(torch.randn(2, 3, device=device, dtype=dtype))]
            assert error_input.error_on is OptimizerErrorEnum.CONSTRUCTION_ERROR
            expected, regex = error_input.error_type, error_input.error_regex
            expect = pytest.warns if issubclass(expected, Warning) else pytest.raises
            with expect(expected, match=regex):
                optim_info.optim_cls(params, **given.kwargs)

    @parametrize("contiguous", [True, False])
    @each_row()
    def test_forloop_goes_right_direction(
        self, device: str, dtype: torch.dtype, optim_info: Any, row: str, contiguous: bool
    ) -> None:
        """Half of the schedules with each memory format, the other half in the next row."""
        schedules = [[], *optim_info.scheduler_inputs]
        for makers in schedules[(list(INPUTS).index(row) + contiguous) % 2 :: 2]:
            kwargs = kwargs_of(optim_info, device, row, foreach=False)
            problem = Affine(device, dtype, contiguous=contiguous)
            optimizer = optim_info.optim_cls([problem.weight, problem.bias], **kwargs)
            schedulers = [maker(optimizer) for maker in makers]
            closure = problem.closure_for(optimizer)
            initial = closure().item()
            for _ in range(steps_of(kwargs)):
                loss = closure()
                optimizer.step()
                step_schedulers(schedulers, loss)
            assert_progress(optimizer, kwargs, initial, problem.loss)

    @each_row()
    def test_deployed_iterate_is_no_worse_early_in_a_long_run(
        self, device: str, dtype: torch.dtype, optim_info: Any, row: str
    ) -> None:
        total_steps = kwargs_of(optim_info, device, row)["total_steps"] and 10 * STEPS
        kwargs = kwargs_of(optim_info, device, row, total_steps=total_steps, maximize=False)
        problem = Affine(device, dtype)
        optimizer = optim_info.optim_cls([problem.weight, problem.bias], **kwargs)
        closure = problem.closure_for(optimizer)
        initial = closure().item()
        for _ in range(4):
            for _ in range(STEPS):
                closure()
                optimizer.step()
            with optimizer.averaged():
                assert problem.loss().item() <= initial

    @each_row()
    def test_param_group_with_scheduler_goes_right_direction(
        self, device: str, dtype: torch.dtype, optim_info: Any, row: str
    ) -> None:
        every = optim_info.scheduler_inputs
        for makers in every[list(INPUTS).index(row) % len(every) :][:1]:
            kwargs = kwargs_of(optim_info, device, row)
            problem = Affine(device, dtype)
            groups = [{"params": [problem.weight]}, {"params": [problem.bias], "lr": 0.01}]
            optimizer = optim_info.optim_cls(groups, **kwargs)
            schedulers = [maker(optimizer) for maker in makers]
            closure = problem.closure_for(optimizer)
            initial = closure().item()
            for _ in range(steps_of(kwargs)):
                step_schedulers(schedulers, optimizer.step(closure))
            assert_progress(optimizer, kwargs, initial, problem.loss)

    @parametrize("shape", [(), (1,)])
    @optims(INFOS)
    def test_tensor_lr_is_refused(
        self, device: str, dtype: torch.dtype, optim_info: Any, shape: tuple[int, ...]
    ) -> None:
        param = Parameter(torch.randn(3, device=device, dtype=dtype))
        with pytest.raises(ValueError, match="lr as a Tensor is not supported"):
            optim_info.optim_cls([param], total_steps=STEPS, lr=torch.full(shape, 0.1))

    @parametrize("maximize", [True, False])
    @optims([info for info in INFOS if info.supports_sparse])
    def test_rosenbrock_sparse(
        self, device: str, dtype: torch.dtype, optim_info: Any, maximize: bool
    ) -> None:
        kwargs, makers = optim_info.metadata_for_sparse
        start = torch.tensor([1.5, 1.5], device=device, dtype=dtype)
        params = [Parameter(start.clone()), Parameter(start.clone())]
        optimizers = [optim_info.optim_cls([param], maximize=maximize, **kwargs) for param in params]
        schedulers = [maker(o) for o in optimizers for maker in makers] if maximize else []
        for step in range(kwargs["total_steps"]):
            for param, optimizer, sparse in zip(params, optimizers, (True, False), strict=True):
                param.grad = rosenbrock_coordinate_grad(param.detach(), step % 2, sparse=sparse)
                optimizer.step()
            step_schedulers(schedulers, torch.zeros(()))
            torch.testing.assert_close(params[0], params[1], atol=5e-6, rtol=5e-6)
        solution, end = torch.ones_like(start), params[0].detach()
        if maximize:
            assert rosenbrock(end) > rosenbrock(start)
        else:
            assert end.dist(solution) < start.dist(solution)

    @each_row(dtypes=[torch.complex64])
    def test_complex(self, device: str, dtype: torch.dtype, optim_info: Any, row: str) -> None:
        kwargs = kwargs_of(optim_info, device, row)
        ours = [torch.randn(shape, device=device, dtype=of) for shape, of in (((5, 5), dtype), (5, dtype))]
        ours.append(torch.randn(2, device=device))
        reals = [as_real(param).clone() for param in ours]
        optimizer = optim_info.optim_cls([param.requires_grad_() for param in ours], **kwargs)
        optimizer_of_reals = optim_info.optim_cls([param.requires_grad_() for param in reals], **kwargs)
        for _ in range(steps_of(kwargs)):
            for param, real in zip(ours, reals, strict=True):
                param.grad = torch.randn_like(param)
                real.grad = as_real(param.grad).clone()
            optimizer.step()
            optimizer_of_reals.step()
            for param, real in zip(ours, reals, strict=True):
                torch.testing.assert_close(as_real(param), real)

    @each_row(dtypes=[torch.complex64])
    def test_complex_2d(self, device: str, dtype: torch.dtype, optim_info: Any, row: str) -> None:
        kwargs = kwargs_of(optim_info, device, row, maximize=False)
        if row == "linear_tensor":
            kwargs["plan"] = Practical(
                anneal="linear", scope="global"
            )  # one tensor of two coordinates and two tensors are different requests
        start = torch.randn(2, device=device, dtype=dtype)
        point = start.clone().requires_grad_()
        parts = [start.real.clone().requires_grad_(), start.imag.clone().requires_grad_()]
        optimizer = optim_info.optim_cls([point], **kwargs)
        optimizer_of_parts = optim_info.optim_cls(parts, **kwargs)
        for _ in range(steps_of(kwargs)):
            optimizer.zero_grad()
            rosenbrock(point).abs().backward()
            assert point.grad is not None
            parts[0].grad, parts[1].grad = point.grad.real.clone(), point.grad.imag.clone()
            optimizer.step()
            optimizer_of_parts.step()
            torch.testing.assert_close(point, torch.complex(*parts))
        assert not torch.equal(point, start)

    @each_row()
    def test_param_groups_lr(self, device: str, dtype: torch.dtype, optim_info: Any, row: str) -> None:
        kwargs = kwargs_of(optim_info, device, row, lr=1e-28)  # not every lr is far from 1, which would warn
        problem = Affine(device, dtype)
        still = Parameter(torch.randn(2, device=device, dtype=dtype))
        still_before = still.detach().clone()
        groups = [{"params": [problem.weight, problem.bias], "lr": 0.1}, {"params": [still]}]
        optimizer = optim_info.optim_cls(groups, **kwargs)
        closure = problem.closure_for(optimizer)
        initial = closure().item()
        for _ in range(steps_of(kwargs)):
            closure()
            still.grad = torch.rand_like(still)
            optimizer.step()
        assert_progress(optimizer, kwargs, initial, problem.loss)
        torch.testing.assert_close(still.detach(), still_before)

    @each_row()
    def test_param_groups_weight_decay(
        self, device: str, dtype: torch.dtype, optim_info: Any, row: str
    ) -> None:
        kwargs = kwargs_of(optim_info, device, row)
        of_groups = {key: kwargs.pop(key) for key in GROUP_KEYS & kwargs.keys()}
        problem = Affine(device, dtype)
        groups = [
            {"params": [problem.weight], **of_groups},
            {"params": [problem.bias], **of_groups, "weight_decay": 0.0},
        ]
        optimizer = optim_info.optim_cls(groups, **kwargs)
        closure = problem.closure_for(optimizer)
        initial = closure().item()
        for _ in range(steps_of(kwargs)):
            closure()
            optimizer.step()
        assert_progress(optimizer, kwargs, initial, problem.loss)


def as_real(value: Tensor) -> Tensor:
    return torch.view_as_real(value.detach()) if value.is_complex() else value.detach()


def rosenbrock(point: Tensor) -> Tensor:
    x, y = point
    return (1 - x) ** 2 + 100 * (y - x**2) ** 2


def rosenbrock_coordinate_grad(point: Tensor, coordinate: int, *, sparse: bool) -> Tensor:
    """One coordinate of the gradient; the sparse form is uncoalesced on purpose: two entries, one index."""
    x, y = point
    value = (-400 * x * (y - x**2) - 2 * (1 - x), 200 * (y - x**2))[coordinate]
    indices = torch.tensor([[coordinate, coordinate]], device=point.device)
    values = torch.stack([value / 4, value - value / 4])
    grad = torch.sparse_coo_tensor(indices, values, (2,), check_invariants=True)
    return grad if sparse else grad.to_dense()


instantiate_device_type_tests(TestConformance, globals(), allow_mps=True)
