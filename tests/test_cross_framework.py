"""Fed the same gradients, numpy, torch and optax take the same decisions and return the same point."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Container, Iterator
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import pfopt
import pfopt.optax
import pfopt.torch
from pfopt.search import plan as plans
from pfopt.search import schedule as schedules
from pfopt.search import tracking
from pfopt.search.state import Config, Phase, on_host
from tests.optax import problems
from tests.torch.problems import NOISE

Array = NDArray[np.float64]

RNG = np.random.default_rng(0)
ROWS, COLUMNS = 40, 6
INPUTS: Array = RNG.standard_normal((ROWS, COLUMNS)) * np.geomspace(3.0, 0.3, COLUMNS)
TARGETS: Array = INPUTS @ RNG.standard_normal(COLUMNS) + 0.3 * RNG.standard_normal(ROWS)
START: Array = RNG.standard_normal(COLUMNS)


class Oracle:
    """Least squares with recorded noise; calls in ``broken`` answer ``fault``, every ``idle``-th one zero."""

    def __init__(
        self, noise: float, broken: Container[int] = (), idle: int | None = None, fault: float = np.nan
    ) -> None:
        self.noise, self.broken, self.idle, self.fault = noise, broken, idle, fault
        self.calls = itertools.count()
        self.draw = np.random.default_rng(1)

    def __call__(self, x: Array) -> tuple[float, Array]:
        residual = INPUTS @ x - TARGETS
        grad = INPUTS.T @ residual / ROWS + self.noise * self.draw.standard_normal(COLUMNS)
        call = next(self.calls)
        if call in self.broken:
            grad = grad * self.fault
        if self.idle and call % self.idle == self.idle - 1:
            grad = np.zeros_like(grad)
        return float(residual @ residual / (2 * ROWS)), grad


class Outcome(NamedTuple):
    """What all three must agree on."""

    x: Array
    probes: int
    gradients: int
    message: str


def by_numpy(oracle: Oracle, budget: int, *, losses: bool, **kwargs: Any) -> Outcome:
    result = pfopt.minimize(oracle if losses else lambda x: oracle(x)[1], START, budget, **kwargs)
    return Outcome(result.x, len(result.probes), result.num_grad_evals, result.status.message)


def by_torch(
    oracle: Oracle, budget: int, *, losses: bool, adam: bool = False, pieces: int = 1, **kwargs: Any
) -> Outcome:
    params = [torch.nn.Parameter(piece.clone()) for piece in torch.from_numpy(START).chunk(pieces)]
    if adam:
        optimizer = pfopt.torch.ParameterFree(torch.optim.Adam(params), budget, **kwargs)
    else:
        optimizer = pfopt.torch.ParameterFreeSGD(params, budget, **kwargs)

    def point() -> Array:
        return np.concatenate([param.detach().numpy() for param in params])

    while optimizer.status().phase != "done":
        value, grad = oracle(point())
        for param, piece in zip(params, torch.from_numpy(grad).chunk(pieces), strict=True):
            param.grad = piece
        optimizer.step(loss=value if losses else None)
    status = optimizer.status()
    return Outcome(point(), status.probe, status.step, status.message)


def by_optax(
    oracle: Oracle, budget: int, *, losses: bool, adam: bool = False, pieces: int = 1, **kwargs: Any
) -> Outcome:
    with jax.enable_x64(True):
        tx = (problems.adam if adam else problems.sgd)(budget, **kwargs)
        step, params = problems.fed(tx, losses=losses), jnp.split(jnp.asarray(START), pieces)
        state = tx.init(params)
        while pfopt.optax.status(state).phase != "done":
            value, grad = oracle(np.concatenate(params))
            params, state = step(params, state, jnp.split(jnp.asarray(grad), pieces), value)
        status = pfopt.optax.status(state)
        return Outcome(np.concatenate(params), status.probe, status.step, status.message)


def assert_agree(
    budget: int,
    noise: float,
    broken: Container[int] = (),
    idle: int | None = None,
    fault: float = np.nan,
    **kwargs: Any,
) -> None:
    """At the defaults; numpy tells of the search alone, and not of explosions."""
    runs = (by_optax, by_numpy, by_torch)
    ours, plain, other = (run(Oracle(noise, broken, idle, fault), budget, **kwargs) for run in runs)
    assert ours.probes >= 2
    assert not np.array_equal(ours.x, START)
    assert ours[1:] == other[1:]
    told = ours.message.partition(" The long run exploded")[0]
    assert ours._replace(message=told)[1:] == plain[1:]
    for x in (plain.x, other.x):
        np.testing.assert_allclose(ours.x, x, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("losses", [False, True], ids=["gradients", "losses"])
@pytest.mark.parametrize("schedule", ["constant", "linear"])
@pytest.mark.parametrize(
    ("plan", "budget"),
    [("train", 60), ("train", 200), ("train", 1200), ("certified", 64), ("certified", 200)],
)
def test_whole_runs_agree(plan: str, budget: int, schedule: str, losses: bool) -> None:
    assert_agree(budget, NOISE[plan], plan=plan, schedule=schedule, losses=losses)


@pytest.mark.parametrize("noise", [0.1, 3.0])
@pytest.mark.parametrize("plan", ["train", "certified"])
def test_whole_runs_with_noise_agree(plan: str, noise: float) -> None:
    """Strong noise lengthens the probes of plan train."""
    assert_agree(400, noise, plan=plan, schedule="linear", losses=False)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("scope", ["global", "tensor", "auto"])
def test_whole_runs_of_several_tensors_agree(scope: str, momentum: float) -> None:
    settings = {"losses": False, "pieces": 3, "scope": scope, "momentum": momentum}
    ours, other = (run(Oracle(NOISE["train"]), 400, **settings) for run in (by_optax, by_torch))
    assert ours[1:] == other[1:]
    np.testing.assert_allclose(ours.x, other.x, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("noise", [0.0, 1.0])
@pytest.mark.parametrize(
    ("plan", "schedule"), [("train", "linear"), ("certified", "constant"), ("certified", "linear")]
)
def test_whole_runs_with_the_directions_of_adam_agree(plan: str, schedule: str, noise: float) -> None:
    """To the digits that torch's direction loses where it is read off the base's own step."""
    settings = {"plan": plan, "schedule": schedule, "losses": False, "adam": True}
    ours, other = (run(Oracle(noise), 400, **settings) for run in (by_optax, by_torch))
    assert ours.probes >= 2
    assert ours[1:] == other[1:]
    np.testing.assert_allclose(ours.x, other.x, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("idle", [2, 3, 7])
@pytest.mark.parametrize("plan", ["train", "certified"])
def test_whole_runs_with_zero_gradients_agree(plan: str, idle: int) -> None:
    """A hinge loss has them whenever a batch is classified with a margin; they are steps like any other."""
    assert_agree(300, NOISE[plan], idle=idle, plan=plan, schedule="linear", losses=False)


@pytest.mark.parametrize("broken", [0, 1, 5, 17, 60, 150, 299])
@pytest.mark.parametrize("plan", ["train", "certified"])
def test_whole_runs_with_a_fault_agree(plan: str, broken: int) -> None:
    assert_agree(300, NOISE[plan], broken=[broken], plan=plan, schedule="linear", losses=False)


@pytest.mark.parametrize("fault", [np.nan, 0.0, 1e6], ids=["nan", "zero", "burst"])
@pytest.mark.parametrize("first", [1, 5, 150, 240])
def test_whole_runs_with_many_faults_agree(first: int, fault: float) -> None:
    broken = range(first, first + 40)
    assert_agree(
        300, NOISE["train"], broken=broken, fault=fault, plan="train", schedule="linear", losses=False
    )


class Scalars(NamedTuple):
    """One row of a recorded stream: what a kernel reports."""

    grad_sq: Any
    distance_sq: Any
    value: Any


def stream(seed: int, faults: bool) -> Iterator[Scalars]:
    """Wild scalars: over many decades, now and then NaN or infinite."""
    draw = np.random.default_rng(seed)
    distance = 1e-6
    while True:
        grad_sq, value = 10.0 ** draw.uniform(-2, 1), draw.uniform(0, 2)
        distance *= 10.0 ** draw.uniform(-0.5, 0.9)
        if draw.random() < 0.05:
            distance = 10.0 ** draw.uniform(-8, 3)
        if faults and draw.random() < 0.1:
            bad = draw.choice([np.nan, np.inf])
            yield draw.permutation(
                [Scalars(bad, distance, value), Scalars(grad_sq, bad, value), Scalars(grad_sq, distance, bad)]
            )[0]
        else:
            yield Scalars(grad_sq, distance, value)


def one_gradient(config: Config, state: Any, run: Any, row: Any, xp: Any) -> Any:
    """The controller's part of a step, driven by scalars: state, run, and whether the run has ended."""
    grad_sq, distance_sq = (xp.reshape(each, (1,)) for each in (row[0], row[1]))
    initial = xp.where(
        state.initial_step == 0, plans.first_step(config, row[1], row[0], xp), state.initial_step
    )
    state = state._replace(initial_step=xp.where(xp.isfinite(initial), initial, state.initial_step))
    counts = xp.asarray(True)
    step_size = plans.step_size(state, xp) * schedules.dual_factor("constant", run.step, state.run_length)
    patience = 1 if config.plan == "certified" else tracking.PATIENCE
    probed = tracking.probe(run, grad_sq, row[2], counts, step_size=step_size, patience=patience, xp=xp)
    *tracked, _ = tracking.track(
        run,
        grad_sq,
        row[2],
        counts,
        cap=plans.cap_size(state, xp),
        vouched=state.probe_length,
        alpha=config.alphas[0],
        start_sq=plans.start_sq(config, state, xp),
        guess=state.initial_step,
        length=state.run_length,
        noise_sq=state.noise_sq,
        schedule=plans.step_schedule(config),
        gamma=schedules.GAMMA[config.primal],
        xp=xp,
    )
    run, move = (
        _pick(xp, state.phase == Phase.SEARCH, one, other) for one, other in zip(probed, tracked, strict=True)
    )
    run, _ = tracking.moved(run, move, distance_sq, xp)
    after, _ = plans.finish(config, state, run, xp)
    ended = run.step >= state.run_length
    fresh = tracking.begin(0, run.grad_sq.dtype, xp)
    return _pick(xp, ended, after, state), _pick(xp, ended, fresh, run)


@cache
def _jitted_gradient(config: Config) -> Callable[..., Any]:
    return jax.jit(lambda state, run, row: _like(one_gradient(config, state, run, row, jnp), (state, run)))


def _pick(xp: Any, condition: Any, yes: Any, no: Any) -> Any:
    return jax.tree.map(lambda a, b: xp.where(condition, a, b), yes, no)


def integers(state: Any, run: Any) -> list[int]:
    """Every decision: all that is not a float."""
    return [int(leaf) for leaf in jax.tree.leaves((state, run)) if np.asarray(leaf).dtype.kind in "bi"]


@pytest.mark.parametrize("faults", [False, True], ids=["finite", "faults"])
@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("plan", ["train", "certified"])
def test_recorded_scalars_give_the_same_integers(plan: str, dtype: str, seed: int, faults: bool) -> None:
    steps, config = 600, plans.configure(600, plan, "linear")
    rows = [
        tuple(np.asarray(x, dtype) for x in row)
        for row, _ in zip(stream(seed, faults), range(steps), strict=False)
    ]
    with jax.enable_x64(dtype == "float64"):
        host = (_cast(plans.init(config), dtype), tracking.begin(0, dtype, np))
        device = jax.tree.map(jnp.asarray, host)
        step = _jitted_gradient(config)
        decided = set()
        for row in rows:
            if host[0].phase == Phase.DONE:
                break
            with np.errstate(all="ignore"):
                host = _cast(one_gradient(config, *host, row, np), dtype)
            device = step(*device, row)
            assert integers(*device) == integers(*host)
            decided.add((int(host[0].phase), int(host[0].bracket.exponent)))
    assert len(decided) >= 3


def _cast(record: Any, dtype: str) -> Any:
    def cast(leaf: Any) -> Any:
        array = np.asarray(on_host(leaf) if np.ndim(leaf) == 0 else leaf)
        return array.astype({"b": "bool", "i": "int32", "f": dtype}[array.dtype.kind])

    return jax.tree.map(cast, record)


def _like(new: Any, old: Any) -> Any:
    return jax.tree.map(lambda a, b: jax.lax.convert_element_type(a, b.dtype), new, old)
