"""Seconds of processor time that an import takes in a fresh interpreter."""

import statistics
import subprocess
import sys

from benchmarks.timing import table

BESIDE = {
    "pfopt": "numpy",
    "pfopt.control": "numpy",
    "pfopt.torch": "torch",
    "pfopt.optax": "jax, optax",
}


def seconds(modules: str) -> float:
    """Of one interpreter, its own start left out."""
    code = f"import time; start = time.process_time(); import {modules}; print(time.process_time() - start)"
    return float(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    )


def report(rounds: int) -> str:
    """Each module of pfopt over what it cannot do without, in turns; medians, after one round that does not count."""
    taken: dict[str, list[float]] = {name: [] for pair in BESIDE.items() for name in pair}
    for _ in range(rounds + 1):
        for name, found in taken.items():
            found.append(seconds(name))
    median = {name: statistics.median(found[1:]) for name, found in taken.items()}
    rows = [
        [name, other, f"{1000 * median[other]:.0f}", f"{median[name] / median[other]:.2f}"]
        for name, other in BESIDE.items()
    ]
    return table(["import", "beside", "that takes, ms", "over it"], rows)
