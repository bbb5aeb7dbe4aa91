"""``ParameterFree``: another optimizer of torch moves the parameters, at a learning rate that is searched."""

import copy
from collections.abc import Iterable, Iterator
from typing import Any

from torch import Tensor
from torch.nn import Module
from torch.optim import LBFGS, Optimizer

from pfopt import options
from pfopt.core.records import Phase
from pfopt.options import PlanLike
from pfopt.torch import based
from pfopt.torch.base import ParameterFreeOptimizer
from pfopt.torch.state import Memory
from pfopt.torch.transition import finish

BaseState = dict[Tensor, dict[str, Any]]


class ParameterFree(ParameterFreeOptimizer):
    """Any ``torch.optim`` optimizer, with a learning rate that is searched.

    The base steps in place, by its own kernels, at a rate that was decided at the gradient before: in the probes, whose
    step size is fixed, and in the main run. Its state begins anew at every restart from the anchor. Norms and distances
    are those of the base's own metric, from products of the gradient with the displacement before and after its step
    (``pfopt.core.preconditioned``). Beyond the base's own memory it costs the anchor, one copy of the parameters.

    Args:
        base: an optimizer whose step is proportional to its ``lr``, a number or a tensor, such as
            ``torch.optim.AdamW(params)``; of its learning rates only the groups' ratio counts. Its weight decay,
            momentum and ``maximize`` stay its own.
        total_steps, plan, foreach, fused, buffers: as in ``ParameterFreeSGD``, but no coordinate or tensor has a step
            size of its own: the base has scaled it, and moves all parameters of a group at one rate.

    Raises:
        TypeError, ValueError: an argument is wrong; the message names it, what is allowed and what came.
        RuntimeError: ``fused=True``, and its compiler does not work here.

    Note:
        Call ``step()``, ``zero_grad()``, ``state_dict()`` and learning-rate schedulers on this object; the base is
        stepped by it and by nobody else. The main run takes its gradients at the iterates, its steps decay linearly,
        and the last iterate is returned; where the horizon is unknown, the average. Its cap is the step size found, not
        four times that: a base that averages gradients shows the search less noise than it makes. On an accelerator
        ``step()`` waits for the device once, since the base takes its rate from the host. In half precision, and at the
        first gradient of all and of the main run, directions are read off at a rate so large that it costs no digits.

    Example:
        >>> import torch, pfopt.torch
        >>> model = torch.nn.Linear(3, 1)
        >>> opt = pfopt.torch.ParameterFree(torch.optim.AdamW(model.parameters()), total_steps=1000)
    """

    _based = True

    def __init__(
        self,
        base: Optimizer,
        total_steps: int | None = None,
        *,
        plan: PlanLike = "practical",
        foreach: bool | None = None,
        fused: bool | None = None,
        buffers: Module | Iterable[Tensor] | None = None,
    ) -> None:
        rates = _rates(base)
        options.around_base(options.plan(plan), ("auto", "global", "group"))
        self.base = base
        self._anchor_state: BaseState = _copied(base.state)
        groups = [
            {"params": group["params"], "lr": rate / max(rates)}
            for group, rate in zip(base.param_groups, rates, strict=True)
        ]
        super().__init__(
            groups,
            total_steps,
            plan,
            buffers,
            lr=1.0,
            momentum=0.0,
            nesterov=False,
            weight_decay=0.0,
            maximize=False,
            foreach=foreach,
            fused=fused,
            capturable=False,
        )

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group to this optimizer and to the base, whose options are all but ``lr``, a multiplier here."""
        others = {name: value for name, value in param_group.items() if name not in ("params", "lr")}
        super().add_param_group({name: value for name, value in param_group.items() if name not in others})
        if len(self.base.param_groups) < len(self.param_groups):
            try:
                self.base.add_param_group({"params": self.param_groups[-1]["params"], **others})
            except (TypeError, ValueError):
                self.param_groups.pop()
                raise

    def __getstate__(self) -> dict[str, Any]:
        own = {"base": self.base, "_anchor_state": self._anchor_state}
        return {**super().__getstate__(), **own}

    def state_dict(self) -> dict[str, Any]:
        """The state of the search, and under "base" and "base_anchor" that of the base, now and at the anchor."""
        places = {param: place for place, param in enumerate(_params(self.base))}
        at_anchor = {places[param]: state for param, state in _copied(self._anchor_state).items()}
        return {**super().state_dict(), "base": self.base.state_dict(), "base_anchor": at_anchor}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state.

        Raises:
            ValueError: it is not the state of a ``ParameterFree`` around such a base, or the groups, or the shapes of
                parameters, are not those that were saved.
        """
        if "base" not in state_dict or "base_anchor" not in state_dict:
            raise ValueError('state_dict must hold the state of the base under "base" and "base_anchor"')
        own = {name: value for name, value in state_dict.items() if name not in ("base", "base_anchor")}
        saved, options = (
            set(each["param_groups"][0]) for each in (state_dict["base"], self.base.state_dict())
        )
        own_only, saved_only = options - saved, saved - options - {"initial_lr", "param_names"}
        if own_only and saved_only:  # versions of one kind add options, another kind has some of its own
            raise ValueError(
                f"base must be of the kind that was saved, with {sorted(saved)}, got {sorted(options)}"
            )
        super().load_state_dict(own)
        self.base.load_state_dict(state_dict["base"])
        params = list(_params(self.base))
        at_anchor = {params[place]: state for place, state in state_dict["base_anchor"].items()}
        self._anchor_state = _copied(at_anchor)

    # ---------------------------------------------------------------- inside

    def _take(self, memory: Memory, loss: Tensor | float | None) -> None:
        if len(self.base.param_groups) != len(self.param_groups):
            raise ValueError(
                "base must have the groups of this optimizer: add new ones here, not to the base"
            )
        if loss is not None and self.base.param_groups[0].get("maximize"):
            loss = -loss
        work = self._work(memory)
        anew = based.take_gradient(work, self.base, loss)
        transition = finish(work) if memory.due <= 0 else None
        if transition is not None and memory.phase != Phase.DONE:
            anew = True
            if transition.reanchor:
                self._anchor_state = _copied(self.base.state)
        if anew:
            self.base.state.clear()
            self.base.state.update(_copied(self._anchor_state))


def _params(optimizer: Optimizer) -> Iterator[Tensor]:
    for group in optimizer.param_groups:
        yield from group["params"]


def _rates(base: Any) -> list[float]:
    """The groups' learning rates, or what is wrong with the base."""
    if not isinstance(base, Optimizer):
        raise TypeError(f"base must be a torch.optim.Optimizer, got {type(base).__name__}")
    if isinstance(base, (LBFGS, ParameterFreeOptimizer)):
        raise TypeError(f"base must take one gradient a step at a learning rate, got {type(base).__name__}")
    rates = [float(group.get("lr", 0.0)) for group in base.param_groups]
    if not max(rates) > 0:
        raise ValueError(f"base must have a learning rate lr > 0 in one of its groups, got {rates}")
    return rates


def _copied(states: Any) -> BaseState:
    """A copy that shares nothing with the base's states but the parameters."""
    return {param: copy.deepcopy(state) for param, state in states.items()}
