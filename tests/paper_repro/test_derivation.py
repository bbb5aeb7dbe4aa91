"""The steps of paper_repro/linear_decay_certificate.md, on runs that go well and runs that do not."""

import numpy as np
import pytest

from paper_repro.problems import Array, Problem, generated

STEPS = 30


def run(problem: Problem, eta: float) -> tuple[Array, Array, Array]:
    """y_1 … y_T, z_1 … z_{T+1} and g_1 … g_T as they are defined there."""
    y, z = [problem.x0], [problem.x0]
    gradients = []
    for t in range(1, STEPS + 1):
        gradients.append(problem.gradient(y[-1], None))
        y.append(y[-1] - eta * (STEPS - t) / STEPS * gradients[-1])
        z.append(z[-1] - eta * gradients[-1])
    return np.array(y[:-1]), np.array(z), np.array(gradients)


@pytest.mark.parametrize("seed", range(24))
@pytest.mark.parametrize("eta", [1e-3, 0.1, 1.0])
def test_steps_1_to_6(seed: int, eta: float) -> None:
    problem = generated(seed)
    y, z, g = run(problem, eta)
    t = np.arange(1, STEPS + 1)[:, None]
    x = np.cumsum(z[:-1], axis=0) / t
    scale = np.abs(z).max()
    np.testing.assert_allclose(y, (STEPS - t) / STEPS * z[:-1] + t / STEPS * x, atol=1e-12 * scale)  # (1)

    weighted = t[:, 0] * np.array([problem.gap(point) for point in x])
    products = np.sum(g * (z[:-1] - problem.minimiser), axis=1)
    room = 1e-9 * (1 + np.abs(weighted).max() + np.abs(products).max())
    assert (np.diff(weighted, prepend=0.0) <= products + room).all()  # (4)
    assert (np.cumsum(products) >= -room * STEPS).all()  # (5)

    rbar, G = np.linalg.norm(z - problem.x0, axis=1).max(), np.sum(g**2)
    bound = rbar * problem.d0 / (eta * STEPS) + eta * G / (2 * STEPS)
    assert problem.gap(y[-1]) <= bound * (1 + 1e-9)  # (7)
