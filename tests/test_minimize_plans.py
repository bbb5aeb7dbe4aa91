"""Restarts for strong convexity, and what the practical plan reaches."""

from typing import Any

import numpy as np
import pytest

import pfopt
from paper_repro.problems import Oracle, generated, strongly_convex_lad
from tests.reference.algorithm1 import doubling_restarts
from tests.reference.subject import of_result


@pytest.mark.parametrize(("total", "options"), [(4000, {}), (1023, {"L": 20.0, "delta": 0.1})])
@pytest.mark.parametrize("output", ["average", "last"])
def test_doubling_restarts(output: Any, total: int, options: dict) -> None:
    problem = strongly_convex_lad(0)
    oracle = Oracle(problem)
    names = {"lipschitz" if name == "L" else name: value for name, value in options.items()}
    plan = pfopt.Certified(output=output, restarts="doubling", **names)
    result = pfopt.minimize(oracle, problem.x0, total, plan=plan, initial_step=1e-2)
    firsts = [probe for probe in result.probes if (probe.k, probe.exponent) == (2, 4)]
    assert [probe.steps for probe in firsts] == [2**m // 4 for m in range(3, 3 + len(firsts))]
    first_steps = {m: probe.step_size / 16 for m, probe in enumerate(firsts, 3)}
    assert all(first_steps[m + 1] == first_steps[m] / 2 for m in range(3, 2 + len(firsts)))
    stages = doubling_restarts(
        Oracle(problem),
        problem.x0,
        first_steps.__getitem__,
        range(3, 3 + len(firsts)),
        output=output,
        **options,
    )
    assert of_result(result).decisions == [decision for stage in stages for decision in stage.decisions]
    assert oracle.calls == result.gradients == sum(stage.calls for stage in stages) <= total
    assert total - result.gradients < 2 ** (3 + len(firsts))
    np.testing.assert_allclose(result.x, stages[-1].point, rtol=0, atol=1e-10)


def test_restarts_share_delta_and_begin_a_budget_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stage m has B = 2^m and delta/(m(m+1)); no budget that a test can afford shows it in a decision."""
    seen = []

    def spy(total_steps: int, lipschitz: float, delta: float) -> Any:
        seen.append((total_steps, lipschitz, delta))
        return (3.0,) * 3, (0.0,) * 3

    monkeypatch.setattr("pfopt.options.theorem_constants", spy)
    problem = strongly_convex_lad(0)
    plan = pfopt.Certified(restarts="doubling", lipschitz=20.0, delta=0.3)
    pfopt.minimize(Oracle(problem), problem.x0, 128, plan=plan)
    assert len(seen) >= 4
    assert seen == [(2**m, 20.0, 0.3 / (m * (m + 1))) for m in range(3, 3 + len(seen))]


@pytest.mark.parametrize("anneal", ["averaging", "linear"])
@pytest.mark.parametrize("seed", range(8))
def test_the_practical_plan_spends_the_budget_and_descends(seed: int, anneal: Any) -> None:
    problem, B, noise = generated(seed), 600, 0.1 * (seed // 4)
    oracle = Oracle(problem, values=seed % 2 > 0, noise=noise, calls=B)
    result = pfopt.minimize(oracle, problem.x0, B, plan=pfopt.Practical(anneal=anneal))
    assert oracle.calls == result.gradients == B
    assert np.isfinite(result.x).all()
    assert problem.gap(result.x) < 0.2 * problem.gap(problem.x0)


@pytest.mark.parametrize("kind", ["logistic", "squared"])
@pytest.mark.parametrize("seed", range(2))
def test_without_noise_at_the_optimum_the_main_run_converges_to_rounding(seed: int, kind: str) -> None:
    """Weights that do not follow the gradients, or steps that outgrow them, leave 1e-5 to 1e-3 here."""
    draw = np.random.default_rng(seed)
    rows, best = draw.standard_normal((400, 30)), draw.standard_normal(30) / 30**0.5
    chances = 1.0 / (1.0 + np.exp(-rows @ best))

    def squared(x: Any) -> Any:
        batch = draw.integers(400, size=16)
        return rows[batch].T @ (rows[batch] @ (x - best)) / 16

    def logistic(x: Any) -> Any:
        return rows.T @ (1.0 / (1.0 + np.exp(-rows @ x)) - chances) / 400

    oracle = squared if kind == "squared" else logistic
    x = pfopt.minimize(oracle, np.zeros(30), 2000).x
    assert np.linalg.norm(x - best) < 1e-12 * np.linalg.norm(best)


@pytest.mark.parametrize("seed", range(3))
def test_exact_gradients_reach_a_kink(seed: int) -> None:
    """Steps that do not decay end at 0.007 to 0.012 of the gap here, since ‖g‖ does not fall; these at 1e-4."""
    draw = np.random.default_rng(seed)
    rows, best = draw.standard_normal((200, 5)), draw.standard_normal(5)

    def absolute(x: Any) -> Any:
        return rows.T @ np.sign(rows @ (x - best)) / 200

    x = pfopt.minimize(absolute, np.zeros(5), 1000).x
    assert np.abs(rows @ (x - best)).mean() < 1e-3 * np.abs(rows @ best).mean()
