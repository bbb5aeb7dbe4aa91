"""Cost of one jitted update of a 25M-parameter tree, against ``optax.sgd`` with momentum.

Run as ``python -m benchmarks.optax_step``. Prints, per phase and for two peers, the median over pairs of the ratio of
times, of the update alone and with ``apply_updates``, and the memory beyond SGD's in copies of the parameters. Buffers
are donated, as in a training loop. Each pair times both, in turns, so that a busy machine slows both.
"""

import argparse
import functools
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

import pfopt.optax
from benchmarks.shapes import MOMENTUM, SHAPES


def tree(value: float) -> list[jax.Array]:
    """25M entries."""
    return [jnp.full(shape, value) for shape in SHAPES]


def stepper(tx: optax.GradientTransformationExtraArgs, apply: bool) -> Callable[..., Any]:
    """(params or the last updates, state, grads) -> the same; what it replaces is donated."""

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def applied(params: Any, state: Any, grads: Any) -> Any:
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    @functools.partial(jax.jit, donate_argnums=(0, 1), keep_unused=True)
    def updated(last: Any, state: Any, grads: Any, params: Any) -> Any:
        del last
        return tx.update(grads, state, params)

    return applied if apply else updated


def seconds(call: Callable[[], Any]) -> tuple[float, Any]:
    """Wall time until the result is there, and the result."""
    start = time.perf_counter()
    result = jax.block_until_ready(call())
    return time.perf_counter() - start, result


def ratios(tx: optax.GradientTransformation, skip: int, pairs: int, apply: bool) -> list[float]:
    """Time of ``tx`` over SGD's, of consecutive steps after the first ``skip``."""
    grads, fixed = tree(1e-3), tree(1.0)
    rivals = [tx, optax.sgd(1e-3, momentum=MOMENTUM)]
    steps = [stepper(optax.with_extra_args_support(rival), apply) for rival in rivals]
    held = [(tree(1.0), rival.init(tree(1.0))) for rival in rivals]  # a state may hold what it was given
    extra = () if apply else (fixed,)
    for _ in range(skip):
        held[0] = jax.block_until_ready(steps[0](*held[0], grads, *extra))
    for _ in range(3):
        held[1] = jax.block_until_ready(steps[1](*held[1], grads, *extra))
    found = []
    for _ in range(pairs):
        times = []
        for turn in range(2):
            spent, held[turn] = seconds(lambda turn=turn: steps[turn](*held[turn], grads, *extra))
            times.append(spent)
        found.append(times[0] / times[1])
    return found


def copies(tx: optax.GradientTransformation) -> float:
    """Bytes of its state beyond those of SGD's, in parameters."""

    def size(held: Any) -> int:
        return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(held))

    shapes = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in SHAPES]
    theirs = jax.eval_shape(optax.sgd(1e-3, momentum=MOMENTUM).init, shapes)
    return (size(jax.eval_shape(tx.init, shapes)) - size(theirs)) / size(shapes)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=30)
    pairs = parser.parse_args().pairs
    print(f"device: {jax.devices()[0].device_kind}, parameters: {sum(leaf.size for leaf in tree(0.0)):,}")
    ours = pfopt.optax.parameter_free_sgd
    rows: dict[str, tuple[optax.GradientTransformation, int, int]] = {  # and steps to skip, steps there are
        "practical, searching": (ours(40_000, momentum=MOMENTUM), 4, 40_000),
        "practical, main run": (ours(40, momentum=MOMENTUM), 20, 40),
        "certified, average": (ours(4_000, plan=pfopt.Certified("average")), 4, 4_000),
        "certified, last": (ours(4_000, plan=pfopt.Certified("last")), 4, 4_000),
        "optax.adam": (optax.adam(1e-3), 4, 4_000),
        "optax.contrib.prodigy": (optax.contrib.prodigy(), 4, 4_000),
    }
    for name, (tx, skip, total) in rows.items():
        fitting = min(pairs, total - skip - 2)
        alone, applied = (statistics.median(ratios(tx, skip, fitting, apply)) for apply in (False, True))
        memory = f"+ {copies(tx):.2f} copies"
        print(f"{name:21} update x {alone:.2f}, with apply_updates x {applied:.2f}, {memory}")


if __name__ == "__main__":
    main()
