"""Seconds to trace and compile a jitted update; XLA compiles what two leaves share once."""

import time

import jax
import jax.numpy as jnp
import optax

import pfopt.optax
from benchmarks.timing import table

STEPS = 1000
RIVALS = {
    "optax.adam": optax.adam(1e-3),
    "parameter_free_sgd": pfopt.optax.parameter_free_sgd(STEPS),
    "parameter_free(scale_by_adam)": pfopt.optax.parameter_free(optax.scale_by_adam(), STEPS),
}
MODELS = {"1 leaf": (1, 0), "40 of one shape": (40, 0), "40 of forty shapes": (40, 1)}


def seconds(tx: optax.GradientTransformation, shapes: list[tuple[int, ...]]) -> float:
    """Wall time from the Python function to a program that can run."""
    params = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    state = jax.eval_shape(tx.init, params)
    start = time.perf_counter()
    jax.jit(tx.update, donate_argnums=(1,)).lower(params, state, params).compile()
    return time.perf_counter() - start


def report() -> str:
    """One column a model."""
    seconds(optax.sgd(1e-3), [(2, 2)])  # what JAX itself needs once
    rows = [[name] for name in RIVALS]
    for leaves, wider in MODELS.values():
        for row, tx in zip(rows, RIVALS.values(), strict=True):
            row.append(f"{seconds(tx, [(64, 64 + place * wider + leaves) for place in range(leaves)]):.1f}")
    return table(["seconds to compile an update", *MODELS], rows)
