"""Cost of one jitted update with ``optax.apply_updates``, against ``optax.adam``'s; buffers are donated."""

import functools
import statistics
import time
from typing import Any

import jax
import jax.numpy as jnp
import optax

import pfopt.optax
from benchmarks.timing import table

SHAPES = [(1024, 1024)] * 20 + [
    (2048, 1024),
    (1800, 1024),
    (1024,),
    (1024,),
    (10, 1024),
]  # 25M, a few in vectors
LONG = 10**6  # gradients of a run whose search is longer than what is timed
MAIN = 400  # of one whose main run is
SETTLED = 32  # steps of the main run before the timing: the first ones measure more
REFERENCE = "optax.adam"
RIVALS: dict[str, tuple[optax.GradientTransformation, str]] = {
    REFERENCE: (optax.adam(1e-3), ""),
    "optax.sgd, momentum": (optax.sgd(1e-3, momentum=0.9), ""),
    "optax.contrib.prodigy": (optax.contrib.prodigy(), ""),
    "parameter_free_sgd, search": (pfopt.optax.parameter_free_sgd(LONG), "search"),
    "parameter_free_sgd": (pfopt.optax.parameter_free_sgd(MAIN), "main"),
    "parameter_free(scale_by_adam)": (pfopt.optax.parameter_free(optax.scale_by_adam(), MAIN), "main"),
}


class Trained:
    """A transformation on its way down a noisy quadratic."""

    def __init__(self, tx: optax.GradientTransformation, phase: str):
        """Compile it, and bring it to the phase if one is named."""
        self.params = _start()
        self.state = tx.init(_start())  # it may hold what it was given, and both are donated

        @functools.partial(jax.jit, donate_argnums=(0, 1))
        def step(params: Any, state: Any, gradients: Any) -> Any:
            updates, state = tx.update(gradients, state, params)
            return optax.apply_updates(params, updates), state

        @jax.jit
        def gradient(params: Any, number: Any) -> Any:
            return [0.1 * param + 1e-3 * jnp.sin(number) for param in params]

        self.update, self.gradient, self.number = step, gradient, 0
        self.step()
        while phase and self.phase() != phase:
            self.step()
        for _ in range(SETTLED if phase == "main" else 0):
            self.step()

    def phase(self) -> str:
        """The phase of ours."""
        return pfopt.optax.status(self.state).phase

    def step(self) -> float:
        """Seconds of one update."""
        self.number += 1
        gradients = jax.block_until_ready(self.gradient(self.params, float(self.number)))
        start = time.perf_counter()
        self.params, self.state = jax.block_until_ready(self.update(self.params, self.state, gradients))
        return time.perf_counter() - start


def _start() -> list[jax.Array]:
    return [0.1 * jax.random.normal(jax.random.key(0), shape) for shape in SHAPES]


def report(rounds: int) -> str:
    """Milliseconds of the reference, and ratios of the medians."""
    rivals = {name: Trained(*rival) for name, rival in RIVALS.items()}
    before = {name: float(rival.params[0][0, 0]) for name, rival in rivals.items()}
    times: dict[str, list[float]] = {name: [] for name in rivals}
    for _ in range(2 * rounds):
        for name, rival in rivals.items():
            times[name].append(rival.step())
    for name, rival in rivals.items():
        if float(rival.params[0][0, 0]) == before[name]:
            raise RuntimeError(f"{name} moved nothing: its time says nothing")
    medians = {name: statistics.median(found) for name, found in times.items()}
    reference = medians[REFERENCE]
    rows = [[f"{REFERENCE}, ms", f"{1e3 * reference:.1f}"]]
    rows += [[name, f"{each / reference:.2f}"] for name, each in medians.items() if name != REFERENCE]
    return table(
        [f"an update, over optax.adam's (jax {jax.__version__}, {jax.devices()[0].device_kind})", "25M"], rows
    )
