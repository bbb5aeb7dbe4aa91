"""The card of torch's optimizers, searches that start from one, and the search alone."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Muon

import pfopt.torch
from pfopt import Card
from pfopt import card as card_module
from pfopt.torch import ParameterFree, ParameterFreeSGD
from tests.torch.problems import Regression, feed_step, run

STEPS = 1000
MAKE: dict[str, tuple[Callable[[Any], Any], type[torch.optim.Optimizer]]] = {
    "sgd": (lambda params: ParameterFreeSGD(params, STEPS), SGD),
    "momentum": (lambda params: ParameterFreeSGD(params, STEPS, momentum=0.9, weight_decay=1e-3), SGD),
    "base": (lambda params: ParameterFree(SGD(params, 1.0, momentum=0.9), STEPS), SGD),
    "adamw": (lambda params: ParameterFree(AdamW(params, weight_decay=0.1), STEPS), AdamW),
    "muon": (lambda params: ParameterFree(Muon(params), STEPS), Muon),
}


def matrices(model: nn.Module) -> list[nn.Parameter]:
    return [param for param in model.parameters() if param.ndim == 2]


def searched(optimizer: Any, model: Regression, steps: int = STEPS) -> Card:
    for step in range(steps):
        feed_step(model, optimizer, step)
        if optimizer.status().phase != "search":
            break
    return optimizer.card()


@pytest.mark.parametrize("kind", MAKE)
def test_its_arguments_train_by_the_plain_optimizer(kind: str) -> None:
    make, plain = MAKE[kind]
    model = Regression()
    optimizer = make(matrices(model))
    empty = optimizer.card()
    assert (empty.probes, empty.noise, empty.groups[0].certified, empty.groups[0].distance) == (
        0,
        None,
        None,
        None,
    )
    card = searched(optimizer, model)
    (group,) = card.groups
    assert group.certified is not None
    assert group.rejected == pytest.approx(2 * group.certified)
    assert group.distance is not None
    assert group.distance > 0
    assert (card.probes, card.gradients) == (len(optimizer.history()), optimizer.status().step)
    assert group.optimizer == plain.__name__
    peak = card_module.MOMENTUM_PEAK if kind == "base" else card_module.PEAK
    assert card.arguments()["lr"] == peak * group.certified

    fresh = Regression()
    follower = plain(matrices(fresh), **card.arguments())
    before = fresh.full_loss()
    for step in range(60):
        feed_step(fresh, follower, step)
    assert fresh.full_loss() < 0.7 * before


def test_torch_s_momentum_is_not_normalised() -> None:
    (plain,), (damped,) = (
        searched(MAKE[kind][0](matrices(model)), model).groups
        for kind in ("sgd", "momentum")
        for model in [Regression()]
    )
    assert plain.certified is not None
    assert damped.certified == pytest.approx(0.1 * plain.certified, rel=1e-3)  # probes have none
    assert (damped.options["momentum"], damped.options["weight_decay"]) == (0.9, 1e-3)


@pytest.mark.parametrize("scope", ["auto", "tensor", "group", "global"])
def test_groups_have_rates_and_distances_of_their_own(scope: Any) -> None:
    model = Regression()
    groups = [{"params": [model.weight]}, {"params": [model.bias], "lr": 0.5}]
    optimizer = ParameterFreeSGD(groups, STEPS, plan=pfopt.Practical(scope=scope))
    start = [param.detach().clone() for param in (model.weight, model.bias)]
    card = searched(optimizer, model)
    one, other = card.groups
    assert one.certified == 2 * (other.certified or 0)
    assert one.rejected == 2 * (other.rejected or 0)
    with pytest.raises(ValueError, match="differ"):
        card.arguments()
    run(model, optimizer, 1)  # of which all shows in the parameters
    distances = [group.distance for group in optimizer.card().groups]
    if scope == "global":
        assert distances == [None, None]
        return
    for distance, param, old in zip(distances, (model.weight, model.bias), start, strict=True):
        moved = float((param.detach() - old).norm())
        assert distance is not None
        if scope == "auto":  # in the metric of the coordinates' steps
            assert 0 < distance <= moved
        else:
            assert distance == pytest.approx(moved, rel=1e-4)


def test_of_several_bases_each_group_is_its_own_optimizer_s() -> None:
    model = Regression()
    bases = [Muon([model.weight]), SGD([model.bias], 0.01, momentum=0.9)]
    card = searched(ParameterFree(bases, STEPS), model)
    muon, sgd = card.groups
    assert (muon.optimizer, muon.peak, muon.options["momentum"]) == ("Muon", card_module.PEAK, 0.95)
    assert (sgd.optimizer, sgd.peak, sgd.options["momentum"]) == ("SGD", card_module.MOMENTUM_PEAK, 0.9)
    assert sgd.certified == pytest.approx(10 * (muon.certified or 0))
    for kind, param, group in ((Muon, model.weight, muon), (SGD, model.bias, sgd)):
        kind([param], **group.arguments())
    again = ParameterFree([Muon([model.weight]), SGD([model.bias], 0.01, momentum=0.9)], STEPS)
    again.start_from(card)


def test_a_checkpoint_has_the_card() -> None:
    model = Regression()
    optimizer = ParameterFree(AdamW(model.parameters()), STEPS)
    run(model, optimizer, 150)
    again = ParameterFree(AdamW(model.parameters()), STEPS)
    again.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    assert again.card() == optimizer.card()


@pytest.mark.parametrize("share", [0.2, 0.8])
def test_noise_is_the_share_of_the_squared_gradient(share: float) -> None:
    random_ = torch.Generator().manual_seed(0)
    x = nn.Parameter(torch.ones(400, dtype=torch.float64))
    direction = torch.nn.functional.normalize(torch.randn(400, generator=random_, dtype=torch.float64), dim=0)
    optimizer = ParameterFreeSGD([x], STEPS)
    for _ in range(STEPS):
        noise = torch.randn(400, generator=random_, dtype=torch.float64) / 20
        x.grad = (1 - share) ** 0.5 * direction + share**0.5 * noise
        optimizer.step()
        if optimizer.status().phase != "search":
            break
    assert optimizer.card().noise == pytest.approx(share, abs=0.05)


# ---------------------------------------------------------------- start_from


@pytest.mark.parametrize("kind", ["sgd", "momentum", "adamw"])
@pytest.mark.parametrize("scale", [1.0, 2.0**70])
def test_a_search_from_a_card_is_short_and_finds_the_same(kind: str, scale: float) -> None:
    make, _ = MAKE[kind]

    def search(card: Card | None) -> Any:
        model = Regression()
        optimizer = make(model.parameters())
        if card is not None:
            optimizer.start_from(card)
            assert optimizer.status().step == 0
        for step in range(STEPS):
            optimizer.zero_grad()
            (scale * model.loss(step)).backward()
            optimizer.step()
            if optimizer.status().phase != "search":
                return optimizer
        raise AssertionError

    first = search(None)
    again = search(first.card())
    assert [record.exponent for record in again.history()] == [0, 2, 1]
    assert again.card().groups[0].certified == pytest.approx(first.card().groups[0].certified, rel=1e-6)
    assert again.card().noise is None


@pytest.mark.parametrize(("factor", "first"), [(2.0**-7, [0, 2, 4]), (2.0**7, [0, -2, -4])])
def test_a_search_from_a_card_that_is_far_off_goes_on(factor: float, first: list[int]) -> None:
    model = Regression()
    found = searched(ParameterFreeSGD(model.parameters(), 4000), model)
    (group,) = found.groups
    assert group.certified is not None
    off = Card((type(group)("SGD", group.options, factor * group.certified, None, None),), None, 1, 1)
    optimizer = ParameterFreeSGD(model.parameters(), 4000)
    optimizer.start_from(off)
    card = searched(optimizer, model)
    assert [record.exponent for record in optimizer.history()][:3] == first
    assert card.groups[0].certified == pytest.approx(group.certified)


def test_a_card_is_told_before_the_first_step_and_saved() -> None:
    model = Regression()
    card = searched(ParameterFreeSGD(model.parameters(), STEPS), model)
    optimizer = ParameterFreeSGD(model.parameters(), STEPS)
    optimizer.start_from(card)
    loaded = ParameterFreeSGD(model.parameters(), STEPS)
    loaded.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    searched(loaded, model)
    assert loaded.history()[0].step_size == pytest.approx(card.groups[0].certified)
    with pytest.raises(ValueError, match="before the first step"):
        loaded.start_from(card)
    with pytest.raises(ValueError, match='plan="practical"'):
        ParameterFreeSGD(model.parameters(), STEPS, plan="certified").start_from(card)
    with pytest.raises(ValueError, match="card must be that of AdamW, got one of SGD"):
        ParameterFree(AdamW(model.parameters()), STEPS).start_from(card)
    other: Any = 0.1
    with pytest.raises(TypeError, match=r"card must be a pfopt\.Card, got float"):
        ParameterFreeSGD(model.parameters(), STEPS).start_from(other)
    fresh = ParameterFreeSGD(model.parameters(), STEPS)
    with pytest.raises(ValueError, match="none was certified"):
        fresh.start_from(fresh.card())


# ---------------------------------------------------------------- find_lr


class Noisy(nn.Module):
    """With buffers, dropout and every random number there is."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(
            nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.1), nn.Linear(8, 1)
        )
        self.register_buffer("calls", torch.zeros(()), persistent=False)

    def forward(self, inputs: Tensor) -> Tensor:
        self.calls = self.calls + 1  # another tensor
        scale = 1 + 0.01 * random.random() + 0.01 * np.random.rand()  # noqa: NPY002
        return scale * self.layers(inputs)


def loss(model: nn.Module, batch: Tensor) -> Tensor:
    return (model(batch) - batch.sum(1, keepdim=True)).square().mean()


def batches() -> Iterable[Tensor]:
    return torch.randn(64, 4, generator=torch.Generator().manual_seed(3)).split(16)


def everything(model: nn.Module, base: torch.optim.Optimizer | None) -> Any:
    gradients = [param.grad for param in model.parameters()]
    of_numpy: Any = np.random.get_state()  # noqa: NPY002
    told = [
        model.state_dict(),
        dict(model.named_buffers()),
        gradients,
        base and base.state_dict(),
        torch.get_rng_state(),
        random.getstate(),
    ]
    return copy.deepcopy([*told, *of_numpy[1:3]])


def test_find_lr_takes_several_bases() -> None:
    model = Noisy()
    matrix, *others = model.parameters()
    bases = [Muon([matrix], 0.01), AdamW(others, 0.01)]
    before = [everything(model, base) for base in bases]
    card = pfopt.torch.find_lr(model, loss, batches(), bases, total_steps=None)
    torch.testing.assert_close([everything(model, base) for base in bases], before, rtol=0, atol=0)
    assert [group.optimizer for group in card.groups] == ["Muon", "AdamW"]


@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize("kind", [None, SGD, AdamW])
def test_find_lr_leaves_everything_as_it_was(kind: Any, warm: bool) -> None:
    model = Noisy()
    base = kind and kind(model.parameters(), 0.01)
    if warm:
        loss(model, next(iter(batches()))).backward()
        if base is not None:
            base.step()
    before = everything(model, base)
    card = pfopt.torch.find_lr(model, loss, batches(), base, total_steps=None)
    torch.testing.assert_close(everything(model, base), before, rtol=0, atol=0)
    assert card.arguments()["lr"] > 0
    assert card.groups[0].optimizer == (kind or SGD).__name__
    assert card.groups[0].distance


def test_find_lr_finds_what_a_run_finds() -> None:
    model = Regression()
    loss = lambda model, step: model.loss(step)  # noqa: E731
    found = pfopt.torch.find_lr(model, loss, range(3), total_steps=STEPS + 24)
    assert found == searched(ParameterFreeSGD(model.parameters(), STEPS + 24), model)


@pytest.mark.parametrize(
    ("changed", "error", "said"),
    [
        ({"loss": None}, TypeError, "loss must be callable"),
        (
            {"loss": lambda model, batch: torch.ones((), requires_grad=True)},
            ValueError,
            "none has a gradient",
        ),
        ({"loss": lambda model, batch: 0 * loss(model, batch)}, ValueError, "not zero, got none in 1024"),
        ({"batches": iter(batches())}, ValueError, "must last for the search, or be iterable again, got 4"),
        ({"total_steps": 3}, ValueError, "total_steps is too small"),
        ({"base": 1}, TypeError, r"base must be a torch\.optim\.Optimizer"),
    ],
)
def test_find_lr_says_what_is_wrong(changed: dict[str, Any], error: type[Exception], said: str) -> None:
    model = Noisy()
    before = everything(model, None)
    given: Any = {"loss": loss, "batches": batches(), "total_steps": 100}
    with pytest.raises(error, match=said):
        pfopt.torch.find_lr(model, **{**given, **changed})
    torch.testing.assert_close(everything(model, None), before, rtol=0, atol=0)
