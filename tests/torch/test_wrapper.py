"""ParameterFree around other optimizers: their directions, their state at restarts, and what it must not touch."""

from __future__ import annotations

import copy
import io
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import pfopt
import pfopt.torch
from pfopt import options
from pfopt.core.config import PRACTICAL
from pfopt.torch import ParameterFree, ParameterFreeSGD
from pfopt.torch.state import setting

STEPS = 400
INPUTS = torch.randn(64, 5, generator=torch.Generator().manual_seed(0))
TARGETS = INPUTS @ torch.randn(5, 2, generator=torch.Generator().manual_seed(1))


def model(dtype: torch.dtype = torch.float32) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 2)).to(dtype)


def batch_loss(net: nn.Module, step: int) -> Tensor:
    rows = torch.randint(64, (8,), generator=torch.Generator().manual_seed(step))
    dtype = next(net.parameters()).dtype
    return nn.functional.mse_loss(net(INPUTS[rows].to(dtype)), TARGETS[rows].to(dtype))


def full_loss(net: nn.Module) -> float:
    with torch.no_grad():
        dtype = next(net.parameters()).dtype
        return nn.functional.mse_loss(net(INPUTS.to(dtype)), TARGETS.to(dtype)).item()


def train(net: nn.Module, opt: Any, first: int = 0, last: int = STEPS, *, losses: bool = False) -> None:
    for step in range(first, last):
        opt.zero_grad()
        loss = batch_loss(net, step)
        loss.backward()
        opt.step(loss=loss if losses else None)


BASES = {
    "sgd": lambda params: torch.optim.SGD(params),
    "momentum": lambda params: torch.optim.SGD(params, momentum=0.9, nesterov=True),
    "adam": lambda params: torch.optim.Adam(params),
    "adamw": lambda params: torch.optim.AdamW(params, weight_decay=1e-3, amsgrad=True),
    "rmsprop": lambda params: torch.optim.RMSprop(params),
    "adagrad": lambda params: torch.optim.Adagrad(params),
    "nadam": lambda params: torch.optim.NAdam(params),
}


@pytest.mark.parametrize("name", BASES)
def test_every_base_learns(name: str) -> None:
    net = model()
    before = full_loss(net)
    opt = ParameterFree(BASES[name](net.parameters()), STEPS)
    train(net, opt, losses=name in ("sgd", "adamw"))
    assert opt.status().phase == "done"
    assert full_loss(net) < 0.3 * before


@pytest.mark.parametrize("plan", [pfopt.Practical(anneal="linear", scope="global"), "certified"], ids=str)
def test_around_sgd_it_is_parameter_free_sgd_but_for_constants(
    plan: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The base's own learning rate counts for nothing, and is left as it was."""
    monkeypatch.setattr("pfopt.options.AROUND_BASE", PRACTICAL)
    configure = partial(options.configure, based=True)  # the moves of both lag
    monkeypatch.setattr(options, "configure", lambda chosen, steps, **_: configure(chosen, steps))
    setting.cache_clear()
    one, other = model(torch.float64), model(torch.float64)
    base = torch.optim.SGD(one.parameters(), lr=0.3)
    around = ParameterFree(base, 200, plan=plan)
    plain = ParameterFreeSGD(other.parameters(), 200, plan=plan)
    train(one, around, last=200)
    train(other, plain, last=200)
    setting.cache_clear()
    assert [p.exponent for p in around.history()] == [p.exponent for p in plain.history()]
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-9)
    assert base.param_groups[0]["lr"] == 0.3


def test_resume_equals_continue_in_the_middle_of_a_probe_and_of_the_main_run() -> None:
    for stop in (7, 150):
        net = model()
        opt = ParameterFree(torch.optim.AdamW(net.parameters()), STEPS)
        train(net, opt, 0, stop)
        file = io.BytesIO()
        torch.save({"net": net.state_dict(), "opt": opt.state_dict()}, file)
        train(net, opt, stop)
        file.seek(0)
        saved = torch.load(file)
        resumed = model()
        resumed.load_state_dict(saved["net"])
        again = ParameterFree(torch.optim.AdamW(resumed.parameters()), STEPS)
        again.load_state_dict(saved["opt"])
        train(resumed, again, stop)
        for a, b in zip(net.parameters(), resumed.parameters(), strict=True):
            assert torch.equal(a, b)


def test_a_copy_goes_its_own_way() -> None:
    net = model()
    opt = ParameterFree(torch.optim.Adam(net.parameters()), STEPS)
    train(net, opt, 0, 150)
    net2, opt2 = copy.deepcopy((net, opt))
    train(net2, opt2, 150)
    kept = [p.detach().clone() for p in net.parameters()]
    train(net, opt, 150)
    for a, b, c in zip(net.parameters(), net2.parameters(), kept, strict=True):
        assert torch.equal(a, b)
        assert not torch.equal(a, c)


def test_the_base_begins_anew_at_every_restart() -> None:
    net = model()
    base = torch.optim.Adam(net.parameters())
    opt = ParameterFree(base, STEPS)
    ages = []
    for step in range(100):
        train(net, opt, step, step + 1)
        ages.append(int(next(iter(base.state.values()))["step"].item()) if base.state else 0)
    ends = [i for i, age in enumerate(ages) if age == 0]
    lengths = [record.steps for record in opt.history()]
    assert [end + 1 for end in ends] == [sum(lengths[: i + 1]) for i in range(len(lengths))]


@pytest.mark.parametrize(
    ("when", "value"), [(0, torch.nan), (3, torch.inf), (20, torch.nan), (200, torch.inf)]
)
def test_a_gradient_that_is_not_finite_reaches_neither_parameters_nor_base(when: int, value: float) -> None:
    net = model()
    base = torch.optim.Adam(net.parameters())
    opt = ParameterFree(base, STEPS)
    for step in range(STEPS):
        opt.zero_grad()
        batch_loss(net, step).backward()
        if step == when:
            next(net.parameters()).grad.fill_(value)  # type: ignore[union-attr]
        opt.step()
        assert all(torch.isfinite(p).all() for p in net.parameters())
        assert all(torch.isfinite(s["exp_avg"]).all() for s in base.state.values())
    assert full_loss(net) < 0.5


def test_gradients_are_put_back() -> None:
    net = model()
    opt = ParameterFree(torch.optim.Adam(net.parameters()), STEPS)
    batch_loss(net, 0).backward()
    kept = [p.grad for p in net.parameters()]
    values = [grad.clone() for grad in kept if grad is not None]
    opt.step()
    for param, grad, value in zip(net.parameters(), kept, values, strict=True):
        assert grad is not None
        assert param.grad is grad
        assert torch.equal(grad, value)


def test_maximize_climbs() -> None:
    x = nn.Parameter(torch.zeros(3))
    opt = ParameterFree(torch.optim.Adam([x], maximize=True), 200)
    for _ in range(200):
        opt.zero_grad()
        loss = -(x - 1).square().sum()
        loss.backward()
        opt.step(loss=loss)
    torch.testing.assert_close(x.detach(), torch.ones(3), rtol=0, atol=0.1)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.complex64])
def test_other_dtypes(dtype: torch.dtype) -> None:
    x = nn.Parameter(torch.zeros(3, dtype=dtype))
    opt = ParameterFree(torch.optim.Adam([x]), 200)
    for _ in range(200):
        opt.zero_grad()
        (x - 1).abs().square().sum().backward()
        opt.step()
    assert x.dtype == dtype
    torch.testing.assert_close(x.detach().abs().float(), torch.ones(3), rtol=0, atol=0.1)


def test_groups_keep_the_ratio_of_their_learning_rates() -> None:
    a, b = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    base = torch.optim.SGD([{"params": [a], "lr": 0.1}, {"params": [b], "lr": 0.05}])
    opt = ParameterFree(base, 100)
    assert [group["lr"] for group in opt.param_groups] == [1.0, 0.5]
    c = nn.Parameter(torch.ones(2))
    opt.add_param_group({"params": [c]})
    assert len(base.param_groups) == 3


def test_an_unknown_horizon() -> None:
    net = model()
    opt = ParameterFree(torch.optim.Adam(net.parameters()), None)
    before = full_loss(net)
    train(net, opt, 0, 1100)
    with opt.averaged():
        assert full_loss(net) < 0.3 * before


@pytest.mark.parametrize(
    ("make", "error", "sentence"),
    [
        (lambda p: ParameterFree(p, 100), TypeError, "base must be a torch.optim.Optimizer, got Parameter"),
        (
            lambda p: ParameterFree(torch.optim.LBFGS(p), 100),
            TypeError,
            "base must take one gradient a step at a learning rate, got LBFGS",
        ),
        (
            lambda p: ParameterFree(ParameterFreeSGD(p, 100), 100),
            TypeError,
            "base must take one gradient a step at a learning rate, got ParameterFreeSGD",
        ),
        (
            lambda p: ParameterFree(torch.optim.SGD(p, lr=0.0), 100),
            ValueError,
            "base must have a learning rate lr > 0",
        ),
        (lambda p: ParameterFree(torch.optim.SGD(p), 3), ValueError, "total_steps is too small"),
        (
            lambda p: ParameterFree(torch.optim.SGD(p), 100).load_state_dict(
                ParameterFreeSGD(p, 100).state_dict()
            ),
            ValueError,
            "state_dict must hold the state of the base",
        ),
    ],
)
def test_bad_arguments(make: Any, error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=sentence):
        make([nn.Parameter(torch.ones(2))])


def test_a_late_group_has_the_bases_options() -> None:
    first, second = (nn.Parameter(torch.ones(2)) for _ in range(2))
    opt = ParameterFree(torch.optim.AdamW([first]), 100)
    opt.add_param_group({"params": [second], "weight_decay": 0.5, "lr": 0.25})
    assert (opt.base.param_groups[1]["weight_decay"], opt.param_groups[1]["weight_decay"]) == (0.5, 0.0)
    assert opt.param_groups[1]["lr"] == 0.25


def test_a_group_of_the_base_alone() -> None:
    first, second = (nn.Parameter(torch.ones(2)) for _ in range(2))
    opt = ParameterFree(torch.optim.AdamW([first]), 100)
    opt.base.add_param_group({"params": [second]})
    first.grad = torch.ones(2)
    with pytest.raises(ValueError, match="groups of this optimizer"):
        opt.step()


def test_a_checkpoint_of_another_base() -> None:
    params = [nn.Parameter(torch.ones(2))]
    saved = ParameterFree(torch.optim.AdamW(params), 100).state_dict()
    with pytest.raises(ValueError, match="of the kind that was saved"):
        ParameterFree(torch.optim.SGD(params), 100).load_state_dict(saved)


def test_step_hooks_are_called_once() -> None:
    ParameterFreeSGD([nn.Parameter(torch.ones(1))], 100)
    net = model()
    opt = pfopt.torch.ParameterFree(torch.optim.Adam(net.parameters()), 100)
    calls: list[int] = []
    opt.register_step_post_hook(lambda *_: calls.append(1))
    train(net, opt, 0, 3)
    assert len(calls) == 3


def test_a_learning_rate_that_is_a_tensor_is_written_and_put_back() -> None:
    runs = []
    for rate in (0.3, torch.tensor(0.3)):
        net = model(torch.float64)
        base = torch.optim.Adam(net.parameters(), lr=rate, foreach=False)
        opt = ParameterFree(base, 100)
        train(net, opt, last=100)
        runs.append([param.detach() for param in net.parameters()])
        assert float(base.param_groups[0]["lr"]) == pytest.approx(0.3)
    assert isinstance(base.param_groups[0]["lr"], Tensor)
    for one, other in zip(*runs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_tensors_move_at_powers_of_two_times_the_rate_of_the_whole() -> None:
    net = model()
    opt = ParameterFree(torch.optim.AdamW(net.parameters()), STEPS)
    group, seen = opt.base.param_groups[0], set()

    def look(base: Any, *_: Any) -> None:
        rates = [part["lr"] for part in base.param_groups]
        assert sum(len(part["params"]) for part in base.param_groups) == 4
        seen.update(max(rates) / rate for rate in rates)

    opt.base.register_step_pre_hook(look)
    train(net, opt)
    assert {1.0} < seen <= {2.0**k for k in range(60)}
    assert opt.base.param_groups == [group]
    assert len(group["params"]) == 4
    counts = [int(opt.base.state[param]["step"]) for param in net.parameters()]
    assert counts == [STEPS - sum(record.steps for record in opt.history())] * 4


class Counting(torch.optim.SGD):
    """Counts its steps where Prodigy and Schedule-Free do, in the group."""

    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            group["count"] = group.get("count", 0) + 1
        return super().step(closure)


def test_a_base_that_counts_in_its_groups_moves_all_tensors_at_one_rate() -> None:
    net = model()
    opt = ParameterFree(Counting(net.parameters(), lr=1.0), STEPS)
    groups: list[int] = []
    opt.base.register_step_pre_hook(lambda base, *_: groups.append(len(base.param_groups)))
    train(net, opt)
    assert set(groups) == {1}
    assert opt.base.param_groups[0]["count"] == STEPS - sum(record.steps for record in opt.history())


def test_the_base_steps_in_place_and_nothing_is_cloned() -> None:
    """But where the step size hangs on the gradient itself, at the first one of all and of the main run.

    Nine more steps at the first one, five of them large, tell how far one leads, and whether in proportion to its rate.
    """
    net = model()
    opt = ParameterFree(torch.optim.SGD(net.parameters(), lr=1.0), 200)
    rates: list[float] = []
    opt.base.register_step_pre_hook(lambda base, *_: rates.append(base.param_groups[0]["lr"]))
    train(net, opt, last=200)
    read_off = [step for step, rate in enumerate(rates) if rate >= 2.0**20]
    assert read_off[:6] == [0, 1, 2, 3, 4, 9]
    assert len(read_off) == 7
    assert len(rates) > 150  # in a probe that diverged it waits
