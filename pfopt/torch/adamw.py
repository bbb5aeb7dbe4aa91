"""``ParameterFreeAdamW``: AdamW and the search around it in one call, as trainers make their optimizers."""

from collections.abc import Iterable
from typing import Any

from torch import Tensor
from torch.nn import Module
from torch.optim import AdamW

from pfopt.options import PlanLike
from pfopt.torch.wrapper import ParameterFree


class ParameterFreeAdamW(ParameterFree):
    """``ParameterFree(torch.optim.AdamW(params, …), total_steps)``: AdamW whose learning rate is found.

    Args:
        params: iterable of parameters, of ``(name, parameter)`` pairs or of dicts defining parameter groups.
        total_steps: number of gradients that the whole method may use, at least 16; None where it is unknown.
        lr: multiplier of the learning rate that is found, > 0, per group and schedulable; leave it at 1 unless a group
            should move more slowly.
        betas, eps, weight_decay, amsgrad, maximize, foreach, fused: AdamW's. The decay is that of AdamW at the
            learning rate in force, so that ``weight_decay`` means what it means there.
        plan, buffers: as in ``ParameterFree``.

    Raises:
        TypeError, ValueError: an argument is wrong; the message names it, what is allowed and what came.

    Examples:
        >>> import torch, pfopt.torch
        >>> model = torch.nn.Linear(3, 1)
        >>> opt = pfopt.torch.ParameterFreeAdamW(model.parameters(), total_steps=1000, weight_decay=0.1)
    """

    def __init__(
        self,
        params: Any,
        total_steps: int | None = None,
        *,
        lr: float = 1.0,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        maximize: bool = False,
        foreach: bool | None = None,
        fused: bool | None = None,
        plan: PlanLike = "practical",
        buffers: Module | Iterable[Tensor] | None = None,
    ) -> None:
        base = AdamW(
            params,
            lr,
            betas,
            eps,
            weight_decay,
            amsgrad,
            maximize=maximize,
            foreach=foreach,
            fused=fused,
        )
        super().__init__(base, total_steps, plan=plan, foreach=foreach, buffers=buffers)
        self.defaults["lr"] = float(lr)
        for own, its in zip(self.param_groups, base.param_groups, strict=True):
            own["lr"] = float(its["lr"])  # a multiplier as it was given, not over the largest
