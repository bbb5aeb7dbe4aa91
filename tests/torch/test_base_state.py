"""What a base remembers travels where torch looks for it, and goes back to the anchor as a whole."""
# pyright: reportPrivateImportUsage=false

from __future__ import annotations

import copy
import io
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributed import checkpoint
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.optim import Optimizer
from torch.optim.lr_scheduler import OneCycleLR

from pfopt.torch import ParameterFree
from tests.torch.problems import Regression, assert_same, run, snapshot

STEPS = 60


class Counting(Optimizer):
    """SGD with momentum that counts its steps in its groups, as some do."""

    def __init__(self, params: Any, lr: float = 0.1, momentum: float = 0.9) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "step": 0})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            group["step"] += 1
            correction = 1 - group["momentum"] ** group["step"]
            for param in group["params"]:
                if param.grad is not None:
                    mean = self.state[param].setdefault("mean", torch.zeros_like(param))
                    mean.lerp_(param.grad, 1 - group["momentum"])
                    param.sub_(mean, alpha=group["lr"] / correction)


def make(
    kind: Any = torch.optim.AdamW, dtype: torch.dtype = torch.float32
) -> tuple[Regression, ParameterFree]:
    model = Regression(dtype=dtype)
    groups = [{"params": [model.weight]}, {"params": [model.bias], "lr": 0.5, "lr_scale": 0.25}]
    return model, ParameterFree(kind(groups, lr=1.0), STEPS)


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("kind", [torch.optim.AdamW, Counting])
@pytest.mark.parametrize("stop", [0, 3, 40])
def test_distributed_checkpoints_have_the_bases_state(kind: Any, stop: int, flat: bool) -> None:
    options = StateDictOptions(flatten_optimizer_state_dict=flat)
    model, optimizer = make(kind)
    run(model, optimizer, stop)
    optimizer.zero_grad()
    file = io.BytesIO()
    torch.save(get_optimizer_state_dict(model, optimizer, options=options), file)
    file.seek(0)
    other, again = make(kind)
    set_model_state_dict(other, get_model_state_dict(model))
    content = torch.load(file, weights_only=True)
    set_optimizer_state_dict(other, again, content, options=options)
    if stop:
        assert_same(again.base.state_dict(), optimizer.base.state_dict())
    run(model, optimizer, STEPS - stop, first=stop)
    run(other, again, STEPS - stop, first=stop)
    assert_same(snapshot(other), snapshot(model))


@pytest.mark.parametrize("kind", [torch.optim.AdamW, Counting])
@pytest.mark.parametrize("stop", [3, 40])
@pytest.mark.filterwarnings("ignore::UserWarning:torch")
def test_files_of_distributed_checkpoints_are_read_into_a_fresh_optimizer(
    tmp_path: Any, kind: Any, stop: int
) -> None:
    """What is not in the state that is read into is not read."""
    model, optimizer = make(kind)
    run(model, optimizer, stop)
    optimizer.zero_grad()
    checkpoint.save(
        {"optim": get_optimizer_state_dict(model, optimizer)}, checkpoint_id=tmp_path, no_dist=True
    )
    other, again = make(kind)
    read: Any = {"optim": get_optimizer_state_dict(other, again)}
    checkpoint.load(read, checkpoint_id=tmp_path, no_dist=True)
    set_optimizer_state_dict(other, again, read["optim"])
    set_model_state_dict(other, get_model_state_dict(model))
    assert_same(again.base.state_dict(), optimizer.base.state_dict())
    run(model, optimizer, STEPS - stop, first=stop)
    run(other, again, STEPS - stop, first=stop)
    assert_same(snapshot(other), snapshot(model))


def test_a_fresh_optimizer_has_places_for_all_of_it() -> None:
    """Distributed checkpoints are read into the state of one, which a step of zeros at lr 0 makes."""
    model, optimizer = make()
    reference, other = make()
    before = snapshot(model)
    fresh: Any = get_optimizer_state_dict(model, optimizer)
    assert_same(snapshot(model), before)
    run(reference, other, 30)
    other.zero_grad()
    trained: Any = get_optimizer_state_dict(reference, other)
    for name, state in trained["state"].items():
        assert fresh["state"][name]["base"].keys() == state["base"].keys()
    run(model, optimizer, 30)
    assert_same(snapshot(model), snapshot(reference))


def test_a_base_that_counts_in_its_groups_restarts_as_a_whole() -> None:
    model, optimizer = make(Counting)
    counts = []
    for step in range(STEPS):
        run(model, optimizer, 1, first=step)
        group = optimizer.base.param_groups[0]
        assert (group["step"] == 0) == (model.weight not in optimizer.base.state)
        counts.append(group["step"])
    ends = [step + 1 for step, count in enumerate(counts) if count == 0]
    lengths = [record.steps for record in optimizer.history()]
    assert ends == [sum(lengths[: i + 1]) for i in range(len(lengths))]
    assert optimizer.base.param_groups[1]["momentum"] == 0.9


@pytest.mark.parametrize("stop", [3, 40])
def test_what_a_user_changes_in_the_base_stays(stop: int) -> None:
    model, optimizer = make()
    run(model, optimizer, stop)
    optimizer.base.param_groups[0]["weight_decay"] = 0.125
    run(model, optimizer, STEPS - stop, first=stop)
    assert optimizer.base.param_groups[0]["weight_decay"] == 0.125
    _, again = make()
    again.load_state_dict(optimizer.state_dict())
    assert again.base.param_groups[0]["weight_decay"] == 0.125


def test_a_group_keeps_what_nobody_here_knows() -> None:
    """Such as timm's ``lr_scale``; names of parameters, too."""
    model, optimizer = make()
    extra = nn.Parameter(torch.ones(2))
    optimizer.add_param_group({"params": [extra], "lr_scale": 0.5, "weight_decay": 0.3})
    assert [group.get("lr_scale") for group in optimizer.param_groups] == [None, 0.25, 0.5]
    assert [group.get("lr_scale") for group in optimizer.base.param_groups] == [None, 0.25, 0.5]
    assert optimizer.base.param_groups[2]["weight_decay"] == 0.3
    named = ParameterFree(torch.optim.SGD(model.named_parameters()), STEPS)
    assert named.param_groups[0]["param_names"] == ["weight", "bias"]
    named.add_param_group({"params": [("extra", extra)]})
    assert [group["param_names"] for group in named.base.param_groups] == [["weight", "bias"], ["extra"]]


def test_the_state_at_the_anchor_moves_with_the_rest() -> None:
    """A base that has stepped before keeps what it knew, as its anchor's state."""
    states = []
    for dtype in (torch.float32, torch.float64):
        model = Regression(dtype=dtype)
        base = torch.optim.AdamW(model.parameters())
        for param in model.parameters():
            param.grad = torch.ones_like(param)
        base.step()
        optimizer = ParameterFree(base, STEPS)
        if states:
            optimizer.load_state_dict(states[0])
            assert optimizer.state[model.bias]["base_anchor"]["exp_avg"].dtype == dtype
            assert float(base.state[model.bias]["step"]) == 1 + 3
            run(model, optimizer, STEPS - 3, first=3)
        else:
            run(model, optimizer, 3)
            states.append(copy.deepcopy(optimizer.state_dict()))


def test_momentum_is_the_bases() -> None:
    _, optimizer = make()
    assert "momentum" not in optimizer.param_groups[0]
    with pytest.raises(ValueError, match="momentum"):
        OneCycleLR(optimizer, 1.0, STEPS)
    OneCycleLR(optimizer, 1.0, STEPS, cycle_momentum=False)


class Outside(torch.optim.SGD):
    """Saves itself in its own way."""

    def state_dict(self) -> dict[str, Any]:
        return {"inner": super().state_dict()}


class Foreign(torch.optim.SGD):
    """Keeps something that belongs to no parameter."""

    def step(self, closure: Any = None) -> Tensor | None:  # type: ignore[override]
        self.state["calls"] = self.state.get("calls", 0) + 1  # type: ignore[index,call-overload,operator,assignment]
        return super().step(closure)


def test_bases_whose_state_is_out_of_reach() -> None:
    model = Regression()
    with pytest.raises(TypeError, match=r"base must save itself as torch does.*got Outside with \['inner'\]"):
        ParameterFree(Outside(model.parameters()), STEPS)
    optimizer = ParameterFree(Foreign(model.parameters()), STEPS)
    with pytest.raises(ValueError, match=r"base must keep its state by parameter.*Foreign with .*calls"):
        run(model, optimizer, 1)


@pytest.mark.parametrize("steps", [30, 90, 150])
def test_a_run_goes_on_after_its_numbers_were_loaded(steps: int) -> None:
    """Without scopes a loaded record has Python's numbers, at whatever gradient it was saved."""
    torch.manual_seed(0)
    ends = []
    for stops in (False, True):
        torch.manual_seed(0)
        model = torch.nn.Linear(3, 1)
        opt = ParameterFree(torch.optim.AdamW(model.parameters()), 160)
        for step in range(160):
            if stops and step == steps:
                saved = opt.state_dict()
                opt = ParameterFree(torch.optim.AdamW(model.parameters()), 160)
                opt.load_state_dict(saved)
            opt.zero_grad()
            (model(torch.randn(8, 3)) - 1).square().mean().backward()
            opt.step()
        ends.append(model.weight.detach().clone())
    assert torch.equal(*ends)
