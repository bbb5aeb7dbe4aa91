"""``ParameterFreeOptimizer``: the contract of ``torch.optim.Optimizer``, kept for both optimizers of this package.

The class owns order: what is checked, remembered, saved and swapped, and when. ``step`` and ``transition`` move the
parameters, and ``pfopt.core`` makes every decision.
"""
# pyright: reportPrivateImportUsage=false

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module
from torch.optim import Optimizer

from pfopt import options
from pfopt.card import Card
from pfopt.core import controller
from pfopt.core.arrays import Flag
from pfopt.core.main_run import Decision
from pfopt.core.records import Phase
from pfopt.options import PlanLike
from pfopt.status import ProbeRecord, Status
from pfopt.torch import (
    advice,
    amp,
    checkpoint,
    early,
    horizon,
    in_backward,
    report,
    transition,
    validation,
    written,
)
from pfopt.torch import card as cards
from pfopt.torch import state as memories
from pfopt.torch.advice import Advice
from pfopt.torch.buffers import Buffers
from pfopt.torch.bundles import Bundle
from pfopt.torch.card import Plain
from pfopt.torch.early import Early
from pfopt.torch.in_backward import InBackward
from pfopt.torch.norms import Scopes
from pfopt.torch.packing import Packing
from pfopt.torch.roster import Roster, forget, release_frozen
from pfopt.torch.state import Memory, Setting
from pfopt.torch.step import Work, take_gradient


class ParameterFreeOptimizer(Optimizer):
    """An optimizer without a learning rate to tune; ``ParameterFreeSGD`` and ``ParameterFree`` say what moves.

    Per-parameter tensors live in ``state[p]``, made at the first gradient of ``p``: what never had one takes no part.
    What else is remembered is ``search`` of every parameter group.
    """

    _based = False  # whether a base makes the directions
    _in_backward: InBackward | None = None
    _step_supports_amp_scaling = True  # for ``GradScaler``, see ``amp``

    def __init__(
        self,
        params: Any,
        total_steps: int | None,
        plan: PlanLike,
        buffers: Module | Iterable[Tensor] | None,
        **defaults: Any,
    ) -> None:
        chosen = options.plan(plan)
        others = {name: defaults[name] for name in ("momentum", "weight_decay") if name in defaults}
        options.sgd_only(chosen, total_steps, **others)
        total_steps = None if total_steps is None else options.total_steps(total_steps, chosen)
        validation.flags(defaults)
        self._buffers, self._packing = Buffers(buffers), Packing()
        self._advice, self._roster = Advice(), Roster()
        shared = {"total_steps": total_steps, "plan": memories.plan_to_dict(chosen), "differentiable": False}
        shared["effective_lr"] = 0.0  # nothing has moved
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
        own = {name: getattr(self, name) for name in ("_buffers", "_packing", "_advice", "_roster")}
        return {**super().__getstate__(), **own}  # type: ignore[misc]

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            for name, default in self.defaults.items():
                group.setdefault(name, default)

    def state_dict(self) -> dict[str, Any]:
        """The state, in numbers, lists and tensors; waits for the device."""
        if self._in_backward is not None:
            self._in_backward.require_closed("state_dict()")
        forget(self.state, self.param_groups)
        memory = self._memory()
        saved = super().state_dict()
        if memory is not None:
            search = memory.saved(checkpoint.checksum(self._bundles(memory, gradients=False)))
            for group in saved["param_groups"]:
                group["search"], group["effective_lr"] = search, float(group["effective_lr"])
        return saved

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state, ``total_steps``, the plan and the other options included.

        Float32 accumulators of half-precision parameters keep their precision. A ``total_steps`` other than the
        constructor's warns, and so does the first step where the parameters are not those that were saved with it.

        Raises:
            ValueError: it is that of another optimizer, or the groups, or the shapes of parameters or buffers, are not
                those that were saved.
        """
        if not self._optimizer_load_state_dict_pre_hooks:  # they may yet adapt it
            validation.saved_state(state_dict, self.param_groups, based=self._based)
        own = self.param_groups[0]["total_steps"]
        with checkpoint.precision_kept(self) as loaded:
            super().load_state_dict(state_dict)
        if self._in_backward is not None:
            self._in_backward.forget()
        self._load_more(loaded[-1])
        self._roster, memory = Roster(), self._memory()
        advice.on_total_steps(type(self).__name__, own, self.param_groups[0]["total_steps"])
        if memory is not None:
            validation.saved_buffers(memory.buffers, self._buffers.live())
            self._roster.note(self.param_groups)

    @torch._disable_dynamo  # traced, it would be unrolled over all tensors: minutes; see ``fused``
    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None, *, loss: Any = None) -> Any:  # type: ignore[override]
        """Take one gradient.

        Args:
            closure: reevaluates the model and returns the loss; called once, with gradients enabled.
            loss: the loss at which the gradients were taken, a scalar tensor or a number; of a closure that returns
                None, too.

        Returns:
            The loss, if there is one.

        Raises:
            TypeError, ValueError: the loss is not a real scalar, or buffers that were given as tensors were replaced.
        """
        self.train()
        if closure is not None:
            validation.closure(closure)
            with torch.enable_grad():
                told = closure()
            loss = loss if told is None else told
        value = validation.loss(loss)
        if self._in_backward is not None:
            self._in_backward.close(value)
            return loss
        params = [param for group in self.param_groups for param in group["params"]]
        if all(param.grad is None for param in params):
            return loss
        release_frozen(self.state, self.param_groups)
        buffers = self._buffers.live()
        memory = self._followed_memory(buffers)
        if memory.phase == Phase.DONE:
            memory.idle += 1
            advice.on_idle_step(type(self).__name__, memory, self._setting().config.total_steps)
            return loss
        self._advice.on_rates(
            type(self).__name__, self.param_groups, memory, decays=self._setting().config.decays
        )
        work = self._work(memory, buffers, amp.unscale(self, params))
        memory.still = work.still
        work.find_unit()
        if memory.phase == Phase.SEARCH and written.adopted(work.bundles, memory.controller.run):
            self._advice.on_write(type(self).__name__)
        self._take(work, value)
        written.note(work.bundles, searches=memory.phase == Phase.SEARCH)
        report.show_rates(self.param_groups, memory)
        return loss

    def step_in_backward(self) -> InBackward:
        """From now on move each parameter in the backward pass, and let go of its gradient at once.

        The loop stays: ``step()`` after every backward pass counts the gradient, decides on the next one, and goes back
        to the anchor where a run ends or has met too large a step size. A main run's step sizes are those of the mean
        ‖g‖² before the gradient. The first gradient of all only fixes the initial step size, and moves nothing.

        A gradient that is not finite moves nothing where it is not, and counts as one; the loss is looked at in
        ``step()``, when the gradient has moved the parameters. Nobody else sees gradients: they cannot be clipped,
        unscaled or accumulated, which raises a ``RuntimeError`` where it shows.

        Returns:
            What takes the hooks away again, by ``remove()`` or at the end of a ``with`` statement. No copy and no
            checkpoint holds them: call this again after making another optimizer.

        Raises:
            ValueError: it steps so already; the plan is "certified", ``fused`` or ``capturable`` is True, parameters
                are split or trained by several processes, or the base cannot step one parameter at a time.
        """
        if self._in_backward is not None:
            raise ValueError("step_in_backward must be called once, until its answer is removed")
        in_backward.require(self.param_groups, self._setting().config.certified)
        self._in_backward = InBackward(self)
        return self._in_backward

    @torch.no_grad()
    def extend(self, steps: int) -> None:
        """Plan so many gradients more, or fewer where ``steps`` is negative.

        It works at any time, after the end and after loading too; a run that was over goes on from the point that it
        returned. The search takes what it takes: the main run becomes longer or shorter.

        Raises:
            TypeError: ``steps`` is no integer.
            ValueError: less would be left than is spent, ``total_steps`` is None, or a run of plan "certified" has
                begun.
        """
        memory, setting, total_steps = (
            self._compared_memory(),
            self._setting(),
            self.param_groups[0]["total_steps"],
        )
        plan = memories.plan_from_dict(self.param_groups[0]["plan"])
        total_steps = horizon.extended(plan, setting.config, total_steps, memory, steps)
        deployed = memory is not None and memory.deployed
        self.train()
        if memory is not None:
            horizon.apply(setting.config, memory, self._bundles(memory, gradients=False), int(steps))
        for group in self.param_groups:
            group["total_steps"] = total_steps
        if deployed:
            self.eval()

    @torch.no_grad()
    def start_from(self, card: Card) -> None:
        """Begin the search at what an earlier one has certified: it is tested first, then two doublings up or down.

        Where the answer lies outside, the search goes on as any other does, so that data, batch size and the number of
        steps may be others. Before the first step only.

        Args:
            card: of an optimizer of this kind.

        Raises:
            TypeError: it is no ``Card``.
            ValueError: it is that of another optimizer, or certified nothing; a step was taken, or the plan is
                "certified".
        """
        first = cards.step_size(card, self._plain(), based=self._based)
        if self._memory() is not None or self._setting().config.certified:
            raise ValueError(
                'start_from must come before the first step, of an optimizer with plan="practical"'
            )
        memory = self._followed_memory(self._buffers.live())
        now = memory.read()
        memory.write(now._replace(state=controller.started_from(now.state, first)))

    # ---------------------------------------------------------------- what a user reads

    def status(self) -> Status:
        """Where the optimizer stands; waits for the device."""
        self._catch_up()
        return report.status(self._memory(), self._setting().config)

    def history(self) -> list[ProbeRecord]:
        """Every finished probe."""
        memory = self._memory()
        return [] if memory is None else list(memory.history)

    def card(self) -> Card:
        """What the search has found: certified and rejected learning rates, noise, distance; waits for the device.

        Its ``arguments()`` are those of the plain optimizer. It comes from what a checkpoint holds, after loading too.
        """
        self._catch_up()
        return cards.make(self._plain(), self.param_groups, self._memory(), self._setting().scope)

    @torch.no_grad()
    def eval(self) -> None:
        """Put the point to deploy into the parameters; a no-op where it is already there.

        Before the main run that is the anchor, the best point known; in the main run, its average.
        """
        self._catch_up()
        memory = self._compared_memory()
        if memory is not None and not memory.deployed:
            memory.deployed = transition.deployed(self._setting().config, memory.controller.state)
            self._swap(memory.deployed)

    @torch.no_grad()
    def train(self) -> None:
        """Put the training point back into the parameters; a no-op where it is already there."""
        memory = self._compared_memory()
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

    def _take(self, work: Work, loss: Tensor | float | None) -> None:
        """One gradient, and the end of a run where it was its last one."""
        take_gradient(work, loss)
        if work.memory.due <= 0:
            transition.finish(work)

    def _move_early(self, work: Work, param: Tensor, decision: Decision, finite: Flag) -> Any:
        """Move one parameter in the backward pass, by a decision that was made before, if its gradient is finite."""
        return early.move(work, decision, finite)

    def _take_early(
        self,
        work: Work,
        tensors: list[Early],
        decision: Decision,
        loss: Tensor | float | None,
        everyone: Callable[[], list[Bundle]],
    ) -> None:
        """One gradient that has moved the parameters, and the end of a run where it was its last one."""
        early.take_gradient(work, tensors, decision, loss)
        if work.memory.due <= 0:
            transition.finish(work._replace(bundles=everyone()))

    def _plain(self) -> list[Plain]:
        """What the groups would be without a search."""
        raise NotImplementedError

    def _load_more(self, loaded: dict[str, Any]) -> None:
        """Load what torch does not know of."""

    def _memory(self) -> Memory | None:
        return memories.held(self.param_groups)

    def _compared_memory(self) -> Memory | None:
        """What is remembered, once the parameters were looked at that it was loaded for."""
        memory = self._memory()
        if memory is not None and memory.checksum:
            advice.on_another_point(type(self).__name__, memory, self._bundles(memory, gradients=False))
        return memory

    def _followed_memory(self, buffers: list[Tensor]) -> Memory:
        """What is remembered, in the order of today's groups; made at the first step."""
        memory, setting = self._memory(), self._setting()
        if memory is None:
            scopes = self._scopes([]).number
            memory = memories.fresh(setting.config, self.param_groups, scopes, buffers, based=self._based)
            self._roster = Roster()
        if self._roster.follow(self.param_groups, memory, setting.scope):
            forget(self.state, self.param_groups)
        return memory

    def _setting(self) -> Setting:
        group = self.param_groups[0]
        return memories.setting(tuple(group["plan"].items()), group["total_steps"], self._based)

    def _scopes(self, rho: list[float]) -> Scopes:
        return Scopes(self._setting().scope, [len(group["params"]) for group in self.param_groups], rho)

    def _work(self, memory: Memory, buffers: list[Tensor], poison: Any = None) -> Work:
        """What a step works on, where the parameters are that take part."""
        packed = self._bundles(memory)
        devices = {bundle.params[0].device for bundle in packed}
        work = self._work_on(memory, buffers, devices, self._packing.coordinates())
        return work._replace(bundles=packed, poison=poison, tables=self._packing.tables)

    def _work_on(
        self, memory: Memory, buffers: list[Tensor], devices: Collection[torch.device], coordinates: int
    ) -> Work:
        """The same, of which the bundles are yet to come."""
        setting = self._setting()
        memory.settle(self.param_groups, devices, buffers)
        return Work(
            config=setting.config,
            groups=self.param_groups,
            memory=memory,
            scopes=self._scopes(memory.rho(self.param_groups)),
            bundles=[],
            buffers=buffers,
            size=coordinates if setting.by_coordinate else 0,
            tables={},
        )

    def _bundles(self, memory: Memory, *, gradients: bool = True) -> list[Bundle]:
        setting, groups = self._setting(), self.param_groups
        return self._packing.bundles(setting, groups, self.state, memory, gradients=gradients)

    def _swap(self, slot: str) -> None:
        """Exchange the parameters with state tensors; nothing where the name is ""."""
        memory = self._memory()
        assert memory is not None
        if slot:
            transition.swap(self._bundles(memory, gradients=False), memory.still, slot)

    @torch.no_grad()
    def _catch_up(self) -> None:
        """See whether the run has ended; replays of a CUDA graph are no calls of ``step()``."""
        memory = self._memory()
        if not self.param_groups[0]["capturable"] or memory is None or memory.deployed:
            return
        if memory.phase != Phase.DONE:
            transition.finish(self._work(memory, self._buffers.live()))
