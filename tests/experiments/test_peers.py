"""Peers behave as their authors document it, each on one small task."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from dog import LDoG
from torch import nn

from experiments.common.suboptimality import gap
from experiments.methods.dog import DoGTrainer
from experiments.methods.peers import ScheduleFreeTrainer, dadapt_sgd, prodigy, schedule_free
from experiments.methods.registry import METHODS
from experiments.tasks.minimum import solve
from experiments.tasks.registry import make_task
from experiments.tasks.solved import SolvedTask
from experiments.tasks.task import Setting

SETTING = Setting(budget=600)


def ridge() -> SolvedTask:
    task = make_task("diabetes-ridge")
    assert isinstance(task, SolvedTask)
    return task


def estimates(make: object, steps: int = 200) -> list[float]:
    """The distance estimate d of D-Adaptation or Prodigy after every full-data gradient."""
    task = ridge()
    problem = task.problem()
    trainer = make(problem, Setting(budget=steps, schedule="constant"))  # type: ignore[operator]
    rows, found = torch.arange(len(task.targets)), []
    for _ in range(steps):
        problem.zero_grad()
        loss = problem(rows)
        loss.backward()
        trainer.step(loss.detach())
        found.append(float(trainer.optimizer.param_groups[0]["d"]))
    return found


def test_d_adaptation_bounds_the_distance_from_below() -> None:
    """Defazio and Mishchenko 2023, theorem 1: d never decreases, and never exceeds the distance to x*."""
    found = estimates(dadapt_sgd)
    assert found == sorted(found)
    assert 1e-2 < found[-1] <= np.linalg.norm(solve(ridge()).point)


def test_prodigy_grows_its_estimate_from_1e_6() -> None:
    """Mishchenko and Defazio 2024: d starts at d0 = 1e-6 and only grows, to the order of the distance."""
    found = estimates(prodigy)
    assert found == sorted(found)
    assert found[0] < 1e-4
    assert found[-1] > 1e-2 * np.abs(solve(ridge()).point).max()


def test_dog_step_grows_from_its_start_and_its_average_is_better() -> None:
    """README: the initial movement is tiny (reps_rel 1e-6), and averaging is critical."""
    task = ridge()
    problem = task.problem()
    trainer = DoGTrainer(problem, SETTING)
    steps = []
    for rows in task.batches(0, SETTING.budget, 16):
        problem.zero_grad()
        loss = problem(rows)
        loss.backward()
        trainer.step(loss.detach())
        steps.append(trainer.step_size)
    assert steps[0] < 1e-5 < 1e-3 < max(steps)
    with trainer.deployed() as averaged:
        assert gap(averaged.score()[0], task.minimum) < gap(problem.score()[0], task.minimum)


def test_dog_starts_larger_under_batch_norm() -> None:
    """README: reps_rel = 1e-4 for models with batch norm."""
    setting = Setting(budget=10)
    plain, normalised = (make_task(name).problem(0) for name in ("digits-cnn", "digits-cnn-batchnorm"))
    assert any(isinstance(module, nn.BatchNorm2d) for module in normalised.modules())
    for problem, expected in ((plain, 1e-6), (normalised, 1e-4)):
        assert DoGTrainer(problem, setting).optimizer.defaults["reps_rel"] == expected


def test_ldog_estimates_by_tensor() -> None:
    """README: LDoG keeps a distance and a gradient sum for every parameter."""
    problem = make_task("digits-cnn").problem(0)
    trainer = DoGTrainer(problem, Setting(budget=10), kind=LDoG)
    problem(torch.arange(32)).backward()
    trainer.step(torch.zeros(()))
    (group,) = trainer.optimizer.param_groups
    assert len(group["rbar"]) == len(list(problem.parameters())) == 6


def test_schedule_free_wants_train_mode_and_deploys_an_average() -> None:
    """README: optimizer.train() and eval() must be called; a step outside train mode is an error."""
    task = ridge()
    problem = task.problem()
    trainer = schedule_free(problem, SETTING, adam=False)
    assert isinstance(trainer, ScheduleFreeTrainer)
    for rows in task.batches(0, SETTING.budget, 16):
        problem.zero_grad()
        problem(rows).backward()
        trainer.step(torch.zeros(()))
    training = problem.score()[0]
    with trainer.deployed() as deployed:
        assert gap(deployed.score()[0], task.minimum) < gap(training, task.minimum)
        with pytest.raises(Exception, match="train mode"):
            trainer.optimizer.step()


def test_schedule_free_is_the_same_in_both_frameworks() -> None:
    torch_run, optax_run = (
        METHODS[name](ridge(), 0, SETTING) for name in ("schedule-free-sgd", "optax-schedule-free")
    )
    assert optax_run.value == pytest.approx(torch_run.value, rel=1e-6)


def test_momo_tames_a_learning_rate_at_which_sgd_diverges() -> None:
    """Schaipp et al. 2024: the model-based step caps a learning rate that is too large."""
    task = make_task("diabetes-least-squares")
    sgd, momo = (METHODS[name](task, 0, SETTING, learning_rate=4.0) for name in ("optax-sgd", "optax-momo"))
    assert sgd.status == "diverged"
    assert momo.value < 1.0  # bounded: 0.5 at the start, 0.24 at the minimum
    assert METHODS["optax-momo"](task, 0, SETTING).value < 0.35  # at its default


@pytest.mark.parametrize(
    "name", ["optax-mechanic", "optax-cocob", "optax-dog", "optax-dowg", "optax-prodigy"]
)
def test_learning_rate_free_methods_of_optax_learn_from_their_defaults(name: str) -> None:
    run = METHODS[name](make_task("breast-cancer-logistic"), 0, SETTING, num_records=3)
    assert run.value < 0.15  # ln 2 at the start, 0.056 at the minimum
    assert list(run.curve.num_grad_evals) == [200, 400, 600]
