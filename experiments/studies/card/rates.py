"""Runs of plain optimizers at the rates of a grid, of cards and of other finders."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import Any, NamedTuple

import pandas as pd
import torch
from torch.nn import Parameter
from torch.nn.utils import clip_grad_norm_
from torch.optim import SGD, AdamW, Muon, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR

from experiments.common import rate_finders
from experiments.common.frames import where
from experiments.held_out_problems.problem import Problem
from experiments.held_out_problems.registry import make_problem
from experiments.held_out_problems.run import MOMENTUM, RATES
from pfopt import Card
from pfopt.card import MOMENTUM_PEAK, PEAK
from pfopt.core.averaging import variance
from pfopt.torch import find_lr

PROBLEMS = (
    *("mixer", "experts", "separable_cnn", "wild_weights", "feature_hinge", "summed_loss", "imbalanced"),
    *("graph_attention", "preferences", "survival", "raw_targets", "deep_linear", "flow", "siren"),
    *("deepsets", "mdn", "quantile", "fourier_mlp", "word2vec", "poisson_mild"),
)
CHOOSING = ("autoencoder", "vae", "student_mse", "fm_ctr", "ddpm", "gcn", "lora", "matrix_fact")
PEAKS = (0.25, 0.5, 1.0, 2.0, 4.0)  # that were tried there
STEPS = 300
SEEDS = {"adamw": (0, 1, 2), "momentum": (0, 1, 2), "sgd": (0,), "muon": (0, 1, 2)}
OVER_ADAMW = 20.0  # Muon's rate over that of AdamW, which trains what is no matrix


def _muon(parameters: list[Parameter], rate: float) -> list[Optimizer]:
    matrices = [each for each in parameters if each.ndim == 2]
    others = [each for each in parameters if each.ndim != 2]
    return [Muon(matrices, rate), *([AdamW(others, rate / OVER_ADAMW)] if others else [])]


MAKE: dict[str, Callable[[list[Any], float], list[Optimizer]]] = {
    "adamw": lambda parameters, rate: [AdamW(parameters, rate)],
    "momentum": lambda parameters, rate: [SGD(parameters, rate, momentum=MOMENTUM)],
    "sgd": lambda parameters, rate: [SGD(parameters, rate)],
    "muon": _muon,
}
GRIDS = {
    "adamw": RATES["adamw"],
    "momentum": RATES["sgd"],
    "sgd": (1e-3, 1e-2, 0.0316, 0.1, 0.316, 1.0, 10.0),
    "muon": (1e-3, 3e-3, 0.01, 0.02, 0.05, 0.1, 0.3),
}
FOR_MUON = ("preferences", "survival", "deep_linear", "imbalanced", "summed_loss")  # some of the cheap ones
OWN_PEAKS = {"adamw": PEAK, "momentum": MOMENTUM_PEAK, "sgd": PEAK, "muon": PEAK}
DEFAULTS = {"adamw": (1e-3, 3e-4), "muon": (1e-3, 0.02)}  # torch's own, and another that is common
SEARCHED_BY_OTHERS = ("adamw", "momentum")
FINDERS = {"lightning": rate_finders.lightning, "fastai": rate_finders.fastai}
NOISE_BATCHES = 48


class Job(NamedTuple):
    """One run; the rate is that of a grid, or the rule finds it and ``peak`` multiplies it."""

    problem: str
    optimizer: str
    rule: str  # "grid" | "card" | "lightning" | "fastai"
    seed: int
    rate: float | None = None
    peak: float = 1.0


def jobs() -> Iterator[Job]:
    """The test, then the runs that the peaks were chosen by."""
    for optimizer, name in product(MAKE, PROBLEMS):
        if optimizer == "muon" and name not in FOR_MUON:
            continue
        for seed in SEEDS[optimizer]:
            yield from (Job(name, optimizer, "grid", seed, rate) for rate in GRIDS[optimizer])
            yield Job(name, optimizer, "card", seed, peak=OWN_PEAKS[optimizer])
            if optimizer in SEARCHED_BY_OTHERS:
                yield from (Job(name, optimizer, rule, seed) for rule in FINDERS)
    for optimizer, name, peak in product(("adamw", "momentum", "sgd"), CHOOSING, PEAKS):
        yield Job(name, optimizer, "card", 0, peak=peak)


def is_there(job: Job, frame: pd.DataFrame) -> bool:
    """Whether a run was made."""
    wanted = {name: value for name, value in job._asdict().items() if value is not None}
    return len(where(frame, **wanted)) > 0


def run(job: Job) -> dict[str, object]:
    """Training and held-out loss, before and after, at which rate, and what the card says of noise."""
    problem = make_problem(job.problem, job.seed)
    initial, _ = problem.losses()
    rate, told = job.rate, {}
    if job.rule == "card":
        card = _card(problem, MAKE[job.optimizer](problem.parameters(), 1.0))
        rate = card.groups[0].certified
        told = {"rejected": card.groups[0].rejected, "found_by": card.gradients}
        if job.optimizer == "momentum":
            told |= {"noise": _card(problem, None).noise, "measured_noise": _measured_noise(problem)}
    elif rate is None:
        make = lambda parameters, rate: MAKE[job.optimizer](parameters, rate)[0]  # noqa: E731
        rate = FINDERS[job.rule](problem.model, problem.batch_loss, make)
        problem, told = make_problem(job.problem, job.seed), {"found_by": rate_finders.BATCHES}
    rate = math.nan if rate is None else job.peak * rate
    training, held_out = (
        _trained(problem, MAKE[job.optimizer](problem.parameters(), rate)) if rate > 0 else (math.inf,) * 2
    )
    return {
        **job._asdict(),
        "rate": rate,
        "initial": initial,
        "training": training,
        "held_out": held_out,
        **told,
    }


def _card(problem: Problem, base: list[Optimizer] | None) -> Card:
    def loss(_: object, step: int) -> torch.Tensor:
        return problem.batch_loss(step)

    return find_lr(problem.model, loss, range(STEPS), base, total_steps=STEPS)


def _trained(problem: Problem, optimizers: Sequence[Optimizer]) -> tuple[float, float]:
    schedules = [CosineAnnealingLR(optimizer, STEPS) for optimizer in optimizers]
    for step in range(STEPS):
        if not math.isfinite(_differentiate(problem, step)):
            return math.inf, math.inf
        for each in (*optimizers, *schedules):
            each.step()
    problem.recalibrate()
    return problem.losses()


def _differentiate(problem: Problem, step: int) -> float:
    """Put the gradient of a step into the parameters; return the loss."""
    for parameter in problem.parameters():
        parameter.grad = None
    loss = problem.batch_loss(step)
    loss.backward()
    if problem.largest_norm is not None:
        clip_grad_norm_(problem.parameters(), problem.largest_norm)
    return loss.item()


def _measured_noise(problem: Problem) -> float:
    """The share of noise in ‖g‖² at the start, from gradients that no card has seen."""
    parameters, total, squares = problem.parameters(), 0.0, 0.0
    for step in range(NOISE_BATCHES):
        parts = torch.autograd.grad(problem.batch_loss(10**5 + step), parameters, allow_unused=True)
        vector = torch.cat([part.reshape(-1).double() for part in parts if part is not None])
        total, squares = total + vector, squares + vector.square().sum().item()
    path_sq = torch.as_tensor(total).square().sum().item()
    return variance(NOISE_BATCHES, squares, path_sq) / (squares / NOISE_BATCHES)
