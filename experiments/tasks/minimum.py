"""The minimum f* of a convex task, from solvers that are not ours.

Squared loss: closed form. Logistic and softmax: scipy's L-BFGS, certified by strong convexity,
f(w) - f* <= ||grad f(w)||^2 / (2 l2). Hinge and absolute loss without penalty: linear programs, by HiGHS.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import linprog, minimize

from experiments.tasks.objective import ConvexTask
from experiments.tasks.sparse import SparseRows

MAX_NEWTON = 60  # parameters: beyond, a Hessian is not worth it
TOLERANCE = 1e-9  # largest accepted error of f*, relative to max(1, f*)


class Solution(NamedTuple):
    """A certified minimiser."""

    point: NDArray[np.float64]  # shape of the task's parameter
    value: float
    error: float  # bound on value - f*
    solver: str


def solve(task: ConvexTask) -> Solution:
    """Return a minimiser of ``task.objective``; raise if it is not certified."""
    if task.loss_kind == "squared":
        return _closed_form(task)
    if task.loss_kind in ("logistic", "softmax"):
        return _lbfgs(task)
    return _linear_program(task)


def _value_and_grad(task: ConvexTask, flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
    """Objective and gradient at ``flat``, shape (parameters,)."""
    w = torch.from_numpy(flat.copy()).reshape(task.shape).requires_grad_()
    value = task.objective(w)
    (grad,) = torch.autograd.grad(value, w)
    return value.item(), grad.numpy().ravel()


def _closed_form(task: ConvexTask) -> Solution:
    """Ridge or least-squares solution by orthogonal factorisation of the stacked system."""
    features, targets = _dense(task), task.targets.numpy()
    n, d = features.shape
    stacked = np.concatenate([features, np.sqrt(n * task.l2) * np.eye(d)])
    point, _, _, singular = np.linalg.lstsq(stacked, np.concatenate([targets, np.zeros(d)]), rcond=None)
    point = np.asarray(point, dtype=np.float64)
    value, grad = _value_and_grad(task, point)
    error = float(grad @ grad) / float(2 * singular[-1] ** 2 / n)
    return _certified(task, Solution(point, value, error, "closed form (LAPACK gelsd)"))


def _lbfgs(task: ConvexTask) -> Solution:
    """Solution of a smooth, strongly convex task; where L-BFGS stalls, Newton's method ends it."""
    if task.l2 <= 0:
        raise ValueError(f"{task.name}: l2 must be positive for {task.loss_kind} loss, got {task.l2}")
    function = partial(_value_and_grad, task)
    options = {"maxiter": 20_000, "maxfun": 40_000, "maxcor": 30, "ftol": 0.0, "gtol": 1e-10}
    point = minimize(function, task.x0.numpy().ravel(), jac=True, method="L-BFGS-B", options=options).x
    value, grad = function(point)
    solver = "scipy L-BFGS-B"
    if len(point) <= MAX_NEWTON and float(grad @ grad) / (2 * task.l2) > TOLERANCE * max(1.0, value):
        hessian = torch.func.hessian(task.objective)
        point = minimize(
            function, point, jac=True, method="trust-exact", options={"gtol": 1e-12},
            hess=lambda x: hessian(torch.from_numpy(x)).numpy(),
        ).x  # fmt: skip
        value, grad = function(point)
        solver = "scipy L-BFGS-B, then trust-exact"
    error = float(grad @ grad) / (2 * task.l2)
    return _certified(task, Solution(point.reshape(task.shape), value, error, solver))


def _linear_program(task: ConvexTask) -> Solution:
    """Solution w, shape (d,), of the hinge or absolute task as a linear program with slacks >= 0."""
    if task.l2:
        raise ValueError(f"{task.name}: l2 must be 0 for {task.loss_kind} loss, got {task.l2}")
    features, targets = _dense(task), task.targets.numpy()
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
    error = abs(value - result.fun)  # result.fun equals the dual value at an optimal basis
    return _certified(task, Solution(w, value, error, "HiGHS"))


def _dense(task: ConvexTask) -> NDArray[np.float64]:
    """The features, shape (n, d)."""
    features = task.features
    return features.to_scipy().toarray() if isinstance(features, SparseRows) else features.numpy()


def _certified(task: ConvexTask, solution: Solution) -> Solution:
    """The solution; raise unless its error is within the tolerance."""
    if not solution.error <= TOLERANCE * max(1.0, abs(solution.value)):
        raise RuntimeError(f"{task.name}: f* is only known to {solution.error:.1e}, required {TOLERANCE:.0e}")
    return solution
