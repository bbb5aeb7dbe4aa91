"""Problems that the rule was not made on: what they consist of is the seed's alone, and what the table says of them."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import Tensor

from experiments.held_out_problems import adapted, cases, vision
from experiments.held_out_problems import run as runs
from experiments.held_out_problems.registry import CASES, FURTHER, PROBLEMS, SETS, make_problem
from experiments.held_out_problems.run import Job, jobs, run
from experiments.held_out_problems.table import conclusions, messages, summary
from experiments.tasks.data import has_shared_data
from tests.experiments.commands import run as command

SHARED = (CASES | FURTHER).keys() - {"vit_small_weights", "molecules", "actor_critic", "state_space"}
NAMES = [name for name in PROBLEMS if name not in SHARED or has_shared_data()]


@pytest.fixture(autouse=True)
def _hardly_pretrained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretraining takes a minute a model, and nothing here depends on how long it is."""
    for module in (adapted, cases, vision):
        monkeypatch.setattr(module, "_PRETRAINING_STEPS", 3)


EXACT = ("gcn", "rosenbrock", "gaussian_process")  # no batches
FROM_ZERO = ("logistic_ctr", "poisson", "poisson_mild", "posterior")


def weights_and_gradients(name: str, seed: int = 0) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """The initial weights, and the gradients of the batches of two steps."""
    problem = make_problem(name, seed)
    weights = problem.parameters()
    first, second = (list(torch.autograd.grad(problem.batch_loss(step), weights)) for step in (7, 8))
    return [weight.detach() for weight in weights], first, second


def same(first: list[Tensor], second: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_a_problem_begins_at_finite_losses_and_gradients(name: str) -> None:
    problem = make_problem(name, 0)
    assert problem.model.training
    assert all(map(math.isfinite, problem.losses()))
    assert problem.losses() == problem.losses()
    assert problem.model.training
    problem.batch_loss(0).backward()
    gradients = [parameter.grad for parameter in problem.parameters()]
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)
    assert any(gradient is not None and gradient.any() for gradient in gradients)


@pytest.mark.parametrize("name", NAMES)
def test_weights_and_batches_are_the_seeds_whatever_ran_before(name: str) -> None:
    torch.manual_seed(0)
    weights, gradients, of_other_step = weights_and_gradients(name)
    torch.manual_seed(1)
    run(Job(name, "sgd", 1e-4, 1, 2))
    again = weights_and_gradients(name)
    assert same(weights, again[0])
    assert same(gradients, again[1])
    of_other_seed = weights_and_gradients(name, seed=1)
    assert same(gradients, of_other_step) == (name in EXACT)
    assert not same(gradients, of_other_seed[1])
    assert same(weights, of_other_seed[0]) == (name in FROM_ZERO)


def test_a_problem_is_run_by_every_method_and_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PROBLEMS, "cnn_bn_noise", (60, PROBLEMS["cnn_bn_noise"][1]))
    monkeypatch.setattr(runs, "RATES", {"sgd": (0.1,), "adamw": (0.01,)})
    output = tmp_path / "unseen.csv"
    arguments = ["study", "unseen", "--only", "cnn_bn_noise", "--processes", "1", "--output", str(output)]
    assert command(*arguments, "--seeds", "3") == 0
    table = pd.read_csv(output)
    assert sorted(table.method) == ["adamw", "pfopt", "pfopt-adamw", "sgd"]
    assert (table.training < table.initial).all()
    assert table.training.nunique() == 4
    assert set(table.seed) == {3}
    assert set(table.steps) == {60}
    printed = capsys.readouterr().out
    assert "cnn_bn_noise" in printed
    assert "pfopt-adamw, of 1 problems" in printed
    assert (table.loudest >= 1).all()
    assert command(*arguments, "--seeds", "3", "--ours-only") == 0
    pd.testing.assert_frame_equal(pd.read_csv(output), table)
    assert command(*arguments, "--seeds", "4", "--ours-only") == 0
    both = pd.read_csv(output)
    pd.testing.assert_frame_equal(pd.DataFrame(both[both.seed == 3]).reset_index(drop=True), table)
    assert set(both[both.seed == 4].method) == {"pfopt", "pfopt-adamw"}


def test_how_loud_a_run_was() -> None:
    assert runs.loudest([1.0, -2.0, 1.0, 0.5, 1.0, 9.0, 1.0]) == 4.5
    assert runs.loudest([1.0, math.nan]) == runs.loudest([1.0, math.inf]) == math.inf


def test_a_loss_that_is_not_finite_is_infinite() -> None:
    row = run(Job("rosenbrock", "sgd", 10.0, 0, 10))
    assert row["training"] == row["held_out"] == math.inf


def test_whole_grids_are_planned() -> None:
    planned = list(jobs(["vit", "gcn"], [0, 1]))
    assert len(planned) == len(set(planned)) == 4 * (2 + 11 + 6)
    assert planned[0] == Job("vit", "pfopt", None, 0, 700)


ENDS = (
    "runs that end no better than they began: {}; the largest loss of a batch over those of the first ones 3 in "
    "the median, above 2 times on 2 and above 1000 times on 0"
)


def row(problem: str, method: str, rate: float | None, seed: int, training: float) -> dict[str, object]:
    initial = {"a": 10.0, "b": 3.0}[problem]
    return {"problem": problem, "method": method, "learning_rate": rate, "seed": seed, "initial": initial,
            "training": training, "held_out": 2 * training, "loudest": 1.0 + 2 * seed, "message": method}  # fmt: skip


def test_the_table_holds_means_over_seeds_against_the_best_rate() -> None:
    losses: dict[tuple[str, str, float | None], tuple[float, float]] = {
        ("a", "pfopt", None): (2.0, 4.0),
        ("a", "pfopt-adamw", None): (1.0, math.inf),
        ("a", "sgd", 0.1): (2.0, 2.0),
        ("a", "sgd", 1.0): (1.0, math.inf),
        ("a", "adamw", 0.01): (4.0, 6.0),
        ("b", "pfopt", None): (0.5, 0.5),
        ("b", "pfopt-adamw", None): (1.01, 1.01),
        ("b", "sgd", 0.1): (math.inf, math.inf),
        ("b", "adamw", 0.01): (1.0, 1.0),
    }
    frame = pd.DataFrame([row(*key, seed, pair[seed]) for key, pair in losses.items() for seed in (0, 1)])
    table = summary(frame)
    assert table["pfopt"].tolist() == [3.0, 0.5]
    assert table["pfopt held out"].tolist() == [6.0, 1.0]
    assert table["pfopt loudest"].tolist() == [3.0, 3.0]
    assert table["sgd"].tolist() == [2.0, math.inf]
    assert table["sgd rate"].tolist() == [0.1, 0.1]
    assert table["adamw"].tolist() == [5.0, 1.0]
    assert table["pfopt missed"].tolist() == pytest.approx([1 / 8, -0.25])
    assert table["pfopt-adamw missed"].tolist() == pytest.approx([math.inf, 0.005])
    assert messages(frame, table) == [
        *(f"a, pfopt, seed {seed}: pfopt" for seed in (0, 1)),
        *(f"a, pfopt-adamw, seed {seed}: pfopt-adamw" for seed in (0, 1)),
    ]
    assert conclusions(table) == [
        "pfopt, of 2 problems: at or below the best sgd on 1, the best adamw on 2; more than 2% missed on 1 "
        + "and more than 10% missed on 1; "
        + ENDS.format(0),
        "pfopt-adamw, of 2 problems: at or below the best sgd on 1, the best adamw on 0; more than 2% missed "
        + "on 1 and more than 10% missed on 1; "
        + ENDS.format(1),
    ]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--only", "finetune"], "unknown problem of set problems finetune; nearest: finetune_b8"),
        (["--only", "rare_words"], "unknown problem of set problems rare_words"),
        (
            ["--set", "cases", "--only", "vit"],
            "unknown problem of set cases vit; valid names: vit_small_weights, ",
        ),
        (["--output", "none.csv", "--ours-only"], "an output that holds the grids' runs, got none.csv"),
    ],
)
def test_wrong_arguments(arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("study", "unseen", *arguments) == 2
    assert sentence in capsys.readouterr().err


def test_sets() -> None:
    assert {name: len(problems) for name, problems in SETS.items()} == {
        "problems": 54,
        "further": 10,
        "cases": 7,
    }
    assert len(PROBLEMS) == 54 + 10 + 7
