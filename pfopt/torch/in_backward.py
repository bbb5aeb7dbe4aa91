"""Stepping inside the backward pass: each tensor moves as soon as it has its gradient, which is then let go.

``torch.Tensor.register_post_accumulate_grad_hook`` calls for every parameter in turn, so that one gradient is held at a
time. A move cannot wait for the norm of the whole gradient: ``core.step.foresee`` decides on it from what was known at
the step before. ``step()`` adds up what the moves have measured, and closes the gradient by the same ``decide`` and
``record`` as ever; what it finds to have been too long goes back to the anchor there.
"""

import itertools
from collections.abc import Sequence
from threading import Lock
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pfopt.core import step as core_step
from pfopt.core.arrays import negated, where
from pfopt.core.main_run import Decision
from pfopt.core.records import Phase
from pfopt.torch import advice, report, shards, slots, step, written
from pfopt.torch.bundles import Bundle, Layout, Member, coordinates
from pfopt.torch.early import Early
from pfopt.torch.roster import release_frozen
from pfopt.torch.step import Work


class InBackward:
    """The hooks of an optimizer that steps in the backward pass; ``remove()`` takes them away.

    In a ``with`` statement they are removed at its end.
    """

    def __init__(self, optimizer: Any) -> None:
        self._optimizer, self._lock = optimizer, Lock()  # several devices have a thread each
        self._handles: dict[Tensor, Any] = {}
        self._layouts: dict[Tensor, tuple[list[str], Layout]] = {}
        self._members: dict[Tensor, Member] = {}
        self._early: dict[int, Early] = {}  # by place
        self._work: Work | None = None  # between the first gradient of a backward pass and ``step()``
        self._decision: Decision | None = None
        self._watch()

    def remove(self) -> None:
        """Step in ``step()`` again.

        Raises:
            RuntimeError: there was a backward pass since the last ``step()``.
        """
        self.require_closed("remove()")
        for handle in self._handles.values():
            handle.remove()
        self._optimizer._in_backward = None

    def __enter__(self) -> "InBackward":
        return self

    def __exit__(self, *error: object) -> None:
        if error[0] is not None:
            self.forget()
        self.remove()

    def require_closed(self, name: str) -> None:
        """Nothing has moved since the last ``step()``."""
        if self._work is not None:
            raise RuntimeError(
                f"{name} must come after step(): the backward pass has moved parameters already"
            )

    def forget(self) -> None:
        """What has moved since the last ``step()`` is counted, or counts for nothing since a state is loaded."""
        self._work, self._early = None, {}

    # ---------------------------------------------------------------- in the backward pass

    def _watch(self) -> None:
        for group in self._optimizer.param_groups:
            for param in group["params"]:
                if param.requires_grad and param not in self._handles:
                    self._handles[param] = param.register_post_accumulate_grad_hook(self._take)

    @torch.no_grad()
    def _take(self, param: Tensor) -> None:
        """Move a parameter, and let go of its gradient."""
        with self._lock:
            work = self._work or self._begin()
            member = self._members.get(param)
            if member is None:  # it was removed from the groups
                return
            if member.place in self._early:
                raise RuntimeError(
                    "step_in_backward needs a step() after every backward pass, got a second gradient of a parameter "
                    f"of shape {tuple(param.shape)}: gradients cannot be accumulated where each moves its parameter"
                )
            if work.memory.phase != Phase.DONE:
                self._early[member.place] = self._move(member)
            param.grad = None

    @np.errstate(all="ignore")
    def _begin(self) -> Work:
        """Before the first gradient of a backward pass: what is remembered, and the decision."""
        own = self._optimizer
        memory = own._compared_memory()
        if memory is not None and memory.deployed:
            raise RuntimeError(
                "the parameters hold the point to deploy: call train() before the forward pass"
            )
        release_frozen(own.state, own.param_groups)
        buffers = own._buffers.live()
        memory = own._followed_memory(buffers)
        places = itertools.count()
        self._members = {
            param: Member(index, next(places), param)
            for index, group in enumerate(own.param_groups)
            for param in group["params"]
        }
        devices = {param.device for param in self._members if param.requires_grad or param.grad is not None}
        size = coordinates(member.param for member in self._known())
        self._work = work = own._work_on(memory, buffers, devices, size)
        self._decision = core_step.foresee(work.config, *memory.controller[:2])
        return work

    def _known(self) -> list[Member]:
        """The parameters that take part."""
        held = self._optimizer.state
        return [member for param, member in self._members.items() if "anchor" in held.get(param, ())]

    def _bundle(self, member: Member) -> Bundle:
        """A parameter alone, with its gradient; what is remembered of it is made at its first one."""
        own = self._optimizer
        momentum = any(group.get("momentum") for group in own.param_groups)
        names = slots.names(own._setting(), momentum=momentum)
        kept = self._layouts.get(member.param)
        if kept is None or kept[0] != names or not kept[1].is_current([member], own.state):
            fill = own.state[member.param]
            layout = Layout(
                [member],
                lambda param: slots.fill(fill, param, names),
                together=False,
                large_apart=False,
            )
            self._layouts[member.param] = kept = names, layout
        return kept[1].bundles()[0]

    @np.errstate(all="ignore")
    def _move(self, member: Member) -> Early:
        assert self._work is not None
        bundle, own, memory = self._bundle(member), self._optimizer, self._work.memory
        work, (state, run, *_) = self._work._replace(bundles=[bundle]), memory.controller
        largest = step.largest_entry(bundle.gradients) if bundle.gradients and not memory.unit else None
        step.scale_gradients(bundle, memory.unit)
        if memory.phase == Phase.SEARCH and written.adopted([bundle], run):
            own._advice.on_write(type(own).__name__)
        if state.has_initial_step is not True:
            step.set_anchor(work, negated(state.has_initial_step))
        norms_sq = [kind(bundle) for kind in step.norms_sq_of(work)]
        squares = [norm_sq <= torch.finfo(bundle.kind[1]).max for norm_sq in norms_sq]  # not of NaN
        finite = squares[0] & squares[-1]
        if not bundle.gradients:
            finite = True
        else:
            finite = finite.reshape(()) if isinstance(finite, Tensor) else bool(finite)
        told = own._move_early(work, member.param, self._decision, finite)
        bundle.gradients = bundle.directions = []
        return Early(bundle, [where(finite, each, each + torch.inf) for each in norms_sq], largest, told)

    # ---------------------------------------------------------------- in step()

    def close(self, loss: Tensor | float | None) -> None:
        """Count the gradient that the backward pass has moved along; nothing where there was none.

        Raises:
            RuntimeError: a ``GradScaler`` calls, of which the scale was in the gradients.
        """
        own = self._optimizer
        if getattr(own, "grad_scale", None) is not None or getattr(own, "found_inf", None) is not None:
            raise RuntimeError(
                "step_in_backward cannot be used with a GradScaler, which divides gradients by its scale after the "
                "backward pass only; bfloat16 needs none"
            )
        for param in [param for group in own.param_groups for param in group["params"]]:
            if param.grad is not None:  # it was set by hand, or the parameter is new
                self._take(param)
        self._watch()
        if self._work is None:
            return
        memory = self._work.memory
        try:
            if memory.phase == Phase.DONE:
                memory.idle += 1
                advice.on_idle_step(type(own).__name__, memory, self._work.config.total_steps)
            elif self._early:  # otherwise only what was removed from the groups had a gradient
                self._count(self._work, loss)
        finally:
            self.forget()

    def _count(self, work: Work, loss: Tensor | float | None) -> None:
        own, memory, known = self._optimizer, work.memory, self._known()
        own._advice.on_rates(type(own).__name__, own.param_groups, memory, decays=work.config.decays)
        if memory.phase == Phase.SEARCH:  # a probe's distance is everybody's
            rest = [member for member in known if member.place not in self._early]
            self._early.update({member.place: self._move(member) for member in rest})
        tensors = [self._early[place] for place in sorted(self._early)]
        moving = {each.bundle.places[0] for each in tensors if own.param_groups[each.bundle.group]["lr"]}
        stand = [each.place for each in known if each.place not in moving]
        memory.still = stand if memory.phase == Phase.MAIN else []
        work = work._replace(bundles=[each.bundle for each in tensors])
        counted = _in_unit(work, tensors)
        own._take_early(work, counted, self._decision, loss, lambda: list(map(self._bundle, known)))
        written.note(work.bundles, searches=memory.phase == Phase.SEARCH)
        report.show_rates(own.param_groups, memory)


def require(groups: Sequence[dict[str, Any]], certified: bool) -> None:
    """Raise a ``ValueError`` where an optimizer cannot step in the backward pass."""
    if certified:
        raise ValueError(
            'step_in_backward needs plan="practical": Algorithm 1 moves by gradients that it has measured'
        )
    for name in ("fused", "capturable"):
        if groups[0][name]:
            raise ValueError(f"step_in_backward moves tensors one by one, eagerly: {name} must not be True")
    split = any(shards.split_of(param) for group in groups for param in group["params"])
    if split or shards.are_several():
        raise ValueError(
            "step_in_backward needs one process: others reduce or split the gradients after the hook of a parameter"
        )


def _in_unit(work: Work, tensors: list[Early]) -> list[Early]:
    """The gradients as they count: the first one not, where it shows that they are to be multiplied by a unit."""
    measured = [each for each in tensors if each.largest is not None]
    if not measured:
        return tensors
    bundles, largest = zip(*((each.bundle, each.largest) for each in measured), strict=True)
    if work._replace(bundles=list(bundles)).fix_unit(list(largest)) in (0.0, 1.0):
        return tensors
    return [each._replace(norms_sq=[norm + torch.nan for norm in each.norms_sq]) for each in tensors]
