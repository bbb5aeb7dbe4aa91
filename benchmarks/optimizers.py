"""The optimizers whose cost is compared, and how each one gets to the phase that is timed."""

from collections.abc import Callable, Sequence

import torch
from dog import DoG
from prodigyopt import Prodigy
from schedulefree import AdamWScheduleFree
from torch import Tensor
from torch.nn import Parameter
from torch.optim import SGD, AdamW, Muon, Optimizer

from pfopt.torch import ParameterFree, ParameterFreeSGD

Make = Callable[[Sequence[Parameter]], Optimizer]
LONG = 10**6  # gradients of a run whose search is longer than what is timed
MAIN = 1000  # of one whose main run is
SETTLED = 40  # steps of the main run before the timing: the first ones measure more

PLAIN: dict[str, Make] = {
    "AdamW, foreach": lambda params: AdamW(params, 1e-3, foreach=True),
    "AdamW, fused": lambda params: AdamW(params, 1e-3, fused=True),
    "SGD, momentum": lambda params: SGD(params, 1e-3, momentum=0.9),
    "Prodigy": lambda params: Prodigy(params),
    "Schedule-Free AdamW": lambda params: _training(AdamWScheduleFree(params, 1e-3)),
    "DoG": lambda params: DoG(params),
}
MATRICES: dict[str, Make] = {"Muon": lambda params: Muon(params, 1e-3)}
OURS: dict[str, tuple[Make, str]] = {  # and the phase
    "ParameterFreeSGD, search": (lambda params: ParameterFreeSGD(params, LONG), "search"),
    "ParameterFreeSGD": (lambda params: ParameterFreeSGD(params, MAIN, fused=False), "main"),
    "ParameterFree(AdamW, foreach)": (
        lambda params: ParameterFree(AdamW(params, foreach=True), MAIN),
        "main",
    ),
    "ParameterFree(AdamW, fused)": (lambda params: ParameterFree(AdamW(params, fused=True), MAIN), "main"),
}
COMPILED: dict[str, tuple[Make, str]] = {
    "ParameterFreeSGD, fused": (lambda params: ParameterFreeSGD(params, MAIN, fused=True), "main")
}


def warmed_up(optimizer: Optimizer, phase: str, gradient: Callable[[], object]) -> Optimizer:
    """The optimizer in the phase.

    Args:
        optimizer: fresh.
        phase: "search" or "main".
        gradient: makes the parameters' gradients.
    """
    assert isinstance(optimizer, ParameterFreeSGD | ParameterFree)
    gradient()
    optimizer.step()
    while optimizer.status().phase != phase:
        gradient()
        optimizer.step()
    for _ in range(SETTLED if phase == "main" else 0):
        gradient()
        optimizer.step()
    assert optimizer.status().phase == phase
    return optimizer


def quadratic(params: Sequence[Tensor]) -> Callable[[], None]:
    """Noisy gradients of a quadratic, so that the search finds an end and the main run stays finite."""

    @torch.no_grad()
    def gradient() -> None:
        for param in params:
            if param.grad is None:
                param.grad = torch.empty_like(param)
            torch.mul(param, 0.1, out=param.grad)
            param.grad += 1e-3 * torch.randn(1, device=param.device)

    return gradient


def _training(optimizer: AdamWScheduleFree) -> Optimizer:
    optimizer.train()
    return optimizer
