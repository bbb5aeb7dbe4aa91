"""torch's optimizers at one learning rate with cosine decay and, but for SGD, a warm-up: lanes of grids, and defaults.

The calibrated NAdamW stands for a baseline that is not tuned to the workload (Kasimbeg et al., 2025): its figures are
those of AlgoPerf's self-tuning baseline (algorithmic_efficiency, prize_qualification_baselines), chosen on all of that
benchmark's workloads together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import pandas as pd
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Muon, NAdam, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from experiments.methods.run import run_torch
from experiments.methods.schedules import factors
from experiments.methods.trainer import Trainer
from experiments.tasks.task import Problem, Setting

WARM_UP = 0.05  # share of the steps
CALIBRATED = {"lr": 0.0017486387539278373, "betas": (0.93266073836, 0.9955159689799007)}
CALIBRATED_DECAY, CALIBRATED_WARM_UP = 0.08121616522670176, 0.02
AT_ONCE = 1e6  # NAdam's momentum is beta1 from the first step on, as AlgoPerf's is
EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)


def warmed_up(steps: int, share: float) -> list[float]:
    """Factor of the learning rate at every step and after the last one: linear up to 1, then half a cosine."""
    rising = math.ceil(share * steps)
    return [(step + 1) / (rising + 1) for step in range(rising)] + factors("cosine", steps - rising)


class RateTrainer(Trainer):
    """One optimizer, or two that share a schedule; the last iterate is returned.

    Args:
        problem: What is trained.
        setting: Budget and momentum.
        optimizers: All of them step at once.
        warm_up: Share of the steps.
    """

    def __init__(
        self, problem: Problem, setting: Setting, optimizers: Sequence[Optimizer], warm_up: float
    ) -> None:
        super().__init__(problem, setting, optimizers[0])
        self.optimizers, self.rate = optimizers, float(optimizers[0].param_groups[0]["lr"])
        multipliers = warmed_up(setting.budget, warm_up)
        self.schedulers = [LambdaLR(optimizer, multipliers.__getitem__) for optimizer in optimizers]

    def step(self, loss: Tensor) -> None:
        """A step of every optimizer."""
        del loss
        for optimizer, scheduler in zip(self.optimizers, self.schedulers, strict=True):
            optimizer.step()
            scheduler.step()

    def lanes(self, *, failed: bool) -> pd.DataFrame:
        """One row, as of ``sgd_grid``."""
        value, test = (math.inf, math.nan) if failed else self.problem.score()
        return pd.DataFrame(
            [
                {
                    "output": "last",
                    "value": value if math.isfinite(value) else math.inf,
                    "test": test,
                    "learning_rate": self.rate,
                    "schedule": "cosine",
                    "momentum": self.setting.momentum,
                    "num_grad_evals": self.setting.budget,
                }
            ]
        )


Make = Callable[[Problem, Setting, float], Sequence[Optimizer]]


def sgd(problem: Problem, setting: Setting, rate: float) -> list[Optimizer]:
    """SGD with the task's normalised momentum."""
    momentum = setting.momentum
    return [SGD(problem.parameters(), rate, momentum=momentum, dampening=momentum)]


def adamw(problem: Problem, setting: Setting, rate: float) -> list[Optimizer]:
    """AdamW at its defaults."""
    del setting
    return [AdamW(problem.parameters(), rate)]


def muon(problem: Problem, setting: Setting, rate: float) -> list[Optimizer]:
    """Muon on hidden matrices, at the scale of AdamW's steps (Liu et al., 2025), and AdamW on everything else.

    Where a network has no hidden matrix, AdamW is alone.
    """
    del setting
    matrices, others = hidden_matrices(problem)
    found: list[Optimizer] = [AdamW(others, rate)]
    return [Muon(matrices, rate, adjust_lr_fn="match_rms_adamw"), *found] if matrices else found


def hidden_matrices(problem: Problem) -> tuple[list[Tensor], list[Tensor]]:
    """The trained matrices that are neither an embedding's nor the last layer's, and all other parameters."""
    layers = [module for module in problem.modules() if isinstance(module, nn.Linear)]
    outside = [module for module in problem.modules() if isinstance(module, EMBEDDINGS)] + layers[-1:]
    excluded = {id(parameter) for module in outside for parameter in module.parameters()}
    trained: list[Tensor] = list(problem.parameters())
    matrices: list[Tensor] = [p for p in trained if p.dim() == 2 and id(p) not in excluded]
    chosen = set(map(id, matrices))
    return matrices, [p for p in trained if id(p) not in chosen]


def calibrated_nadamw(problem: Problem, setting: Setting) -> Trainer:
    """NAdam with decoupled weight decay, at AlgoPerf's hyperparameters."""
    optimizer = NAdam(
        problem.parameters(),
        **CALIBRATED,
        weight_decay=CALIBRATED_DECAY,
        momentum_decay=AT_ONCE,
        decoupled_weight_decay=True,
    )
    return RateTrainer(problem, setting, [optimizer], CALIBRATED_WARM_UP)


def at_rate(
    problem: Problem,
    setting: Setting,
    *,
    make: Make,
    learning_rate: float,
    schedule: str = "cosine",
    momentum: float | None = None,
    warm_up: float = WARM_UP,
) -> Trainer:
    """The optimizers of ``make`` at one rate; schedule and momentum are the grid's, and the task's own here."""
    if schedule != "cosine" or momentum not in (None, setting.momentum):
        raise ValueError(f"these runs have cosine decay and the task's momentum, not {schedule}, {momentum}")
    return RateTrainer(problem, setting, make(problem, setting, learning_rate), warm_up)


run_sgd = partial(run_torch, make=partial(at_rate, make=sgd, warm_up=0.0))
run_adamw = partial(run_torch, make=partial(at_rate, make=adamw))
run_muon = partial(run_torch, make=partial(at_rate, make=muon))
run_calibrated_nadamw = partial(run_torch, make=calibrated_nadamw)
