"""``ParameterFree``: another optimizer of torch moves the parameters, at a learning rate that is searched."""

import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from torch import Tensor
from torch.nn import Module
from torch.optim import LBFGS, Optimizer

from pfopt.core.arrays import Flag
from pfopt.core.main_run import Decision
from pfopt.core.records import Phase
from pfopt.options import PlanLike
from pfopt.torch import based, card, early_based
from pfopt.torch.base import ParameterFreeOptimizer
from pfopt.torch.base_state import CALLERS, BaseState
from pfopt.torch.bundles import Bundle
from pfopt.torch.card import Plain
from pfopt.torch.early import Early
from pfopt.torch.in_backward import InBackward
from pfopt.torch.joint import Joint
from pfopt.torch.norms import Scopes
from pfopt.torch.step import Work
from pfopt.torch.transition import finish

RESERVED = (  # keys of this optimizer's groups
    *("total_steps", "plan", "differentiable", "weight_decay", "maximize", "foreach", "fused", "capturable"),
    *("search", "base", "base_anchor"),
)


class ParameterFree(ParameterFreeOptimizer):
    """Any ``torch.optim`` optimizer, with a learning rate that is searched.

    The base steps in place, by its own kernels, at a rate that was decided at the gradient before: in the probes, whose
    step size is fixed, and in the main run. Its state begins anew at every restart from the anchor. Norms and distances
    are those of the base's own metric, from products of the gradient with the displacement before and after its step
    (``pfopt.core.preconditioned``). Beyond the base's own memory it costs the anchor, one copy of the parameters.

    Args:
        base: an optimizer whose step is proportional to its ``lr``, a number or a tensor, such as
            ``torch.optim.AdamW(params)``; of its learning rates only the groups' ratio counts. Its weight decay,
            momentum and ``maximize`` stay its own. Keys of its groups that are nobody's option, such as timm's
            ``lr_scale``, are kept. A list of them, ``[Muon(matrices, lr=0.02), AdamW(others, lr=1e-3)]``, is searched
            as one, of which the ratio of the learning rates counts.
        total_steps, plan, foreach, fused, buffers: as in ``ParameterFreeSGD``, but no coordinate has a step size of
            its own: the base has scaled it. Tensors move at powers of two times the whole's, and a base that keeps
            numbers in its groups (Prodigy, Schedule-Free) moves all of them at the whole's.

    Raises:
        TypeError, ValueError: an argument is wrong; the message names it, what is allowed and what came. A base whose
            steps are not proportional to its learning rate is refused at the first gradient, as one that keeps state
            where torch does not save it.
        RuntimeError: ``fused=True``, and its compiler does not work here.

    Note:
        Call ``step()``, ``zero_grad()``, ``state_dict()`` and learning-rate schedulers on this object; the base is
        stepped by it and by nobody else. The main run takes its gradients at the iterates, its steps decay linearly,
        and the last iterate is returned; where the horizon is unknown, the average. Its cap is the step size found, not
        four times that: a base that averages gradients shows the search less noise than it makes. On an accelerator
        ``step()`` waits for the device once, since the base takes its rate from the host. In half precision, and at the
        first gradient of all and of the main run, directions are read off at a rate so large that it costs no digits.
        At the first one nine more steps of the base, which leave no trace, tell how far one leads, and whether they
        are proportional to its learning rate. ``lr`` is best left constant, but for a warm-up: where it falls in a main
        run whose steps decay anyway a warning says so, once.

    Examples:
        >>> import torch, pfopt.torch
        >>> model = torch.nn.Linear(3, 1)
        >>> opt = pfopt.torch.ParameterFree(torch.optim.AdamW(model.parameters()), total_steps=1000)
    """

    _based = True

    def __init__(
        self,
        base: Optimizer | Sequence[Optimizer],
        total_steps: int | None = None,
        *,
        plan: PlanLike = "practical",
        foreach: bool | None = None,
        fused: bool | None = None,
        buffers: Module | Iterable[Tensor] | None = None,
    ) -> None:
        base = _joined(base)
        rates = [float(group.get("lr", 0.0)) for group in base.param_groups]
        self.base = base
        groups = [
            {**_others(base, group), "params": _named(group), "lr": rate / max(rates)}
            for group, rate in zip(base.param_groups, rates, strict=True)
        ]
        super().__init__(
            groups,
            total_steps,
            plan,
            buffers,
            lr=1.0,
            weight_decay=0.0,
            maximize=False,
            foreach=foreach,
            fused=fused,
            capturable=False,
        )

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group to this optimizer and to the base, whose options are all but ``lr``, a multiplier here.

        Keys that neither of them knows are kept in both.
        """
        names = [name for name in self.base.defaults if name not in CALLERS]
        options = {name: param_group[name] for name in names if name in param_group}
        super().add_param_group({k: v for k, v in param_group.items() if k not in options})
        added = self.param_groups[-1]
        added["base"], added["base_anchor"] = {}, {}
        if len(self.base.param_groups) < len(self.param_groups):
            try:
                others = _others(self.base, param_group)
                self.base.add_param_group({**others, **options, "params": _named(added)})
            except (TypeError, ValueError):
                self.param_groups.pop()
                raise

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "base": self.base}

    def state_dict(self) -> dict[str, Any]:
        """The state, with the base's in that of each parameter and group, now and at the anchor."""
        keeper = self._keeper()
        keeper.adopt()
        keeper.tell_options()
        return super().state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state, and the base's.

        Raises:
            ValueError: it is not the state of a ``ParameterFree`` around such a base, or the groups, or the shapes of
                parameters, are not those that were saved.
        """
        if not self._optimizer_load_state_dict_pre_hooks:  # they may yet adapt it
            _require_kind(self.base, state_dict["param_groups"])
        super().load_state_dict(state_dict)

    # ---------------------------------------------------------------- inside

    def _keeper(self) -> BaseState:
        return BaseState(self.base, self.state, self.param_groups)

    def _scopes(self, rho: list[float]) -> Scopes:
        return super()._scopes(rho)._replace(together=not self._keeper().splits)

    def _plain(self) -> list[Plain]:
        return card.of_base(self.base)

    def _load_more(self, loaded: dict[str, Any]) -> None:
        self._keeper().load(loaded)

    def step_in_backward(self) -> InBackward:
        """As of ``ParameterFreeSGD``; the base steps each parameter alone, one call for each."""
        self._keeper().require_splits()
        return super().step_in_backward()

    def _take(self, work: Work, loss: Tensor | float | None) -> None:
        keeper = self._keeper()
        self._require_groups()
        keeper.adopt()
        anew = based.take_gradient(work, keeper, self._minimised(loss))
        self._end(work, keeper, anew=anew)

    def _move_early(self, work: Work, param: Tensor, decision: Decision, finite: Flag) -> Any:
        return early_based.move(work, self._keeper(), param, decision, finite)

    def _take_early(
        self,
        work: Work,
        tensors: list[Early],
        decision: Decision,
        loss: Tensor | float | None,
        everyone: Callable[[], list[Bundle]],
    ) -> None:
        self._require_groups()
        anew = early_based.take_gradient(work, tensors, decision, self._minimised(loss))
        ends = work.memory.due <= 0
        self._end(work._replace(bundles=everyone()) if ends else work, self._keeper(), anew=anew)

    def _end(self, work: Work, keeper: BaseState, *, anew: bool) -> None:
        """The end of a run where it was its last gradient; the base begins anew where the parameters do."""
        memory = work.memory
        transition = finish(work) if memory.due <= 0 else None
        if transition is not None and memory.phase != Phase.DONE:
            anew = True
            if transition.reanchor:
                keeper.reanchor()
        if anew:
            keeper.begin_anew()

    def _minimised(self, loss: Tensor | float | None) -> Tensor | float | None:
        return -loss if loss is not None and self.base.param_groups[0].get("maximize") else loss

    def _require_groups(self) -> None:
        pairs = zip(self.base.param_groups, self.param_groups, strict=False)
        same = len(self.base.param_groups) == len(self.param_groups) and all(
            len(one["params"]) == len(other["params"])
            and all(map(operator.is_, one["params"], other["params"]))
            for one, other in pairs
        )
        if not same:
            raise ValueError(
                "base must have the groups of this optimizer, and the same parameters in them: add groups here, not "
                "to the base, and remove what is removed from base.param_groups, too"
            )


def _require_kind(base: Optimizer, saved_groups: list[dict[str, Any]]) -> None:
    """It is such a base that was saved."""
    if not all("base" in group for group in saved_groups):
        raise ValueError('state_dict must hold the state of the base, under "base" of every group')
    for pair in zip(saved_groups, base.param_groups, strict=False):
        saved, own = set(pair[0]["base"]) - {"params"}, set(pair[1]) - {"params"}
        own_only, saved_only = own - saved, saved - own - {"initial_lr", "param_names"}
        if own_only and saved_only:  # versions of one kind add options, another kind has some of its own
            raise ValueError(
                f"base must be of the kind that was saved, with {sorted(saved)}, got {sorted(own)}"
            )


def _others(base: Optimizer, group: dict[str, Any]) -> dict[str, Any]:
    """What neither the base nor this optimizer knows, such as timm's ``lr_scale``."""
    known = {*base.defaults, *CALLERS, *RESERVED}
    return {name: value for name, value in group.items() if name not in known}


def _named(group: dict[str, Any]) -> list[Any]:
    """The parameters, with their names where they have some."""
    names = group.get("param_names")
    return list(group["params"]) if names is None else list(zip(names, group["params"], strict=True))


def _joined(base: Any) -> Optimizer:
    """The base, or several as one."""
    several = list(base) if isinstance(base, (list, tuple)) else [base]
    if not several:
        raise ValueError("base must be an optimizer or a list of them, got an empty list")
    for each in several:
        _require_base(each)
    return several[0] if len(several) == 1 else Joint(several)


def _require_base(base: Any) -> None:
    """What is wrong with a base."""
    if not isinstance(base, Optimizer):
        raise TypeError(f"base must be a torch.optim.Optimizer, got {type(base).__name__}")
    if isinstance(base, (LBFGS, ParameterFreeOptimizer)):
        raise TypeError(f"base must take one gradient a step at a learning rate, got {type(base).__name__}")
    if not {"state", "param_groups"} <= base.state_dict().keys():
        raise TypeError(
            'base must save itself as torch does, under "state" and "param_groups", got '
            f"{type(base).__name__} with {sorted(base.state_dict())}"
        )
    rates = [float(group.get("lr", 0.0)) for group in base.param_groups]
    if not max(rates, default=0.0) > 0:
        name = type(base).__name__
        raise ValueError(f"base must have a learning rate lr > 0 in one of its groups, got {rates} ({name})")
