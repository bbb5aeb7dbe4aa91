"""Convex problems with known minimisers, and oracles whose noise is fixed by the number of the call.

Two implementations that call their oracles in the same order see the same noise, wherever they are.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.optimize import linprog, minimize
from scipy.special import expit

Array = np.ndarray


@dataclass(frozen=True)
class Problem:
    """min f over R^d; `gradient(x, rows)` is a subgradient of the mean over these rows (None: all)."""

    name: str
    value: Callable[[Array], float]
    gradient: Callable[[Array, Array | None], Array]
    x0: Array
    solve: Callable[[], Array] = field(repr=False)
    rows: int = 1

    @functools.cached_property
    def minimiser(self) -> Array:
        """A point where f is smallest, from a solver that is not ours."""
        return self.solve()

    @functools.cached_property
    def minimum(self) -> float:
        """f*."""
        return self.value(self.minimiser)

    @property
    def d0(self) -> float:
        """Distance from the anchor to the minimiser."""
        return float(np.linalg.norm(self.x0 - self.minimiser))

    def gap(self, x: Array) -> float:
        """f(x) - f*."""
        return self.value(x) - self.minimum


class Oracle:
    """A problem as the package sees it: one gradient per call, values on request, any array shape.

    Args:
        problem: what is minimised.
        noise: standard deviation of Gaussian noise on the gradient, shared out over its entries.
        batch: number of rows drawn with replacement at each call; 0 is all of them.
        calls: how many calls are foreseen; the noise of call i is drawn here, once.
        seed: of the noise.
        values: whether to return (value, gradient).
        shape: of the points; None is the problem's own.
    """

    def __init__(
        self,
        problem: Problem,
        *,
        noise: float = 0.0,
        batch: int = 0,
        calls: int = 0,
        seed: int = 0,
        values: bool = False,
        shape: tuple[int, ...] | None = None,
    ):
        rng, d = np.random.default_rng(seed), problem.x0.size
        self.problem, self.values, self.shape = problem, values, (d,) if shape is None else shape
        self.noise = noise / np.sqrt(d) * rng.standard_normal((calls, d)) if noise else None
        self.batches = rng.integers(problem.rows, size=(calls, batch)) if batch else None
        self.calls = 0

    def __call__(self, x: Array) -> Any:
        """The gradient at x, with the noise of this call; with ``values``, (value, gradient)."""
        i, self.calls = self.calls, self.calls + 1
        point = x.reshape(-1).astype(np.float64)
        with np.errstate(all="ignore"):
            gradient = self.problem.gradient(point, None if self.batches is None else self.batches[i])
            if self.noise is not None:
                gradient = gradient + self.noise[i]
            gradient = gradient.astype(x.dtype).reshape(self.shape)
            return (float(self.problem.value(point)), gradient) if self.values else gradient


def finite_sum(
    name: str,
    data: tuple[Array, Array],
    loss: Callable[[Array, Array], Array],
    slope: Callable[[Array, Array], Array],
    solve: Callable[[], Array],
    *,
    ridge: float = 0.0,
    x0: Array | None = None,
) -> Problem:
    """mean_i loss(a_i . x, b_i) + ridge/2 |x|^2."""
    A, b = data

    def value(x: Array) -> float:
        return float(np.mean(loss(A @ x, b)) + 0.5 * ridge * (x @ x))

    def gradient(x: Array, rows: Array | None) -> Array:
        a, y = (A, b) if rows is None else (A[rows], b[rows])
        return a.T @ slope(a @ x, y) / len(y) + ridge * x

    return Problem(name, value, gradient, np.zeros(A.shape[1]) if x0 is None else x0, solve, len(b))


def epigraph_minimiser(rows: Array, offsets: Array, group: Array) -> Array:
    """Minimise the mean over groups of max_{i in group} rows[i] . x + offsets[i], as a linear program."""
    groups = int(group.max()) + 1
    slack = np.zeros((len(rows), groups))
    slack[np.arange(len(rows)), group] = -1.0
    d = rows.shape[1]
    cost = np.concatenate([np.zeros(d), np.ones(groups) / groups])
    answer = linprog(cost, A_ub=np.hstack([rows, slack]), b_ub=-offsets, bounds=(None, None), method="highs")
    if answer.status != 0:
        raise RuntimeError(answer.message)
    return answer.x[:d]


def regression_data(seed: int, n: int, d: int, noise: float) -> tuple[Array, Array]:
    """Gaussian features of falling scale; targets linear in them, with Laplace noise."""
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((n, d)) * np.geomspace(1.0, 0.2, d)
    return A, A @ rng.standard_normal(d) + noise * rng.laplace(size=n)


def labelled_data(seed: int, n: int, d: int) -> tuple[Array, Array]:
    """Two overlapping classes; a fifth of the labels is turned round, so that no plane separates them."""
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((n, d))
    b = np.where(A @ rng.standard_normal(d) + 0.3 * rng.standard_normal(n) > 0, 1.0, -1.0)
    return A, np.where(rng.random(n) < 0.2, -b, b)


def least_absolute_deviations(seed: int, n: int = 60, d: int = 5, noise: float = 0.5) -> Problem:
    """Mean |Ax - b|, solved as a linear program."""
    A, b = regression_data(seed, n, d, noise)

    def solve() -> Array:
        index = np.arange(n)
        return epigraph_minimiser(np.vstack([A, -A]), np.concatenate([-b, b]), np.concatenate([index, index]))

    return finite_sum("lad", (A, b), lambda u, y: np.abs(u - y), lambda u, y: np.sign(u - y), solve)


def strongly_convex_lad(seed: int, n: int = 100, d: int = 10, ridge: float = 0.05) -> Problem:
    """Least absolute deviations with a ridge; solved by its dual, a quadratic in a box, then exactly."""
    A, b = regression_data(seed, n, d, 0.5)

    def dual(u: Array) -> tuple[float, Array]:
        x = -(A.T @ u) / (n * ridge)
        return float(0.5 * ridge * (x @ x) + u @ b / n), (b - A @ x) / n

    def solve() -> Array:
        tight = {"ftol": 1e-16, "gtol": 1e-13, "maxiter": 100_000, "maxfun": 1_000_000}
        u = minimize(dual, np.zeros(n), jac=True, method="L-BFGS-B", bounds=[(-1, 1)] * n, options=tight).x
        inner = np.abs(u) < 1 - 1e-7  # rows that the minimiser interpolates; the others keep their sign
        m = int(inner.sum())
        system = np.block([[n * ridge * np.eye(d), A[inner].T], [A[inner], np.zeros((m, m))]])
        pull = -A[~inner].T @ np.sign(u[~inner])
        answer = np.linalg.solve(system, np.concatenate([pull, b[inner]]))
        x, multipliers = answer[:d], answer[d:]
        optimal = np.abs(multipliers).max() <= 1 and np.all(
            np.sign((A @ x - b)[~inner]) == np.sign(u[~inner])
        )
        if not optimal:
            raise RuntimeError("the rows that the minimiser interpolates were not identified")
        return x

    return finite_sum(
        "strongly convex lad",
        (A, b),
        lambda u, y: np.abs(u - y),
        lambda u, y: np.sign(u - y),
        solve,
        ridge=ridge,
    )


def least_squares(seed: int, n: int = 60, d: int = 5, ridge: float = 0.0) -> Problem:
    """Half the mean of (Ax - b)^2, plus a ridge, solved in closed form."""
    A, b = regression_data(seed, n, d, 0.5)

    def solve() -> Array:
        return np.linalg.solve(A.T @ A / n + ridge * np.eye(d), A.T @ b / n)

    name = "ridge" if ridge else "least squares"
    return finite_sum(name, (A, b), lambda u, y: 0.5 * (u - y) ** 2, lambda u, y: u - y, solve, ridge=ridge)


def logistic(seed: int, n: int = 60, d: int = 5, ridge: float = 1e-2) -> Problem:
    """Mean log(1 + exp(-b Ax)) plus a ridge, solved by Newton's method."""
    A, b = labelled_data(seed, n, d)

    def solve() -> Array:
        x = np.zeros(d)
        for _ in range(50):
            p = expit(-b * (A @ x))
            hessian = (A.T * (p * (1 - p))) @ A / n + ridge * np.eye(d)
            x = x - np.linalg.solve(hessian, ridge * x - A.T @ (b * p) / n)
        return x

    return finite_sum(
        "logistic",
        (A, b),
        lambda u, y: np.logaddexp(0, -y * u),
        lambda u, y: -y * expit(-y * u),
        solve,
        ridge=ridge,
    )


def hinge(seed: int, n: int = 60, d: int = 5) -> Problem:
    """Mean max(0, 1 - b Ax), solved as a linear program."""
    A, b = labelled_data(seed, n, d)

    def solve() -> Array:
        rows = np.vstack([-b[:, None] * A, np.zeros_like(A)])
        return epigraph_minimiser(rows, np.concatenate([np.ones(n), np.zeros(n)]), np.tile(np.arange(n), 2))

    return finite_sum(
        "hinge",
        (A, b),
        lambda u, y: np.maximum(0, 1 - y * u),
        lambda u, y: np.where(y * u < 1, -y, 0.0),
        solve,
    )


def max_of_affine(seed: int, m: int = 12, d: int = 4) -> Problem:
    """max_i a_i . x + b_i with sum a_i = 0, hence bounded below."""
    rng = np.random.default_rng(seed)
    A, b = rng.standard_normal((m, d)), rng.standard_normal(m)
    A -= A.mean(axis=0)

    return Problem(
        "max of affine",
        lambda x: float(np.max(A @ x + b)),
        lambda x, rows: A[np.argmax(A @ x + b)],
        rng.standard_normal(d),
        lambda: epigraph_minimiser(A, b, np.zeros(m, dtype=int)),
    )


def distance(target: Array, x0: Array) -> Problem:
    """|x - target|: convex, 1-Lipschitz, every gradient of length 1."""

    def gradient(x: Array, rows: Array | None) -> Array:
        length = np.linalg.norm(x - target)
        return (x - target) / length if length > 0 else np.zeros_like(x)

    return Problem("distance", lambda x: float(np.linalg.norm(x - target)), gradient, x0, lambda: target)


def spatial_median(data: Array, x0: Array) -> Problem:
    """Mean |x - b_i|; the gradient of one row has length 1."""

    def value(x: Array) -> float:
        return float(np.mean(np.linalg.norm(x - data, axis=1)))

    def gradient(x: Array, rows: Array | None) -> Array:
        away = x - (data if rows is None else data[rows])
        return np.mean(away / np.linalg.norm(away, axis=1, keepdims=True), axis=0)

    def solve() -> Array:
        start = data.mean(axis=0)
        return minimize(value, start, jac=lambda x: gradient(x, None), options={"gtol": 1e-10}).x

    return Problem("spatial median", value, gradient, x0, solve, len(data))


def quadratic(spectrum: Array, minimiser: Array, x0: Array | None = None) -> Problem:
    """sum_i spectrum_i (x_i - minimiser_i)^2 / 2; smoothness max(spectrum)."""
    return Problem(
        "quadratic",
        lambda x: 0.5 * float(spectrum @ np.square(x - minimiser)),
        lambda x, rows: spectrum * (x - minimiser),
        np.zeros(len(spectrum)) if x0 is None else x0,
        lambda: minimiser,
    )


def slow_quadratic(d: int = 4000) -> Problem:
    """A quadratic on which the smooth rate 1/B is met and not beaten by much."""
    i = np.arange(1.0, d + 1)
    return quadratic(i**-2, i**-0.5)


def largest_entry(d: int) -> Problem:
    """max_i x_i from 0: every gradient is orthogonal to those before. There is no minimiser."""

    def gradient(x: Array, rows: Array | None) -> Array:
        g = np.zeros(d)
        g[np.argmax(x)] = 1.0
        return g

    def solve() -> Array:
        raise ValueError("max_i x_i is unbounded below")

    return Problem("largest entry", lambda x: float(np.max(x)), gradient, np.zeros(d), solve)


def generated(seed: int) -> Problem:
    """Problem number `seed` of the generated family: eight kinds in turn, with random sizes and spectra."""
    rng = np.random.default_rng([7, seed])
    n, d = int(rng.integers(20, 80)), int(rng.integers(1, 9))
    spectrum = np.geomspace(1.0, 10.0 ** -rng.uniform(0, 4), d) * 10.0 ** rng.uniform(-3, 3)
    kinds: list[Callable[[], Problem]] = [
        lambda: least_absolute_deviations(seed, n, d),
        lambda: least_squares(seed, n, d),
        lambda: least_squares(seed, n, d, ridge=0.1),
        lambda: logistic(seed, n, d),
        lambda: hinge(seed, n, d),
        lambda: max_of_affine(seed, 2 * d + 4, d),
        lambda: distance(rng.standard_normal(d) + 1.0, rng.standard_normal(d)),
        lambda: quadratic(spectrum, rng.standard_normal(d), rng.standard_normal(d)),
    ]
    return kinds[seed % len(kinds)]()
