"""``run``, ``step`` and ``update`` on torch tensors and traced jax arrays agree with numpy to rounding.

And what is decided of recorded numbers is the same on the host and under ``jit``, to the last integer.
"""

from collections.abc import Iterator
from contextlib import nullcontext
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import pfopt
from pfopt import options
from pfopt.core import arrays, controller, step, update
from pfopt.core import run as runs
from pfopt.core.arrays import Record
from pfopt.core.config import Config
from pfopt.core.records import Phase, Run, State
from pfopt.core.step import Measured, Moved
from pfopt.core.update import Arithmetic, Block, Rule
from pfopt.testing.optax.problems import double_precision

SIZES, STEPS = (3, 4), 40
PLANS = {
    "averaging": pfopt.Practical(),
    "linear": pfopt.Practical(anneal="linear"),
    "based": pfopt.Practical(),
    "certified": pfopt.Certified(),
    "certified, last": pfopt.Certified(output="last"),
}
MEASURED = {"measured_first": 3, "measured_every": 4}  # few, of so few gradients
FAULTS = {6: np.nan, 20: np.inf, 21: np.nan, 22: np.inf, 23: np.nan, 34: 1e4}  # four in a row, and a burst


def gradients() -> Iterator[np.ndarray]:
    """Of both tensors; now and then not finite, or a burst."""
    draw = np.random.default_rng(0)
    for count in range(STEPS):
        yield draw.standard_normal(sum(SIZES)) * FAULTS.get(count, 0.99**count)


class Point(NamedTuple):
    """All that a back end keeps."""

    run: Run
    blocks: tuple[Block, ...]


def start(xp: Any, **kind: Any) -> Point:
    """Two tensors away from the origin."""
    anchors = np.split(np.random.default_rng(1).standard_normal(sum(SIZES)), SIZES[:1])
    blocks = []
    for anchor in anchors:
        x, zero = xp.asarray(anchor, **kind), xp.zeros(anchor.shape, **kind)
        blocks.append(Block(x, x, zero, average=x, mean_square=zero, velocity=zero))
    return Point(runs.begin(len(SIZES), xp, **kind), tuple(blocks))


def take(config: Config, state: State, point: Point, grads: Any, loss: Any, xp: Any) -> tuple[Point, Any]:
    """The calls of a back end, with two tensors that have steps of their own, and so have their coordinates."""
    arithmetic = Arithmetic(
        dot=lambda a, b: (a * b).sum(),
        lerp=lambda a, b, weight: a + weight * (b - a),
        move=lambda a, b, c: a - b * c,
        clip=lambda x, least, most: x.clip(least, most),
    )

    def vector(numbers: list[Any]) -> Any:
        return xp.stack([numbers[0] + numbers[1], *numbers])

    squares = vector([xp.square(grad).sum() for grad in grads])
    measured = Measured(squares, loss, squares[0] != 0, xp.ones_like(squares[0]))
    state, run, decision = step.decide(config, state, point.run, measured)
    probing, blocks, moved_sq, sums = config.certified or state.phase == Phase.SEARCH, [], [], []
    rule = Rule(size=sum(SIZES), momentum=0.5, nesterov=True, largest=1e30)
    for index, (block, grad) in enumerate(zip(point.blocks, grads, strict=True), 1):
        block = block._replace(gradient=grad)
        step_size = decision.step_sizes[index]
        if probing:
            block, measured_block = update.move_probe_block(block, decision, step_size, arithmetic)
        else:
            move = rule, decision, xp.maximum(step_size, decision.step_sizes[0]), arithmetic
            block, grad_sq = update.move_block(block, *move)
            moved_sq.append(grad_sq)
            measured_block = update.measure_block(block, *move)
        blocks.append(block)
        sums.append(measured_block)
    distance_sq = vector([each.distance_sq for each in sums])
    moved = Moved(distance_sq)
    if not probing:
        moved = Moved(
            distance_sq,
            vector(moved_sq),
            sum(each.displacement_sq for each in sums),
            sum(each.displacement_product for each in sums),
        )
    run, kept = step.record(run, decision, measured, moved)
    told = (decision.taken, decision.restart, decision.measured, decision.moving, kept)
    numbers = (
        decision.step_sizes,
        decision.average_weight,
        decision.beta,
        decision.next_beta,
        state.initial_step,
    )
    return Point(run, tuple(blocks)), (told, numbers)


def setting(plan: str, phase: Phase) -> tuple[Config, State]:
    config = options.configure(PLANS[plan], 1000, based=plan == "based")
    config = config._replace(constants=config.constants._replace(**MEASURED))
    state = controller.init(config, len(SIZES), np, 2.0**-6)
    bracket = state.bracket._replace(has_lo=True, lo_distance_sq=np.asarray([0.5, 0.25, 0.0]), exponent=1)
    noise = {"noise_known": True, "noise_sq": 1e-3}
    return config, state._replace(phase=phase, run_length=STEPS, bracket=bracket, cap_exponent=3, **noise)


def host_of(record: Record) -> Any:
    return jax.tree.map(np.asarray, record)


@cache
def by_numpy(plan: str, phase: Phase) -> list[Any]:
    (config, state), point, found = setting(plan, phase), start(np, dtype=np.float64), []
    with np.errstate(all="ignore"):
        for count, grad in enumerate(gradients()):
            loss = np.float64(np.nan if count == 11 else 1.0)
            point, told = take(config, state, point, np.split(grad, SIZES[:1]), loss, np)
            found.append(host_of((point, told)))
    return found


def by_torch(plan: str, phase: Phase) -> list[Any]:
    """The state is of the host, as in the front end."""
    (config, state), point, found = setting(plan, phase), start(torch, dtype=torch.float64), []
    vector = torch.as_tensor(state.bracket.lo_distance_sq)
    state = state._replace(bracket=state.bracket._replace(lo_distance_sq=vector))
    for count, grad in enumerate(gradients()):
        loss = torch.tensor(np.nan if count == 11 else 1.0, dtype=torch.float64)
        grads = torch.as_tensor(grad).split(SIZES)
        point, told = take(config, state, point, grads, loss, torch)
        found.append(host_of((point, told)))
    return found


def by_jax(plan: str, phase: Phase) -> list[Any]:
    """Everything is traced but the phase, which tells what moves a block."""
    with double_precision():
        (config, host), point, found = setting(plan, phase), start(jnp, dtype=jnp.float64), []
        state = jax.tree.map(jnp.asarray, host)

        @jax.jit
        def program(state: State, point: Point, grad: Any, loss: Any) -> Any:
            fixed = state._replace(phase=host.phase)
            return take(config, fixed, point, jnp.split(grad, SIZES[:1]), loss, jnp)

        for count, grad in enumerate(gradients()):
            point, told = program(state, point, grad, np.nan if count == 11 else 1.0)
            found.append(host_of((point, told)))
    return found


@pytest.mark.parametrize("library", [by_torch, by_jax])
@pytest.mark.parametrize(
    ("plan", "phase"),
    [
        ("averaging", Phase.SEARCH),
        ("averaging", Phase.MAIN),
        ("linear", Phase.MAIN),
        ("based", Phase.MAIN),
        ("certified", Phase.SEARCH),
        ("certified, last", Phase.SEARCH),
    ],
)
def test_libraries_agree_to_rounding(library: Any, plan: str, phase: Phase) -> None:
    expected, found = by_numpy(plan, phase), library(plan, phase)
    taken = [told[0] for _, (told, _) in expected]
    assert 3 < sum(taken) < STEPS  # until a probe ends, or but for faults
    measured = [told[2] for _, (told, _) in expected]
    assert (sum(measured) < STEPS) == (phase == Phase.MAIN)
    for count, (one, other) in enumerate(zip(expected, found, strict=True)):
        for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
            if a.dtype.kind == "f":
                np.testing.assert_allclose(b, a, rtol=1e-9, atol=1e-12, err_msg=f"gradient {count}")
            else:
                np.testing.assert_array_equal(b, a, err_msg=f"gradient {count}")


class Scalars(NamedTuple):
    """What a back end measures of one gradient."""

    grad_sq: Any
    distance_sq: Any
    loss: Any


def stream(seed: int, faults: bool) -> Iterator[Scalars]:
    """Wild scalars: over many decades, now and then NaN or infinite."""
    draw = np.random.default_rng(seed)
    distance_sq = 1e-6
    while True:
        grad_sq, loss = 10.0 ** draw.uniform(-2, 1), draw.uniform(0, 2)
        distance_sq *= 10.0 ** draw.uniform(-0.5, 0.9)
        if draw.random() < 0.05:
            distance_sq = 10.0 ** draw.uniform(-8, 3)
        row = [grad_sq, distance_sq, loss]
        if faults and draw.random() < 0.1:
            row[draw.integers(3)] = draw.choice([np.nan, np.inf])
        yield Scalars(*row)


def follow(config: Config, state: State, run: Run, row: Scalars, xp: Any) -> tuple[State, Run]:
    """The core's part of a gradient, and of the end of a run."""
    grad_sq, distance_sq = (xp.reshape(each, (1,)) for each in row[:2])
    measured = Measured(grad_sq, row.loss, xp.asarray(True), row.distance_sq)
    state, run, decision = step.decide(config, state, run, measured)
    run, _ = step.record(run, decision, measured, Moved(distance_sq))
    fresh = runs.begin(0, xp, dtype=run.weight_sum.dtype)
    fresh = fresh._replace(**{name: xp.reshape(getattr(fresh, name), (-1,)) for name in VECTORS})
    after, _ = controller.finish(config, state, run)
    ended = run.step >= state.run_length
    return arrays.choose(ended, after, state), arrays.choose(ended, fresh, run)


VECTORS = ("grad_sq_sum", "mean_grad_sq", "distance_sq", "next_step_sizes")


@cache
def jitted(config: Config) -> Any:
    def like(new: Any, old: Any) -> Any:
        return jax.tree.map(lambda a, b: jax.lax.convert_element_type(a, b.dtype), new, old)

    return jax.jit(lambda state, run, row: like(follow(config, state, run, row, jnp), (state, run)))


def cast(record: Record, dtype: str) -> Record:
    """Arrays of the dtypes that a traced program has."""
    kinds = {"b": "bool", "i": "int32", "f": dtype}
    return jax.tree.map(lambda leaf: np.asarray(leaf).astype(kinds[np.asarray(leaf).dtype.kind]), record)


def integers(record: Record) -> list[int]:
    """Every decision: all that is not a float."""
    return [int(leaf) for leaf in jax.tree.leaves(record) if np.asarray(leaf).dtype.kind in "bi"]


@pytest.mark.parametrize(
    ("plan", "dtype"), [("averaging", "float32"), ("averaging", "float64"), ("certified", "float32")]
)
def test_recorded_numbers_give_the_same_integers(plan: str, dtype: str) -> None:
    total = 400
    config = options.configure(PLANS[plan], total)
    with double_precision() if dtype == "float64" else nullcontext(), np.errstate(all="ignore"):
        for seed, faults in ((0, False), (1, True)):
            state = controller.init(config, 0, np)
            bracket = state.bracket._replace(lo_distance_sq=np.zeros(1))
            run = runs.begin(0, np, dtype=np.dtype(dtype))
            run = run._replace(**{name: np.zeros(1) for name in VECTORS})
            host = cast((state._replace(bracket=bracket), run), dtype)
            device, program, decided = jax.tree.map(jnp.asarray, host), jitted(config), set()
            for row, _ in zip(stream(seed, faults), range(total), strict=False):
                if host[0].phase == Phase.DONE:
                    break
                row = Scalars(*(np.asarray(each, dtype) for each in row))
                host = cast(follow(config, *host, row, np), dtype)
                device = program(*device, row)
                assert integers(device) == integers(host)
                decided.add((int(host[0].phase), int(host[0].bracket.exponent)))
            assert len(decided) >= 3
