"""Cost of one ``step()``, against AdamW with foreach kernels on the same tensors.

Gradients are there already: in training a step comes on top of a forward and a backward pass; see ``training``.
"""

import sys
from math import prod
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from torch.nn import Parameter

from benchmarks.optimizers import COMPILED, MATRICES, OURS, PLAIN, quadratic, warmed_up
from benchmarks.timing import DEVICE, Rival, medians, table

MODELS: dict[str, list[tuple[int, ...]]] = {
    "9k": [(64, 64), (64,), (64, 64), (64,), (10, 64), (10,)],
    "1M in 32 tensors": [(181, 181)] * 32,
    "12.6M in 36": [(591, 591)] * 36,
    "6.6M in 1600": [(64, 64)] * 1600,
}
WORK = 2**24  # entries that a round moves, at least, in between 4 and 64 steps
REFERENCE = "AdamW, foreach"


def tensors(shapes: list[tuple[int, ...]]) -> list[Parameter]:
    """Parameters of these shapes with gradients."""
    draw = torch.Generator(DEVICE).manual_seed(0)
    params = [Parameter(0.1 * torch.randn(shape, generator=draw, device=DEVICE)) for shape in shapes]
    quadratic(params)()
    return params


def seconds(shapes: list[tuple[int, ...]], *, compiled: bool, rounds: int) -> dict[str, float]:
    """Of one step of each optimizer."""
    size = sum(map(prod, shapes))
    with_muon = DEVICE.type == "cuda" and all(len(shape) == 2 for shape in shapes)  # seconds a step on a CPU
    rivals = []
    for name, make in (PLAIN | (MATRICES if with_muon else {})).items():
        params = tensors(shapes)
        rivals.append(Rival(name, make(params).step, list(params), quadratic(params)))
    for name, (make, phase) in (OURS | (COMPILED if compiled else {})).items():
        params = tensors(shapes)
        optimizer = warmed_up(make(params), phase, quadratic(params))
        rivals.append(Rival(name, optimizer.step, list(params), quadratic(params)))
    steps = min(max(WORK // size, 4), 64)
    return medians(rivals, steps, rounds)


def report(*, compiled: bool, rounds: int) -> str:
    """One column a model: milliseconds of the reference, and the ratios of the others to it."""
    columns = {}
    for name, shapes in MODELS.items():
        columns[name] = seconds(shapes, compiled=compiled, rounds=rounds)
        print(name, {rival: round(1e3 * each, 3) for rival, each in columns[name].items()}, file=sys.stderr)
    names = list(dict.fromkeys(name for column in columns.values() for name in column))
    rows = [[f"{REFERENCE}, ms", *(f"{1e3 * column[REFERENCE]:.2f}" for column in columns.values())]]
    for name in names[1:]:
        ratios = [column[name] / column[REFERENCE] if name in column else None for column in columns.values()]
        rows.append([name, *("" if ratio is None else f"{ratio:.2f}" for ratio in ratios)])
    return table(["a step, over AdamW's with foreach", *columns], rows)


def picture(file: Path, rounds: int) -> None:
    """Cost against the number of parameters, in tensors of 64k, and against that of tensors, of a million in all."""
    sizes = [[(2 ** min(exponent, 16),)] * 2 ** max(exponent - 16, 0) for exponent in range(13, 26, 3)]
    counts = [[(2**20 // number,)] * number for number in (1, 8, 64, 512, 4096)]
    shown = ["SGD, momentum", "Prodigy", "DoG", *OURS]
    figure, axes = plt.subplots(1, 2, figsize=(10, 4.6), sharey=True, layout="constrained")
    for axis, models, across, label in (
        (axes[0], sizes, [sum(map(prod, shapes)) for shapes in sizes], "parameters"),
        (axes[1], counts, list(map(len, counts)), "tensors, 2²⁰ parameters in all"),
    ):
        found = [seconds(shapes, compiled=False, rounds=rounds) for shapes in models]
        for name in shown:
            axis.loglog(across, [each[name] / each[REFERENCE] for each in found], marker=".", label=name)
        axis.axhline(1, color="black", linewidth=0.8)
        axis.set_xlabel(label)
    axes[0].set_ylabel("time of a step, over AdamW's with foreach")
    axes[0].yaxis.set_major_formatter("{x:g}")
    axes[0].yaxis.set_minor_formatter("")
    axes[0].set_yticks([0.2, 0.5, 1, 2, 5])
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    figure.savefig(file, dpi=120)
