"""Every run takes 300 steps at a cosine schedule from its peak to zero; "momentum" is SGD with 0.9 of it.

``PROBLEMS`` are the test; the peaks of ``pfopt.card``, in units of the certified rate, were chosen on ``CHOOSING``.
Only runs that are not in the output yet are made.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import product
from typing import Annotated, Any, NamedTuple

import pandas as pd
import torch
import typer
from rich.console import Console
from torch.nn.utils import clip_grad_norm_
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR

from experiments.common import rate_finders
from experiments.common.frames import concat, groups, where
from experiments.common.options import Output, Processes
from experiments.engine.execute import device_name
from experiments.held_out_problems.problem import Problem
from experiments.held_out_problems.registry import make_problem
from experiments.held_out_problems.run import MOMENTUM, RATES
from experiments.studies.study import RESULTS, Study, measure, write_table
from pfopt import Card
from pfopt.card import MOMENTUM_PEAK, PEAK
from pfopt.core.averaging import variance
from pfopt.torch import find_lr

OUTPUT = RESULTS / "card.csv"
PROBLEMS = (
    *("mixer", "experts", "separable_cnn", "wild_weights", "feature_hinge", "summed_loss", "imbalanced"),
    *("graph_attention", "preferences", "survival", "raw_targets", "deep_linear", "flow", "siren"),
    *("deepsets", "mdn", "quantile", "fourier_mlp", "word2vec", "poisson_mild"),
)
CHOOSING = ("autoencoder", "vae", "student_mse", "fm_ctr", "ddpm", "gcn", "lora", "matrix_fact")
PEAKS = (0.25, 0.5, 1.0, 2.0, 4.0)  # that were tried there
STEPS = 300
SEEDS = {"adamw": (0, 1, 2), "momentum": (0, 1, 2), "sgd": (0,)}
MAKE: dict[str, Callable[[list[Any], float], Optimizer]] = {
    "adamw": lambda parameters, rate: AdamW(parameters, rate),
    "momentum": lambda parameters, rate: SGD(parameters, rate, momentum=MOMENTUM),
    "sgd": lambda parameters, rate: SGD(parameters, rate),
}
GRIDS = {
    "adamw": RATES["adamw"],
    "momentum": RATES["sgd"],
    "sgd": (1e-3, 1e-2, 0.0316, 0.1, 0.316, 1.0, 10.0),
}
OWN_PEAKS = {"adamw": PEAK, "momentum": MOMENTUM_PEAK, "sgd": PEAK}
DEFAULTS = (1e-3, 3e-4)  # of AdamW
FINDERS = {"lightning": rate_finders.lightning, "fastai": rate_finders.fastai}
NOISE_BATCHES = 48
FEW = 0.02  # a share missed that is counted
AT_ONCE = 40  # runs, after which all are written


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
        for seed in SEEDS[optimizer]:
            yield from (Job(name, optimizer, "grid", seed, rate) for rate in GRIDS[optimizer])
            yield Job(name, optimizer, "card", seed, peak=OWN_PEAKS[optimizer])
            if optimizer != "sgd":
                yield from (Job(name, optimizer, rule, seed) for rule in FINDERS)
    for optimizer, name, peak in product(MAKE, CHOOSING, PEAKS):
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
        rate = FINDERS[job.rule](problem.model, problem.batch_loss, MAKE[job.optimizer])
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


def _card(problem: Problem, base: Optimizer | None) -> Card:
    def loss(_: object, step: int) -> torch.Tensor:
        return problem.batch_loss(step)

    return find_lr(problem.model, loss, range(STEPS), base, total_steps=STEPS)


def _trained(problem: Problem, optimizer: Optimizer) -> tuple[float, float]:
    schedule = CosineAnnealingLR(optimizer, STEPS)
    for step in range(STEPS):
        if not math.isfinite(_step(problem, optimizer, step)):
            return math.inf, math.inf
        schedule.step()
    problem.recalibrate()
    return problem.losses()


def _step(problem: Problem, optimizer: Optimizer, step: int) -> float:
    optimizer.zero_grad()
    loss = problem.batch_loss(step)
    loss.backward()
    if problem.largest_norm is not None:
        clip_grad_norm_(problem.parameters(), problem.largest_norm)
    optimizer.step()
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


# ---------------------------------------------------------------- the tables


def table(frame: pd.DataFrame) -> pd.DataFrame:
    """Of each problem and optimizer the share of the decrease within reach that each rule missed, means over seeds.

    Within reach is what the best rate of that optimizer's grid reached; ``noise`` is two standard errors of a
    difference from it, by the seeds of both.
    """
    test = where(frame, problem=PROBLEMS)
    rows = [
        {"problem": name, "optimizer": kind, **_row(part)}
        for (name, kind), part in groups(test, "problem", "optimizer")
    ]
    return pd.DataFrame(rows).set_index(["optimizer", "problem"]).sort_index()


def _row(part: pd.DataFrame) -> dict[str, float]:
    grid = where(part, rule="grid").groupby("rate").training
    optimizer, means = part.optimizer.iloc[0], grid.mean()
    best = means.idxmin()

    def missed(loss: float) -> float:
        if math.isnan(loss):
            return loss
        if math.isinf(means[best]) or math.isinf(loss):  # no rate of the grid is stable, or this one is not
            return -math.inf if math.isfinite(loss) else math.inf
        return (loss - means[best]) / (part.initial.mean() - means[best])

    own = where(part, rule="card", peak=OWN_PEAKS[optimizer])
    error = math.sqrt((own.training.var() + grid.var()[best]) / len(SEEDS[optimizer]))
    row = {"best rate": best, "card's rate": own.rate.mean(), "noise": 2 * missed(means[best] + error)}
    losses = {"card": own.training.mean(), "certified": where(part, rule="card", peak=1.0).training.mean()}
    losses |= {rule: where(part, rule=rule).training.mean() for rule in FINDERS}
    losses |= {f"{rate:g}": means.get(rate, math.nan) for rate in DEFAULTS if optimizer == "adamw"}
    return row | {rule: missed(loss) for rule, loss in losses.items()}


def report(frame: pd.DataFrame, console: Console) -> None:
    """Print the tables and what they come to."""

    def show(text: str) -> None:
        console.print(text, markup=False, soft_wrap=True)

    found = table(frame)
    show(found.to_string(float_format="{:.3g}".format))
    for (optimizer,), part in groups(found.reset_index(), "optimizer"):
        within = len(part[part.card <= part.noise.fillna(0.0)]) if len(SEEDS[optimizer]) > 1 else "?"
        show(
            f"{optimizer}: the card is within seed noise of the best rate on {within} of {len(part)}; missed shares:"
        )
        for rule in ("card", "certified", *FINDERS, *(f"{rate:g}" for rate in DEFAULTS)):
            missed = part[rule].dropna()
            if len(missed):
                few = len(missed[missed <= FEW])
                show(
                    f"  {rule}: at most {FEW:g} on {few}, median {missed.median():.3f}, worst {missed.max():.3f}"
                )
    chosen = where(frame, problem=CHOOSING)
    losses = chosen.pivot_table("training", ["optimizer", "problem"], "peak", dropna=False)
    show(losses.to_string(float_format="{:.4g}".format))
    noise = frame[frame.noise.notna() & ~frame.duplicated(["problem", "optimizer", "rule", "seed"])]
    errors = (noise.noise - noise.measured_noise).abs()
    show(f"noise: told by {len(noise)} cards, median error {errors.median():.3f}, largest {errors.max():.3f}")


def answer(
    processes: Processes = 2,
    table_only: Annotated[bool, typer.Option("--table", help="of the runs that are there")] = False,
    output: Output = OUTPUT,
) -> None:
    """Run them all and print the tables."""
    console = Console()
    if not table_only:
        torch.set_num_threads(1)
        known = pd.read_csv(output) if output.exists() else pd.DataFrame(columns=list(Job._fields))
        planned = [job for job in jobs() if not is_there(job, known)]
        for first in range(0, len(planned), AT_ONCE):
            anew = measure(run, planned[first : first + AT_ONCE], processes, console)
            known = concat([known, anew.assign(device=device_name("small"))])
            write_table(known.sort_values(["problem", "optimizer", "rule", "rate", "seed"]), output)
    report(pd.read_csv(output), console)


STUDY = Study(
    "card", "Does a plain optimizer train well at the rate that a search hands out?", answer, (OUTPUT,)
)
