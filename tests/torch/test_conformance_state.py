"""What torch's own test-suite asks of state: saving, loading, hooks, copying, printing."""

from __future__ import annotations

import io
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook
from torch.testing._internal.common_device_type import instantiate_device_type_tests
from torch.testing._internal.common_optimizers import optims
from torch.testing._internal.common_utils import TestCase, parametrize

from tests.torch.optimizer_info import FEW, INFOS, STEPS, each_row, kwargs_of
from tests.torch.problems import assert_same


class Setting:
    """Parameters of f(W, b) = ||W x + b||^2, and an optimizer with thrice the budget of its row."""

    def __init__(
        self, optim_info: Any, device: str, row: str, *, like: Setting | None = None, named: bool = False
    ):
        self.kwargs = kwargs_of(optim_info, device, row)
        if self.kwargs["total_steps"] is not None:
            self.kwargs["total_steps"] = 3 * STEPS
        start = [torch.randn(10, 5, device=device), torch.randn(10, device=device)]
        self.params = [
            Parameter(param.detach().clone()) for param in (start if like is None else like.params)
        ]
        given = [(f"param{i}", param) for i, param in enumerate(self.params)] if named else self.params
        self.optimizer = optim_info.optim_cls(given, **self.kwargs)

    def descend(self, steps: int) -> None:
        weight, bias = self.params
        for _ in range(steps):
            self.optimizer.zero_grad()
            (weight @ torch.arange(1.0, 6.0, device=weight.device) + bias).square().sum().backward()
            self.optimizer.step()

    def assert_same_params(self, other: Setting) -> None:
        assert_same([param.detach() for param in self.params], [param.detach() for param in other.params])


class TestState(TestCase):
    """Save, load, hook, copy, print."""

    @each_row(rows=FEW)
    def test_can_be_printed(self, device: str, dtype: torch.dtype, optim_info: Any, row: str) -> None:
        ours = Setting(optim_info, device, row)
        fresh = repr(ours.optimizer)
        ours.descend(3)
        for text in (fresh, repr(ours.optimizer)):
            assert "ParameterFreeSGD" in text
            assert "momentum" in text
            assert len(text) < 4000

    @each_row()
    def test_state_dict_is_deterministic(
        self, device: str, dtype: torch.dtype, optim_info: Any, row: str
    ) -> None:
        ours = Setting(optim_info, device, row)
        ours.descend(STEPS // 2)
        other = Setting(optim_info, device, row, like=ours)
        saved = deepcopy(ours.optimizer.state_dict())
        loaded = deepcopy(saved)
        other.optimizer.load_state_dict(loaded)
        assert_same(loaded, saved)
        for _ in range(STEPS // 2):
            ours.descend(1)
            other.descend(1)
            ours.assert_same_params(other)
        assert_same(ours.optimizer.state_dict(), other.optimizer.state_dict())
        other.optimizer.param_groups.extend(other.optimizer.param_groups)
        assert_same(
            ours.optimizer.state_dict()["param_groups"][-1], other.optimizer.state_dict()["param_groups"][-1]
        )

    @parametrize("flag", ["foreach", "maximize", "capturable"])
    @each_row(rows=FEW[:1])
    def test_can_load_older_state_dict(
        self, device: str, dtype: torch.dtype, optim_info: Any, row: str, flag: str
    ) -> None:
        ours = Setting(optim_info, device, row)
        ours.descend(5)
        state_dict = deepcopy(ours.optimizer.state_dict())
        for group in state_dict["param_groups"]:
            del group[flag]
        ours.optimizer.load_state_dict(state_dict)
        ours.descend(1)
        assert all(flag in group for group in ours.optimizer.param_groups)

    @parametrize("named", [(True, False), (False, True), (True, True)])
    @each_row(rows=FEW[:1])
    def test_named_and_unnamed_state_dicts_mix(
        self, device: str, dtype: torch.dtype, optim_info: Any, row: str, named: tuple[bool, bool]
    ) -> None:
        ours = Setting(optim_info, device, row, named=named[0])
        ours.descend(5)
        other = Setting(optim_info, device, row, like=ours, named=named[1])
        other.optimizer.load_state_dict(deepcopy(ours.optimizer.state_dict()))
        ours.descend(5)
        other.descend(5)
        ours.assert_same_params(other)

    @each_row()
    def test_save_load_with_weights_only(
        self, device: str, dtype: torch.dtype, optim_info: Any, row: str
    ) -> None:
        ours = Setting(optim_info, device, row)
        for steps in (0, 1, 7):
            ours.descend(steps)
            file = io.BytesIO()
            torch.save(ours.optimizer.state_dict(), file)
            file.seek(0)
            assert_same(torch.load(file, weights_only=True), ours.optimizer.state_dict())

    @each_row(rows=FEW)
    def test_can_load_nontensor_step(
        self, device: str, dtype: torch.dtype, optim_info: Any, row: str
    ) -> None:
        ours = Setting(optim_info, device, row)
        ours.descend(5)
        state_dict = deepcopy(ours.optimizer.state_dict())
        for state in state_dict["state"].values():
            if isinstance(state.get("step"), Tensor):
                state["step"] = state["step"].item()
        other = Setting(optim_info, device, row, like=ours)
        other.optimizer.load_state_dict(state_dict)
        ours.descend(5)
        other.descend(5)
        ours.assert_same_params(other)

    @each_row(rows=FEW)
    def test_state_dict_hooks(self, device: str, dtype: torch.dtype, optim_info: Any, row: str) -> None:
        def plant(optimizer: Any) -> None:
            optimizer.state["test"] = 1

        def unplant(optimizer: Any, state_dict: dict[str, Any]) -> None:
            state_dict["state"].pop("test")
            state_dict["ran_state_dict_post_hook"] = True

        ours = Setting(optim_info, device, row)
        ours.descend(2)
        ours.optimizer.register_state_dict_pre_hook(plant)
        with_foreign_key = ours.optimizer.state_dict()
        assert with_foreign_key["state"]["test"] == 1
        ours.optimizer.register_state_dict_post_hook(unplant)
        state_dict = ours.optimizer.state_dict()
        assert "test" not in state_dict["state"]
        assert state_dict["ran_state_dict_post_hook"]
        other = Setting(optim_info, device, row, like=ours)
        other.optimizer.load_state_dict(deepcopy(with_foreign_key))
        assert other.optimizer.state["test"] == 1
        for setting in (ours, other):  # a foreign key in optimizer.state is nobody's parameter
            with setting.optimizer.averaged():
                deepcopy(setting.optimizer)
            setting.descend(STEPS)
        ours.assert_same_params(other)

    @each_row(rows=FEW)
    def test_load_state_dict_hooks(self, device: str, dtype: torch.dtype, optim_info: Any, row: str) -> None:
        ours = Setting(optim_info, device, row)
        ours.descend(2)
        state_dict = ours.optimizer.state_dict()
        halved = deepcopy(state_dict)
        halved["param_groups"][0]["lr"] = 0.5

        def replace(optimizer: Any, state_dict: Any) -> Any:
            return halved

        def plant(optimizer: Any) -> None:
            optimizer.state["ran_load_state_dict_post_hook"] = True

        ours.optimizer.register_load_state_dict_pre_hook(replace)
        ours.optimizer.register_load_state_dict_post_hook(plant)
        ours.optimizer.load_state_dict(state_dict)
        assert ours.optimizer.param_groups[0]["lr"] == 0.5
        assert ours.optimizer.state["ran_load_state_dict_post_hook"]
        ours.descend(2)

    @optims(INFOS)
    def test_step_hooks(self, device: str, dtype: torch.dtype, optim_info: Any) -> None:
        ours, order = Setting(optim_info, device, "default"), []
        handles = [
            register_optimizer_step_pre_hook(lambda *_: order.append("global pre")),
            register_optimizer_step_post_hook(lambda *_: order.append("global post")),
        ]
        ours.optimizer.register_step_pre_hook(lambda *_: order.append("pre"))
        ours.optimizer.register_step_post_hook(lambda *_: order.append("post"))
        try:
            ours.optimizer.step(None)
            ours.descend(1)
        finally:
            for handle in handles:
                handle.remove()
        ours.optimizer.step(None)
        assert order == [*(["global pre", "pre", "post", "global post"] * 2), "pre", "post"]

    @each_row()
    def test_deepcopy_copies_all_public_attributes(
        self, device: str, dtype: torch.dtype, optim_info: Any, row: str
    ) -> None:
        ours = Setting(optim_info, device, row)
        for steps in (0, 1, 7):
            ours.descend(steps)
            copied = deepcopy(ours.optimizer)
            assert public_attributes(copied) == public_attributes(ours.optimizer)
            assert copied.status() == ours.optimizer.status()
            assert copied.history() == ours.optimizer.history()

    @each_row()
    def test_state_is_not_empty(self, device: str, dtype: torch.dtype, optim_info: Any, row: str) -> None:
        ours = Setting(optim_info, device, row)
        ours.descend(1)
        assert set(ours.optimizer.state) == set(ours.params)
        assert all(len(state) > 0 for state in ours.optimizer.state.values())


def public_attributes(optimizer: Any) -> set[str]:
    return {name for name in vars(optimizer) if not name.startswith("_")}


instantiate_device_type_tests(TestState, globals(), allow_mps=True)
