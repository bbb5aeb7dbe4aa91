"""``ParameterFreeSGD``: the gradient moves the parameters."""

from collections.abc import Iterable
from typing import Any

from torch import Tensor
from torch.nn import Module

from pfopt.options import PlanLike
from pfopt.torch import card
from pfopt.torch.base import ParameterFreeOptimizer
from pfopt.torch.card import Plain


class ParameterFreeSGD(ParameterFreeOptimizer):
    """SGD that finds its step size: no learning rate to tune, one run of ``total_steps`` gradients.

    Plan ``"practical"`` spends a few per cent of the budget on short probes that bisect the largest certified step size
    (Carmon & Hinder, "Making SGD Parameter-Free", COLT 2022), and the rest on one main run

        v_t = m v_{t−1} + (1 − m) g_t,        z_{t+1} = z_t − min(c max(r₀, r̄_t)/√(t m_t), η_max) v_t

    with r̄_t the largest displacement from the anchor, m_t the mean of the recent ‖g‖², and η_max four times the step
    size found, or more where the run certifies more. A tensor or a single coordinate moves by a step size of its own
    where that is larger (``scope`` of ``pfopt.Practical``). Gradients are taken at y_t = z_t + β_t (x̄_t − z_t), which
    the parameters hold, with β_t = 2/3, and up to 0.9 in the end; the average x̄_t of the iterates is returned: when the
    budget ends the parameters hold it. Plan ``"certified"`` is the paper's Algorithm 1 as it stands.

    ``zero_grad(); loss.backward(); step()`` is all it takes. Where the loss is passed as well, ``step(loss=loss)`` or
    ``step(closure)``, one that is not finite counts as a gradient that is not, and ``history()`` has the probes' mean
    losses. No step size depends on them.

    Args:
        params: iterable of parameters, of ``(name, parameter)`` pairs or of dicts defining parameter groups.
        total_steps: number of gradients that the whole method may use, at least 16 (plan "certified": 8). None, the
            default, where it is unknown: the main run goes on without end, and ``averaged()`` has the point to deploy;
            one whose steps decay has budgets that double instead, each from the last returned point.
        plan: "practical", "certified", or a ``pfopt.Practical`` or ``pfopt.Certified`` with options.
        lr: multiplier of the step size, >= 0, per group and schedulable. In the probes only the ratio of the groups'
            values counts; leave it at 1 unless a group should move more slowly. Where every group's is below 0.1 or
            above 10, and no warm-up explains it, the first step warns: it is no learning rate.
        momentum: m in [0, 1), normalised, so that a step size means the same with and without it. The main run uses
            it, the probes do not.
        nesterov: Nesterov momentum; needs ``momentum > 0``.
        weight_decay: κ >= 0, decoupled: in the main run weights that no gradient holds shrink to exp(−κ) of what they
            were, by equal factors (to the power of ``lr``), whatever step size is found. Where the horizon is unknown
            they shrink at every step as fast as at the end of a run that ends there, of 1024 steps at least. 2 is mild,
            5 is for models that overfit, biases and norms included. An L2 penalty is a term of the loss.
        maximize: maximise the objective (and the loss) instead.
        foreach: ``False`` handles tensors one by one; otherwise many at once.
        fused: ``True`` measures and moves all tensors on a GPU by Triton's kernels, a launch for each group; elsewhere
            it moves large tensors of the main run by a kernel that ``torch.compile`` makes. It is compiled at the first
            step of the main run, which a CUDA graph must not capture; up to rounding the run is the same.
        capturable: allow ``step()`` inside a CUDA graph during the main run; status() or eval() after the replays
            brings the host up to date. Triton's kernels are captured where the gradients stay in the memory that they
            had at the step before (``zero_grad(set_to_none=False)``), eager moves where they do not.
        buffers: put back whenever a probe restarts. A module, of which they are looked up, so that it may be cast or
            moved; or tensors such as ``model.buffers()``, of which none may be replaced afterwards: ``step()`` raises.

    Raises:
        TypeError, ValueError: an argument is wrong; the message names it, what is allowed and what came.
        RuntimeError: ``fused=True``, and its compiler does not work here.

    Note:
        The probes of the search try step sizes that are too large, and the losses and parameters that they meet can be
        astronomical: averages of weights or losses, early stopping and the like begin with the main run, once
        ``status().phase`` is no longer "search".

        In the main run a parameter without a gradient, or of a group whose ``lr`` is 0, does not move by a bit. What
        you write into a parameter there counts once: its average goes there too, but for Triton's kernels.

        Gradients that are absent, or exactly zero before the first one that is not, spend nothing. A probe that has
        exploded waits at its anchor for the rest of its steps, so that ``step()`` reads an accelerator only at the
        first gradient, which fixes the unit that all are measured in, and at the last step of a run.

        A parameter takes part from its first gradient on, and its anchor is where it stands then; what is frozen costs
        nothing and is not looked at. Groups and parameters may be removed from ``param_groups``. A ``GradScaler`` calls
        ``step()`` where gradients overflow, too: they count as gradients that are not finite, and are spent.

    Examples:
        >>> import torch, pfopt.torch
        >>> model = torch.nn.Linear(3, 1)
        >>> opt = pfopt.torch.ParameterFreeSGD(model.parameters(), total_steps=1000)
    """

    def __init__(
        self,
        params: Any,
        total_steps: int | None = None,
        *,
        plan: PlanLike = "practical",
        lr: float = 1.0,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
        maximize: bool = False,
        foreach: bool | None = None,
        fused: bool | None = None,
        capturable: bool = False,
        buffers: Module | Iterable[Tensor] | None = None,
    ) -> None:
        super().__init__(
            params,
            total_steps,
            plan,
            buffers,
            lr=lr,
            momentum=momentum,
            nesterov=nesterov,
            weight_decay=weight_decay,
            maximize=maximize,
            foreach=foreach,
            fused=fused,
            capturable=capturable,
        )

    def _plain(self) -> list[Plain]:
        return card.of_sgd(self.param_groups)
