"""Convex tasks: lanes agree with single runs, gradients with the objective, f* with independent solvers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import lsq_linear, minimize
from sklearn.linear_model import LogisticRegression

from experiments.tasks.convex import CONVEX, DEMO, FILES
from experiments.tasks.minimum import solve
from experiments.tasks.registry import NAMES, make_task
from experiments.tasks.solved import SolvedTask

BUNDLED = [name for name in CONVEX if name not in FILES]
ONE_PER_LOSS = [
    "breast-cancer-logistic",
    "wine-softmax",
    "diabetes-ridge",
    "diabetes-lad",
    "breast-cancer-hinge",
]


def convex_task(name: str) -> SolvedTask:
    task = make_task(name)
    assert isinstance(task, SolvedTask)
    return task


def dense(task: SolvedTask) -> np.ndarray:
    assert isinstance(task.features, torch.Tensor)
    return task.features.numpy()


def random_lanes(task: SolvedTask, *lanes: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return 0.1 * torch.randn(*lanes, *task.shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("name", ONE_PER_LOSS)
def test_lanes_are_independent_runs(name: str) -> None:
    task = convex_task(name)
    lanes, rows = random_lanes(task, 2, 3).requires_grad_(), task.batches(0, 1)[0]
    losses = task.loss(lanes, rows)
    (grads,) = torch.autograd.grad(losses.sum(), lanes)
    assert losses.shape == (2, 3)
    assert task.objective(lanes).shape == task.accuracy(lanes).shape == (2, 3)
    for index in np.ndindex(2, 3):
        w = lanes[index].detach().requires_grad_()
        loss = task.loss(w, rows)
        (grad,) = torch.autograd.grad(loss, w)
        torch.testing.assert_close(loss, losses[index])
        torch.testing.assert_close(grad, grads[index])
        torch.testing.assert_close(task.objective(w), task.objective(lanes)[index])


@pytest.mark.parametrize("name", ["breast-cancer-logistic", "wine-softmax", "diabetes-ridge"])
def test_gradient_of_a_smooth_loss(name: str) -> None:
    task = convex_task(name)
    w, rows = random_lanes(task, 2).requires_grad_(), task.batches(0, 1, 4)[0]
    assert torch.autograd.gradcheck(lambda lanes: task.loss(lanes, rows), (w,))


@pytest.mark.parametrize("name", BUNDLED)
def test_objective_is_the_loss_of_all_rows(name: str) -> None:
    task = convex_task(name)
    w = random_lanes(task)
    torch.testing.assert_close(task.objective(w), task.loss(w, torch.arange(len(task.targets))))


@pytest.mark.parametrize("name", BUNDLED)
def test_nothing_lies_below_the_minimum(name: str) -> None:
    task = convex_task(name)
    solution = torch.from_numpy(solve(task).point)
    around = solution + torch.tensor([1.0, 1e-3, 1e-6]).view(-1, *[1] * solution.dim()) * random_lanes(
        task, 3
    )
    assert (task.objective(around) >= task.minimum - 1e-12).all()
    assert task.minimum < task.objective(task.x0)


def test_ridge_minimum_agrees_with_lbfgs() -> None:
    task = convex_task("diabetes-ridge")

    def value_and_grad(flat: np.ndarray) -> tuple[float, np.ndarray]:
        w = torch.from_numpy(flat.copy()).requires_grad_()
        value = task.objective(w)
        return value.item(), torch.autograd.grad(value, w)[0].numpy()

    found = minimize(value_and_grad, np.zeros(task.shape), jac=True, options={"gtol": 1e-10, "ftol": 0.0},
                     method="L-BFGS-B")  # fmt: skip
    assert task.minimum == pytest.approx(found.fun, abs=1e-10)


def test_logistic_minimum_agrees_with_scikit_learn() -> None:
    task = convex_task("breast-cancer-logistic")
    model = LogisticRegression(C=1 / (task.l2 * len(task.targets)), fit_intercept=False, tol=1e-12,
                               solver="newton-cholesky")  # fmt: skip
    model.fit(dense(task), task.targets.numpy())
    assert task.minimum == pytest.approx(task.objective(torch.from_numpy(model.coef_[0])).item(), abs=1e-11)


def test_lad_solution_is_optimal() -> None:
    """0 is a subgradient: X' sign(r) over r != 0, plus X' s over r = 0 with some s in [-1, 1], vanishes."""
    task = convex_task("diabetes-lad")
    features, targets = dense(task), task.targets.numpy()
    residuals = features @ solve(task).point - targets
    zero = np.abs(residuals) < 1e-9
    signs = lsq_linear(features[zero].T, -features[~zero].T @ np.sign(residuals[~zero]), bounds=(-1, 1))
    assert zero.sum() >= len(task.shape)
    assert np.sqrt(2 * signs.cost) < 1e-8 * len(targets)


def test_minimum_without_a_certificate_is_refused() -> None:
    logistic, lad = convex_task("breast-cancer-logistic"), convex_task("diabetes-lad")
    with pytest.raises(ValueError, match="l2 must be positive for logistic loss, got 0"):
        solve(replace(logistic, l2=0.0))
    with pytest.raises(ValueError, match=r"l2 must be 0 for absolute loss, got 0\.1"):
        solve(replace(lad, l2=0.1))


def test_batches_depend_on_the_seed_only() -> None:
    task = convex_task("diabetes-ridge")
    assert task.batches(0, 50).shape == (50, 16)
    assert torch.equal(task.batches(3, 50), task.batches(3, 50))
    assert not torch.equal(task.batches(3, 50), task.batches(4, 50))


def test_registry() -> None:
    assert set(DEMO) <= set(CONVEX) < set(NAMES)
    with pytest.raises(ValueError, match=r"unknown task nonsense; valid names: breast-cancer-logistic, "):
        make_task("nonsense")
