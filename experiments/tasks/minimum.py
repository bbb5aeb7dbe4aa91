"""The minimum f* of a convex task, from solvers that are not ours.

Squared loss: closed form. Logistic and softmax: scipy's L-BFGS, certified by strong convexity,
f(w) - f* <= ||grad f(w)||^2 / (2 l2). Hinge and absolute loss without penalty: linear programs, by HiGHS.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import linprog, minimize

if TYPE_CHECKING:
    from experiments.tasks.objective import ConvexTask

TOLERANCE = 1e-9  # largest accepted error of f*, relative to max(1, f*)


def solve(task: ConvexTask) -> NDArray[np.float64]:
    """Return a minimiser of ``task.objective``, shape ``task.shape``; raise if it is not certified."""
    if task.loss_kind == "squared":
        return _closed_form(task)
    if task.loss_kind in ("logistic", "softmax"):
        return _lbfgs(task)
    return _linear_program(task)


def _closed_form(task: ConvexTask) -> NDArray[np.float64]:
    """Ridge or least-squares solution, shape (d,), by orthogonal factorisation of the stacked system."""
    features, targets = task.features.numpy(), task.targets.numpy()
    n, d = features.shape
    stacked = np.concatenate([features, np.sqrt(n * task.l2) * np.eye(d)])
    solution = np.linalg.lstsq(stacked, np.concatenate([targets, np.zeros(d)]), rcond=None)[0]
    return solution.astype(np.float64)


def _lbfgs(task: ConvexTask) -> NDArray[np.float64]:
    """Solution of a smooth, strongly convex task."""
    if task.l2 <= 0:
        raise ValueError(f"{task.name}: l2 must be positive for {task.loss_kind} loss, got {task.l2}")

    def value_and_grad(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        w = torch.from_numpy(flat.copy()).reshape(task.shape).requires_grad_()
        value = task.objective(w)
        (grad,) = torch.autograd.grad(value, w)
        return value.item(), grad.numpy().ravel()

    options = {"maxiter": 20_000, "maxfun": 40_000, "maxcor": 30, "ftol": 0.0, "gtol": 1e-10}
    start = task.x0.numpy().ravel()
    solution = minimize(value_and_grad, start, jac=True, method="L-BFGS-B", options=options).x
    value, grad = value_and_grad(solution)
    _certify(task, float(grad @ grad) / (2 * task.l2), value)
    return solution.reshape(task.shape)


def _linear_program(task: ConvexTask) -> NDArray[np.float64]:
    """Solution w, shape (d,), of the hinge or absolute task as a linear program with slacks >= 0."""
    if task.l2:
        raise ValueError(f"{task.name}: l2 must be 0 for {task.loss_kind} loss, got {task.l2}")
    features, targets = task.features.numpy(), task.targets.numpy()
    n, d = features.shape
    identity = sparse.eye_array(n)
    if task.loss_kind == "hinge":  # slack_i >= 1 - y_i <x_i, w>
        blocks = sparse.hstack([sparse.csr_array(-targets[:, None] * features), -identity])
        cost = np.concatenate([np.zeros(d), np.full(n, 1 / n)])
        constraints = {"A_ub": blocks, "b_ub": -np.ones(n)}
    else:  # X w + slack_up - slack_down = y
        blocks = sparse.hstack([sparse.csr_array(features), identity, -identity])
        cost = np.concatenate([np.zeros(d), np.full(2 * n, 1 / n)])
        constraints = {"A_eq": blocks, "b_eq": targets}
    bounds = [(None, None)] * d + [(0, None)] * (len(cost) - d)
    result = linprog(cost, bounds=bounds, method="highs", **constraints)
    if not result.success:
        raise RuntimeError(f"{task.name}: HiGHS found no optimum: {result.message}")
    w = np.asarray(result.x[:d])
    value = task.objective(torch.from_numpy(w)).item()
    _certify(task, abs(value - result.fun), value)  # result.fun equals the dual value at an optimal basis
    return w


def _certify(task: ConvexTask, error: float, value: float) -> None:
    """Raise unless ``error``, a bound on f(w) - f*, is within the tolerance."""
    if not error <= TOLERANCE * max(1.0, abs(value)):
        raise RuntimeError(f"{task.name}: f* is only known to {error:.1e}, required {TOLERANCE:.0e}")
