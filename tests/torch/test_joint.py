"""One search around several bases, each of some of the parameters."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Muon

from pfopt.torch import ParameterFree

STEPS = 200
INPUTS = torch.randn(128, 6, generator=torch.Generator().manual_seed(0))
TARGETS = (INPUTS[:, :1] * INPUTS[:, 1:3]).sin()


def model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 2))


def bases(net: nn.Module) -> list[torch.optim.Optimizer]:
    matrices = [param for param in net.parameters() if param.ndim == 2]
    others = [param for param in net.parameters() if param.ndim < 2]
    return [Muon(matrices, lr=0.02), AdamW(others, lr=1e-3)]


def loss_of(net: nn.Module, rows: Any = slice(None)) -> Tensor:
    return nn.functional.mse_loss(net(INPUTS[rows]), TARGETS[rows])


def train(net: nn.Module, opt: ParameterFree, first: int, last: int) -> list[Tensor]:
    for step in range(first, last):
        rows = torch.randint(128, (16,), generator=torch.Generator().manual_seed(step))
        opt.zero_grad()
        loss_of(net, rows).backward()
        opt.step()
    return [param.detach().clone() for param in net.parameters()]


def test_one_search_moves_the_parameters_of_all_by_their_own_rules() -> None:
    net = model()
    before, joint = loss_of(net).item(), bases(net)
    opt = ParameterFree(joint, STEPS)
    rates: list[tuple[float, float]] = []
    joint[1].register_step_pre_hook(
        lambda adamw, *_: rates.append((opt.base.param_groups[0]["lr"], adamw.param_groups[0]["lr"]))
    )
    train(net, opt, 0, STEPS)
    assert loss_of(net).item() < 0.5 * before
    searched = rates[10 : sum(record.steps for record in opt.history())]  # directions are read off before
    assert [one / other for one, other in searched] == pytest.approx([20.0] * len(searched))  # as given
    assert [base.param_groups[0]["lr"] for base in joint] == [0.02, 1e-3]
    assert [len(base.param_groups[0]["params"]) for base in joint] == [2, 2]
    kept = [set(joint[0].state[param]) for param in net.parameters()]
    assert kept == [{"momentum_buffer"}, {"step", "exp_avg", "exp_avg_sq"}] * 2


@pytest.mark.parametrize("stop", [5, 120])
def test_a_run_resumes_and_a_copy_goes_its_own_way(stop: int) -> None:
    net = model()
    opt = ParameterFree(bases(net), STEPS)
    train(net, opt, 0, stop)
    twin, twin_opt = copy.deepcopy((net, opt))
    weights, state = pickle.loads(pickle.dumps((net.state_dict(), opt.state_dict())))
    ends = [train(net, opt, stop, STEPS), train(twin, twin_opt, stop, STEPS)]
    other = model()
    other.load_state_dict(weights)
    resumed = ParameterFree(bases(other), STEPS)
    resumed.load_state_dict(state)
    ends.append(train(other, resumed, stop, STEPS))
    for end in ends[1:]:
        assert all(map(torch.equal, end, ends[0]))


@pytest.mark.parametrize(
    ("make", "error", "sentence"),
    [
        (lambda p: [], ValueError, "an optimizer or a list of them, got an empty list"),
        (lambda p: [SGD(p), SGD(p[:1])], ValueError, r"not share parameters.* bases 0 \(SGD\) and 1 \(SGD\)"),
        (lambda p: [SGD(p), p], TypeError, "base must be a torch.optim.Optimizer, got list"),
        (lambda p: [SGD(p[:1]), SGD(p[1:], lr=0.0)], ValueError, r"lr > 0 in one of its groups, got \[0.0\]"),
    ],
)
def test_bad_bases(make: Callable[[list[Any]], Any], error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=sentence):
        ParameterFree(make(list(model().parameters())), STEPS)


def test_nobody_knows_whose_a_late_group_is() -> None:
    opt = ParameterFree(bases(model()), STEPS)
    with pytest.raises(TypeError, match="a group cannot be added around several bases"):
        opt.add_param_group({"params": [nn.Parameter(torch.ones(2))]})
    assert len(opt.param_groups) == 2
