"""How long a jitted update is traced and compiled, beside ``optax.adam``'s.

Run as ``python -m benchmarks.optax_compile``. Prints seconds for models of that many matrices of one shape, and of
as many shapes: XLA compiles what two leaves share once.
"""

import argparse
import time

import jax
import jax.numpy as jnp
import optax

import pfopt.optax

STEPS = 1_000


def seconds(tx: optax.GradientTransformation, shapes: list[tuple[int, ...]]) -> float:
    """Wall time from the Python function to a program that can run."""
    params = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    state = jax.eval_shape(tx.init, params)
    start = time.perf_counter()
    jax.jit(tx.update, donate_argnums=(1,)).lower(params, state, params).compile()
    return time.perf_counter() - start


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--leaves", type=int, nargs="+", default=[1, 10, 40])
    counts = parser.parse_args().leaves
    print(f"device: {jax.devices()[0].device_kind}")
    rivals = {
        "parameter_free_sgd": pfopt.optax.parameter_free_sgd(STEPS, momentum=0.9),
        "parameter_free(adam)": pfopt.optax.parameter_free(optax.scale_by_adam(), STEPS),
        "adam": optax.adam(1e-3),
    }
    seconds(optax.sgd(1e-3), [(2, 2)])  # what JAX itself needs once
    for count in counts:
        for label, wider in {"alike": 0, "all different": 1}.items():
            shapes = [(64, 64 + i * wider + count) for i in range(count)]  # nothing is compiled twice
            found = ", ".join(f"{name} {seconds(tx, shapes):.1f} s" for name, tx in rivals.items())
            print(f"{count:4} leaves, {label:14} {found}")


if __name__ == "__main__":
    main()
