"""``ParameterFree``: the search around any other optimizer of torch.

The base turns gradients into directions; from there on it is ``ParameterFreeSGD`` that moves. A direction is read
off the base's own step at a power-of-two learning rate so large that the parameters cost it no digits.
"""

import copy
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.optim import LBFGS, Optimizer

from pfopt.torch import kernels, runs
from pfopt.torch.optimizer import ParameterFreeSGD

UNIT = {torch.float16: 1.0}  # learning rate at which a direction is read off; float16 ends at 65504
WIDE_UNIT = 2.0**20

BaseState = dict[Tensor, dict[str, Any]]


class ParameterFree(ParameterFreeSGD):
    """Any ``torch.optim`` optimizer with a learning rate that is searched.

    What the base's step makes of a gradient takes the gradient's place in ``ParameterFreeSGD``: in the probes,
    in the certificate and in the long run. Its state begins anew at every restart from the anchor. Directions
    are measured by their products with the gradients, see ``pfopt/torch/pairing.py``.

    Args:
        base: an optimizer whose step is proportional to its ``lr``, such as ``torch.optim.AdamW(params)``; of its
            learning rates only the groups' ratio counts. Its weight decay and ``maximize`` stay its own.
        total_steps, plan, schedule, momentum, nesterov, average, scope, foreach, buffers: as in
            ``ParameterFreeSGD``; momentum acts on the directions, in the long run only, and no coordinate has a
            step size of its own: the base has scaled it.

    Raises:
        TypeError, ValueError: an argument is wrong; the message names it, what is allowed and what came.

    Note:
        Call ``step()``, ``zero_grad()``, ``state_dict()`` and learning-rate schedulers on this object; the base is
        stepped by it and by nobody else. The long run takes its gradients at the iterates, its step decays
        linearly, and the last iterate is returned; where the horizon is unknown, the average with gamma = 3. Its
        cap is the step size found, not four times that: a base that averages gradients shows the search less
        noise than it makes.

    Example:
        >>> import torch, pfopt.torch
        >>> model = torch.nn.Linear(3, 1)
        >>> opt = pfopt.torch.ParameterFree(torch.optim.AdamW(model.parameters()), total_steps=1000)
    """

    _based = True

    def __init__(
        self,
        base: Optimizer,
        total_steps: int | None,
        *,
        plan: str = "train",
        schedule: str = "linear",
        momentum: float = 0.0,
        nesterov: bool = False,
        average: str | float = "auto",
        scope: str = "auto",
        foreach: bool | None = None,
        buffers: Iterable[Tensor] | None = None,
    ) -> None:
        rates = _rates(base)
        largest = max(rates)
        self.base = base
        self._anchor_state: BaseState = _copied(base.state)
        self._gradients: dict[Tensor, Tensor] = {}
        groups = [
            {"params": group["params"], "lr": rate / largest}
            for group, rate in zip(base.param_groups, rates, strict=True)
        ]
        super().__init__(
            groups,
            total_steps,
            plan=plan,
            schedule=schedule,
            momentum=momentum,
            nesterov=nesterov,
            average=average,
            scope=scope,
            foreach=foreach,
            buffers=buffers,
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
        own = {"base": self.base, "_anchor_state": self._anchor_state, "_gradients": {}}
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
        saved = {params[place]: state for place, state in state_dict["base_anchor"].items()}
        self._anchor_state = _copied(saved)

    def _take(self, search: dict[str, Any], value: Tensor | float | None) -> None:
        if len(self.base.param_groups) != len(self.param_groups):
            raise ValueError(
                "base must have the groups of this optimizer: add new ones here, not to the base"
            )
        stage, cuts = search["state"]["stage"], search["run"]["cuts"].clone()
        if value is not None and self.base.param_groups[0].get("maximize"):
            value = -value
        with self._directed(search):
            super()._take(search, value)
        if search["calls"]:
            self._renew(search["run"]["cuts"] > cuts)
            return
        if search["state"]["stage"] > stage:
            self._anchor_state = _copied(self.base.state)
        self.base.state.clear()
        self.base.state.update(_copied(self._anchor_state))

    def _work(self, search: dict[str, Any]) -> runs.Work:
        work = super()._work(search)
        return runs.paired(work, self._bundles(self._gradients.get)) if self._gradients else work

    @contextmanager
    def _directed(self, search: dict[str, Any]) -> Iterator[None]:
        """Put the base's directions where the gradients are, and the gradients back afterwards.

        The base never sees what is not finite; its direction is then NaN, and zero where the gradient is.
        """
        like = search["initial_step"]
        params = [param for param in _params(self) if param.grad is not None]
        grads = [param.grad for param in params if param.grad is not None]
        raw_sq = torch.stack([kernels.raw_norms_sq(bundle, like).sum() for bundle in self._bundles()]).sum()
        good = torch.isfinite(raw_sq)
        for param, grad in zip(params, grads, strict=True):
            if not grad.is_sparse:
                param.grad = torch.where(good.to(grad.device), grad, 0)
        moves = self._moves(params)
        begun = (raw_sq != 0) | (like != 0)
        factor = torch.where(good, begun.to(like), torch.nan)
        directions = [move * factor.to(move.device, _real(move.dtype)) for move in moves]
        ascending = {p for group in self.base.param_groups if group.get("maximize") for p in group["params"]}
        self._gradients = {
            param: -kernels.dense(grad) if param in ascending else kernels.dense(grad)
            for param, grad in zip(params, grads, strict=True)
        }
        for param, direction in zip(params, directions, strict=True):
            param.grad = direction
        try:
            yield
        finally:
            self._gradients = {}
            for param, grad in zip(params, grads, strict=True):
                param.grad = grad

    def _moves(self, params: list[Tensor]) -> list[Tensor]:
        """What the base's step takes off the parameters at learning rate 1; they stay where they are."""
        before = [param.detach().clone() for param in params]
        rates = [group["lr"] for group in self.base.param_groups]
        unit = min(UNIT.get(param.dtype, WIDE_UNIT) for param in params)
        try:
            for group in self.base.param_groups:
                group["lr"] = unit
            self.base.step()
            return [(old - param.detach()) / unit for old, param in zip(before, params, strict=True)]
        finally:
            for group, rate in zip(self.base.param_groups, rates, strict=True):
                group["lr"] = rate
            for param, old in zip(params, before, strict=True):
                param.copy_(old)

    def _renew(self, exploded: Tensor) -> None:
        """Put the base's state back where the long run has just begun anew; decided on the device."""
        for param, state in self.base.state.items():
            at_anchor = self._anchor_state.get(param, {})
            for name, value in state.items():
                if isinstance(value, Tensor):
                    old = at_anchor.get(name, torch.zeros_like(value))
                    value.copy_(torch.where(exploded.to(value.device), old, value))


def _params(optimizer: Optimizer) -> Iterator[Tensor]:
    for group in optimizer.param_groups:
        yield from group["params"]


def _rates(base: Any) -> list[float]:
    """The groups' learning rates, or what is wrong with the base."""
    if not isinstance(base, Optimizer):
        raise TypeError(f"base must be a torch.optim.Optimizer, got {type(base).__name__}")
    if isinstance(base, (LBFGS, ParameterFreeSGD)):
        raise TypeError(f"base must take one gradient a step at a learning rate, got {type(base).__name__}")
    rates = [float(group.get("lr", 0.0)) for group in base.param_groups]
    if not max(rates) > 0:
        raise ValueError(f"base must have a learning rate lr > 0 in one of its groups, got {rates}")
    return rates


def _copied(states: Any) -> BaseState:
    """A copy that shares nothing with the base's states but the parameters."""
    return {param: {name: _clone(value) for name, value in state.items()} for param, state in states.items()}


def _clone(value: Any) -> Any:
    return value.detach().clone() if isinstance(value, Tensor) else copy.deepcopy(value)


def _real(dtype: torch.dtype) -> torch.dtype:
    return dtype.to_real() if dtype.is_complex else dtype
