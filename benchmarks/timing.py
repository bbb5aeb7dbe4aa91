"""Paired timings: rivals take turns in one process, so that a busy machine slows all of them."""

import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


class Rival(NamedTuple):
    """What is timed."""

    name: str
    step: Callable[[], object]
    params: list[Tensor]  # which it has to move
    prepare: Callable[[], object] = lambda: None  # before every step, and not timed


def medians(rivals: list[Rival], steps: int, rounds: int) -> dict[str, float]:
    """Seconds of one step of each, the median over rounds of ``steps`` steps, of which the first does not count.

    Raises:
        RuntimeError: one of them did not move its parameters: it was done, or never worked.
    """
    taken: dict[str, list[float]] = {rival.name: [] for rival in rivals}
    for _ in range(rounds + 1):
        for rival in rivals:
            before = [param.detach().flatten()[:1].clone() for param in rival.params]
            taken[rival.name].append(sum(_seconds(rival) for _ in range(steps)) / steps)
            after = [param.detach().flatten()[:1] for param in rival.params]
            if all(map(torch.equal, before, after)):
                raise RuntimeError(f"{rival.name} moved nothing: its time says nothing")
    return {name: statistics.median(each[1:]) for name, each in taken.items()}


def _seconds(rival: Rival) -> float:
    rival.prepare()
    _wait()
    start = time.perf_counter()
    rival.step()
    _wait()
    return time.perf_counter() - start


def table(header: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown; numbers to the right."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def machine() -> str:
    """What figures were measured on."""
    where = (
        torch.cuda.get_device_name() if DEVICE.type == "cuda" else f"CPU, {torch.get_num_threads()} thread(s)"
    )
    return f"torch {torch.__version__}, {where}"


def _wait() -> None:
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
