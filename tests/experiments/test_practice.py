"""What the suites scratch and finetune are made of: draws, adapters, a cart, and rates with a warm-up."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.optim import AdamW, Muon

from experiments.methods import rate
from experiments.methods.prodigy_plus import prodigy_plus
from experiments.methods.registry import METHODS
from experiments.tasks import cart_pole, low_rank, texts
from experiments.tasks.networks import CPU
from experiments.tasks.practical import Augmented, noisy_digits
from experiments.tasks.registry import make_task
from experiments.tasks.seeded import SeededProblem
from experiments.tasks.task import Setting
from experiments.tasks.transformers import Transformer

SETTING = Setting(budget=40, batch_size=16, momentum=0.9, schedule="cosine")


def cart(seed: int = 0) -> SeededProblem:
    return cart_pole.task("cart", None, CPU, width=8, ticks=10).problem(seed)


def test_a_step_draws_the_same_whatever_was_drawn_or_scored_between() -> None:
    rows, (one, other) = torch.arange(16), (cart(), cart())
    first = one(rows)
    assert one.score() == one.score()
    torch.rand(3)
    other(rows)
    assert one(rows) == other(rows) != first
    assert cart(1)(rows) != first


def test_weight_decay_is_part_of_the_loss_and_not_of_the_score() -> None:
    plain, decayed = cart(), cart()
    decayed.l2 = 0.5
    rows = torch.arange(16)
    squares = sum(p.square().sum() for p in plain.parameters() if p.dim() > 1)
    torch.testing.assert_close(decayed(rows), plain(rows) + 0.25 * squares)
    assert decayed.score() == plain.score()


def test_the_pole_falls_the_other_way_and_costs_rise() -> None:
    upright = torch.zeros(2, 4)
    _, speed, _, turning = cart_pole.tick(upright, torch.tensor([-1.0, 1.0])).unbind(1)
    assert speed[0] < 0 < speed[1]
    assert turning[1] < 0 < turning[0]
    lost = torch.tensor([[0.0, 0.0, cart_pole.FALLEN, 0.0], [cart_pole.AWAY, 0.0, 0.0, 0.0]])
    assert cart_pole.cost(upright).tolist() == [0.0, 0.0]
    assert cart_pole.cost(lost).tolist() == [1.0, 1.0]


def test_a_policy_gradient_lowers_the_cost_of_the_pushes_that_it_drew() -> None:
    problem = cart()
    optimizer = torch.optim.Adam(problem.parameters(), lr=1e-2)
    before = problem.score()[0]
    for rows in torch.arange(cart_pole.STARTS).view(-1, 25)[:30]:
        optimizer.zero_grad()
        problem(rows).backward()
        optimizer.step()
    assert problem.score()[0] < before


@pytest.mark.parametrize("layer", ["linear", "attention"])
def test_an_adapted_model_begins_as_it_was_and_keeps_its_matrices(layer: str) -> None:
    torch.manual_seed(0)
    embedding = nn.Linear(3, 8)
    model = Transformer(embedding, 5, 2, width=8, layers=1).eval() if layer == "attention" else embedding
    x = torch.randn(2, 5, 3)
    expected = model(x).detach()
    before = [p.detach().clone() for p in model.parameters()]
    adapted = low_rank.adapt(model, ("head",) if layer == "attention" else ())
    torch.testing.assert_close(adapted(x), expected)
    trained = [p for p in adapted.parameters() if p.requires_grad]
    assert {p.shape[0] for p in trained if p.dim() > 1} >= {low_rank.RANK}
    optimizer = torch.optim.SGD(trained, 1.0)
    adapted(x).square().sum().backward()
    optimizer.step()
    assert not torch.allclose(adapted(x), expected)
    head = [] if layer == "linear" else list(adapted.get_submodule("head").parameters())
    frozen = [p for p in adapted.parameters() if not p.requires_grad]
    assert len(frozen) + len(head) == len(before)
    assert all(any(torch.equal(p, kept) for kept in before) for p in frozen)


def test_augmentation_moves_and_mirrors_in_training_only() -> None:
    picture = torch.arange(1.0, 65.0).view(1, 1, 8, 8).expand(200, 1, 8, 8)
    layer = Augmented()
    torch.manual_seed(0)
    moved = layer(picture)
    assert layer.eval()(picture) is picture
    assert moved.shape == picture.shape
    assert len({tuple(row.flatten().tolist()) for row in moved}) > 50
    assert all(set(row.flatten().tolist()) <= set(range(65)) for row in moved)
    middle = moved[:, 0, 4, 3:5]  # never padding
    assert 50 < (middle[:, 0] > middle[:, 1]).sum() < 150


def test_gaps_are_filled_in_and_nothing_else_counts() -> None:
    rows = texts.codes(b"to be or not to be, that is the question" * 20).view(-1, 40)
    inputs, targets = texts.with_gaps(rows, 0)
    gaps = inputs == texts.GAP
    assert 0.1 < gaps.float().mean() < 0.2
    assert torch.equal(torch.where(gaps, targets, inputs), rows)
    assert (targets[~gaps] == texts.IGNORED).all()


def test_noise_has_variance_1_and_hides_the_picture_in_the_end() -> None:
    split = noisy_digits()
    assert split.targets.var().item() == pytest.approx(1.0, abs=0.01)
    late = split.inputs[:, -1] > 0.95
    torch.testing.assert_close(split.inputs[late, :-1], split.targets[late], atol=0.5, rtol=0.0)
    assert not torch.isin(split.test_inputs[:, 0], split.inputs[:, 0]).all()


def test_warm_up_rises_to_1_and_ends_at_0() -> None:
    factors = rate.warmed_up(200, 0.05)
    assert len(factors) == 201
    assert factors[:10] == sorted(factors[:10])
    assert factors[0] == pytest.approx(1 / 11)
    assert max(factors) == factors[10] == 1.0
    assert factors[-1] == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("name", ["sgd-cosine", "adamw-warm-up", "muon"])
def test_a_lane_trains_and_is_one_row(name: str) -> None:
    run = METHODS[name](make_task("digits-cnn"), 0, SETTING, learning_rate=0.01)
    (row,) = run.lanes.to_dict("records")
    assert (row["learning_rate"], row["schedule"], row["momentum"]) == (0.01, "cosine", 0.9)
    assert row["value"] == run.value < math.log(10)
    with pytest.raises(ValueError, match="cosine decay and the task's momentum, not linear"):
        METHODS[name](make_task("digits-cnn"), 0, SETTING, learning_rate=0.01, schedule="linear")


def test_muon_has_the_hidden_matrices_and_adamw_the_rest() -> None:
    problem = make_task("digits-network").problem(0)
    first, second = rate.muon(problem, SETTING, 1e-3)
    assert isinstance(first, Muon)
    assert isinstance(second, AdamW)
    shapes = [[tuple(p.shape) for p in o.param_groups[0]["params"]] for o in (first, second)]
    assert shapes[0] == [(128, 64), (64, 128)]
    assert shapes[1] == [(128,), (64,), (10, 64), (10,)]
    assert [type(o) for o in rate.muon(make_task("digits-cnn").problem(0), SETTING, 1e-3)] == [AdamW]


def test_calibrated_nadamw_has_its_momentum_from_the_first_step_on() -> None:
    problem = make_task("digits-cnn").problem(0)
    trainer = rate.calibrated_nadamw(problem, SETTING)
    before = [p.detach().clone() for p in problem.parameters()]
    problem(torch.arange(16)).backward()
    trainer.step(torch.zeros(()))
    (group,) = trainer.optimizer.param_groups
    state = trainer.optimizer.state[group["params"][0]]
    assert float(state["mu_product"]) == pytest.approx(rate.CALIBRATED["betas"][0])
    assert all(not torch.equal(a, b) for a, b in zip(before, problem.parameters(), strict=True))


def test_prodigy_plus_deploys_an_average() -> None:
    task = make_task("digits-cnn")
    problem = task.problem(0)
    trainer = prodigy_plus(problem, SETTING)
    for rows in task.batches(0, 40, 16):
        problem.zero_grad()
        loss = problem(rows)
        loss.backward()
        trainer.step(loss.detach())
    weight = next(problem.parameters())
    training = weight.detach().clone()
    with trainer.deployed():
        assert not torch.equal(weight, training)
    torch.testing.assert_close(weight.detach(), training)
    assert trainer.step_size > 0
