"""Cost of one ``step()`` on a 25M-parameter model, against ``torch.optim.SGD`` with momentum.

Run as ``python -m benchmarks.torch_step``; on a GPU where there is one. Prints, per phase and for three peers, the
median over pairs of the ratio of times and the memory beyond SGD's in copies of the parameters. Each pair times both,
in turns, so that a busy machine slows both; several steps at a time, since nothing waits for the device in between.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from dog import DoG
from prodigyopt import Prodigy
from torch import Tensor
from torch.nn import Parameter
from torch.optim import SGD, Adam, Optimizer

from benchmarks.shapes import MOMENTUM, SHAPES
from pfopt import Certified, Practical
from pfopt.torch import ParameterFreeSGD

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
STEPS = 4  # at a time: fewer than a probe of any row below
MOST = 50  # pairs that every row's run is long enough for
SEARCHING = 40_000  # gradients of a run whose search is longer than what is timed
MAIN = 400  # of one whose main run is

Factory = Callable[[list[Parameter]], Optimizer]


def model() -> list[Parameter]:
    """Parameters of ones with gradients of a thousandth."""
    params = [Parameter(torch.ones(shape, device=DEVICE)) for shape in SHAPES]
    for param in params:
        param.grad = torch.full_like(param, 1e-3)
    return params


def sgd(params: list[Parameter]) -> Optimizer:
    """What the others are measured against."""
    return SGD(params, lr=1e-3, momentum=MOMENTUM)


def ours(total_steps: int, *, until: str, **options: Any) -> Factory:
    """The optimizer in the phase ``until``."""

    def make(params: list[Parameter]) -> Optimizer:
        optimizer = ParameterFreeSGD(params, total_steps, **options)
        while optimizer.status().phase != until or optimizer.status().step == 0:
            optimizer.step()
        return optimizer

    return make


def seconds(optimizer: Optimizer) -> float:
    """Wall time of ``STEPS`` steps."""
    _wait()
    start = time.perf_counter()
    for _ in range(STEPS):
        optimizer.step()
    _wait()
    return time.perf_counter() - start


def ratios(optimizer: Optimizer, pairs: int) -> list[float]:
    """Time over SGD's, after two rounds that do not count."""
    rivals = [optimizer, sgd(model())]
    found = [[seconds(rival) for rival in rivals] for _ in range(pairs + 2)]
    return [one / other for one, other in found[2:]]


def copies(optimizer: Optimizer) -> float:
    """Bytes of the state after a step beyond those of SGD's, which is a copy of the parameters."""
    params = [param for group in optimizer.param_groups for param in group["params"]]
    held = [value for param in params for value in optimizer.state[param].values()]
    size = sum(value.nbytes for value in held if isinstance(value, Tensor))
    return size / sum(param.nbytes for param in params) - 1


def _wait() -> None:
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=30)
    pairs = min(parser.parse_args().pairs, MOST)
    on_gpu = DEVICE.type == "cuda"
    name = torch.cuda.get_device_name() if on_gpu else f"CPU, {torch.get_num_threads()} threads"
    print(f"torch {torch.__version__}, {name}, {sum(param.numel() for param in model()):,} parameters")
    rows: dict[str, Factory] = {
        "searching": ours(SEARCHING, until="search"),
        "main run": ours(MAIN, until="main", fused=False),
        "main run, fused": ours(MAIN, until="main", fused=True),
        "with momentum": ours(MAIN, until="main", fused=False, momentum=MOMENTUM),
        'scope "tensor"': ours(MAIN, until="main", fused=False, plan=Practical(scope="tensor")),
        "certified, average": ours(SEARCHING, until="search", plan=Certified("average")),
        "certified, last": ours(SEARCHING, until="search", plan=Certified("last")),
        "torch.optim.Adam": lambda params: Adam(params, lr=1e-3),
        "Prodigy": lambda params: Prodigy(params),
        "DoG": lambda params: DoG(params),
    }
    reference = sgd(model())
    print(
        f"torch.optim.SGD {statistics.median(seconds(reference) for _ in range(pairs)) / STEPS * 1e3:.2f} ms"
    )
    for row, make in rows.items():
        optimizer = make(model())
        ratio = statistics.median(ratios(optimizer, pairs))
        print(f"{row:18} x {ratio:.2f}, {copies(optimizer):+.2f} copies")


if __name__ == "__main__":
    main()
