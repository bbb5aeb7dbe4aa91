"""``ParameterFreeOptimizer``: the contract of ``torch.optim.Optimizer``, kept for both optimizers of this package.

The class owns order: what is checked, remembered, saved and swapped, and when. ``step`` and ``transition`` move the
parameters, and ``pfopt.core`` makes every decision.
"""
# pyright: reportPrivateImportUsage=false

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module
from torch.optim import Optimizer

from pfopt import options
from pfopt.core.records import Outcome, Phase
from pfopt.core.run import estimates
from pfopt.options import PlanLike
from pfopt.status import ProbeRecord, Status, message
from pfopt.torch import compilers, transition, validation
from pfopt.torch import state as memories
from pfopt.torch.bundles import Bundle, Layout
from pfopt.torch.norms import Scopes
from pfopt.torch.state import Memory, Setting
from pfopt.torch.step import Work, take_gradient


class ParameterFreeOptimizer(Optimizer):
    """An optimizer without a learning rate to tune; ``ParameterFreeSGD`` and ``ParameterFree`` say what moves.

    Per-parameter tensors live in ``state[p]``, and what else is remembered in ``param_groups[0]["search"]``.
    """

    _based = False  # whether a base makes the directions

    def __init__(
        self,
        params: Any,
        total_steps: int | None,
        plan: PlanLike,
        buffers: Module | Iterable[Tensor] | None,
        **defaults: Any,
    ) -> None:
        chosen = options.plan(plan)
        options.sgd_only(chosen, total_steps, defaults["momentum"])
        total_steps = None if total_steps is None else options.total_steps(total_steps, chosen)
        validation.flags(defaults)
        self._buffers, self._layout = validation.buffers(buffers), None
        shared = {"total_steps": total_steps, "plan": memories.plan_to_dict(chosen), "differentiable": False}
        super().__init__(params, {**defaults, **shared})
        if defaults["fused"]:
            for device in {param.device for group in self.param_groups for param in group["params"]}:
                validation.compiler(device)

    # ---------------------------------------------------------------- torch's own contract

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group; after steps its anchor is where its parameters stand at the next step."""
        super().add_param_group(param_group)
        try:
            validation.group(self.param_groups[-1], self.defaults)
        except (TypeError, ValueError):
            self.param_groups.pop()
            raise

    def __getstate__(self) -> dict[str, Any]:
        own = {"_buffers": self._buffers, "_layout": None}
        return {**super().__getstate__(), **own}  # type: ignore[misc]

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            for name, default in self.defaults.items():
                group.setdefault(name, default)

    def state_dict(self) -> dict[str, Any]:
        """The state, in numbers, lists and tensors; waits for the device."""
        saved = super().state_dict()
        for group in saved["param_groups"]:
            if isinstance(group.get("search"), Memory):
                group["search"] = group["search"].saved()
        return saved

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state, ``total_steps``, the plan and the other options included.

        Float32 accumulators of half-precision parameters keep their precision.

        Raises:
            ValueError: it is that of another optimizer, or the groups, or the shapes of parameters or buffers, are not
                those that were saved.
        """
        if not self._optimizer_load_state_dict_pre_hooks:  # they may yet adapt it
            validation.saved_state(state_dict, self.param_groups)
        with memories.precision_kept(self):
            super().load_state_dict(state_dict)
        memory = self._memory()
        if memory is not None:
            validation.saved_buffers(memory.buffers, self._own_buffers())

    @torch._disable_dynamo  # traced, it would be unrolled over all tensors: minutes; see ``fused``
    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None, *, loss: Any = None) -> Any:  # type: ignore[override]
        """Take one gradient.

        Args:
            closure: reevaluates the model and returns the loss; called once, with gradients enabled.
            loss: the loss at which the gradients were taken, a scalar tensor or a number.

        Returns:
            The loss, if there is one.

        Raises:
            TypeError, ValueError: the loss is not a real scalar.
        """
        self.train()
        if closure is not None:
            validation.closure(closure)
            with torch.enable_grad():
                loss = closure()
        value = validation.loss(loss)
        if all(param.grad is None for group in self.param_groups for param in group["params"]):
            return loss
        memory = self._settled_memory()
        if memory.phase == Phase.DONE:
            self._count_idle_step(memory)
            return loss
        self._take(memory, value)
        return loss

    # ---------------------------------------------------------------- what a user reads

    def status(self) -> Status:
        """Where the optimizer stands; waits for the device."""
        self._catch_up()
        memory, config = self._memory(), self._setting().config
        if memory is None:
            left = None if config.unknown_horizon else config.total_steps
            return Status(Phase.SEARCH.label, 0, 0, left, 0.0, 0.0, 0.0, Outcome.RUNNING.message)
        now, run, _, step_size = memory.read()
        taken = config.total_steps * (2**now.budget_doublings - 1) + now.spent
        taken += 0 if now.phase == Phase.DONE else run.step
        lipschitz, distance = estimates(run)
        return Status(
            phase=Phase(now.phase).label,
            probe=len(memory.history),
            step=taken,
            steps_left=None if config.unknown_horizon else max(config.total_steps - taken - memory.idle, 0),
            step_size=float(step_size),
            lipschitz=lipschitz,
            distance=distance,
            message=message(Outcome(now.outcome), run.restarts),
        )

    def history(self) -> list[ProbeRecord]:
        """Every finished probe."""
        memory = self._memory()
        return [] if memory is None else list(memory.history)

    @torch.no_grad()
    def eval(self) -> None:
        """Put the point to deploy into the parameters; a no-op where it is already there.

        Before the main run that is the anchor, the best point known; in the main run, its average.
        """
        self._catch_up()
        memory = self._memory()
        if memory is not None and not memory.deployed:
            memory.deployed = transition.deployed(self._setting().config, memory.controller.state)
            self._swap(memory.deployed)

    @torch.no_grad()
    def train(self) -> None:
        """Put the training point back into the parameters; a no-op where it is already there."""
        memory = self._memory()
        if memory is not None and memory.deployed:
            self._swap(memory.deployed)
            memory.deployed = ""

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """``with opt.averaged():`` the parameters hold the point to deploy; afterwards what they held before."""
        memory = self._memory()
        deployed = memory is not None and memory.deployed
        self.eval()
        try:
            yield
        finally:
            if not deployed:
                self.train()

    # ---------------------------------------------------------------- inside

    def _take(self, memory: Memory, loss: Tensor | float | None) -> None:
        """One gradient, and the end of a run where it was its last one."""
        work = self._work(memory)
        take_gradient(work, loss)
        if memory.due <= 0:
            transition.finish(work)

    def _memory(self) -> Memory | None:
        group = self.param_groups[0]
        if isinstance(group.get("search"), dict):  # a state that was loaded
            group["search"] = Memory.loaded(group["search"])
        return group.get("search")

    def _settled_memory(self) -> Memory:
        """What is remembered, where the parameters are; made at the first step."""
        memory, buffers, scopes = self._memory(), self._own_buffers(), self._scopes([]).number
        if memory is None:
            config = self._setting().config
            memory = memories.fresh(config, self.param_groups, scopes, buffers, based=self._based)
            self.param_groups[0]["search"] = memory
        memory.settle(self.param_groups, scopes, buffers)
        return memory

    def _setting(self) -> Setting:
        group = self.param_groups[0]
        return memories.setting(tuple(group["plan"].items()), group["total_steps"], self._based)

    def _scopes(self, rho: list[float]) -> Scopes:
        return Scopes(self._setting().scope, [len(group["params"]) for group in self.param_groups], rho)

    def _own_buffers(self) -> list[Tensor]:
        held = self._buffers
        return list(held.buffers()) if isinstance(held, Module) else held

    def _work(self, memory: Memory) -> Work:
        setting, packed, size = self._setting(), self._bundles(), 0
        if setting.by_coordinate:
            params = [param for group in self.param_groups for param in group["params"]]
            size = sum(param.numel() * (1 + param.is_complex()) for param in params)
        return Work(
            config=setting.config,
            groups=self.param_groups,
            memory=memory,
            scopes=self._scopes(memory.rho(self.param_groups)),
            bundles=packed,
            buffers=self._own_buffers(),
            size=size,
            tables=self._layout[1].tables if self._layout else {},
        )

    def _bundles(self, *, gradients: bool = True) -> list[Bundle]:
        setting, shared, memory = self._setting(), self.param_groups[0], self._memory()
        momentum = any(group["momentum"] for group in self.param_groups)
        apart = bool(shared["fused"]) and memory is not None and memory.phase == Phase.MAIN
        apart = apart and any(
            compilers.on(param.device) != "Triton" for group in self.param_groups for param in group["params"]
        )
        key = setting, momentum, apart, shared["foreach"]
        states = [self.state[param] for group in self.param_groups for param in group["params"]]
        if (
            self._layout is None
            or self._layout[0] != key
            or not self._layout[1].is_current(self.param_groups, states)
        ):
            names = memories.names(setting, momentum=momentum)
            self._layout = (
                key,
                Layout(
                    self.param_groups,
                    lambda param: memories.fill(self.state[param], param, names),
                    together=shared["foreach"] is not False,
                    large_apart=apart,
                ),
            )
        return self._layout[1].bundles(gradients)

    def _swap(self, slot: str) -> None:
        """Exchange the parameters with state tensors; nothing where the name is ""."""
        for bundle in self._bundles(gradients=False) if slot else []:
            held = bundle.points().clone()
            bundle.place(bundle.state[slot])
            bundle.state[slot].copy_(held)

    @torch.no_grad()
    def _catch_up(self) -> None:
        """See whether the run has ended; replays of a CUDA graph are no calls of ``step()``."""
        memory = self._memory()
        if not self.param_groups[0]["capturable"] or memory is None or memory.deployed:
            return
        if memory.phase != Phase.DONE:
            transition.finish(self._work(memory))

    def _count_idle_step(self, memory: Memory) -> None:
        """Count a step after the returned point was delivered; the first one beyond the budget warns."""
        total_steps = self._setting().config.total_steps
        memory.idle += 1
        if memory.controller.state.spent + memory.idle == total_steps + 1:
            warnings.warn(
                f"{type(self).__name__}: the budget of total_steps={total_steps} gradients is spent and the "
                "parameters hold the returned point; this step and later ones change nothing",
                stacklevel=7,  # the line that called step(), past torch's decorators
            )
