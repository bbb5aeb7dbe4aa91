"""The bundles of the parameters that take part, made anew only where something was exchanged."""

from typing import Any

from torch import Tensor

from pfopt.core.records import Phase
from pfopt.torch import compilers, slots
from pfopt.torch.bundles import Bundle, Layout, members
from pfopt.torch.state import Memory, Setting

State = dict[Tensor, dict[str, Any]]


class Packing:
    """A layout, and what it hangs on."""

    def __init__(self) -> None:
        self._made: tuple[Any, Layout] | None = None

    def bundles(
        self, setting: Setting, groups: list[dict[str, Any]], state: State, memory: Memory, *, gradients: bool
    ) -> list[Bundle]:
        """The bundles, with gradients or without; a parameter's state is made at its first gradient."""
        shared, taking_part = groups[0], members(groups, state, gradients=gradients)
        momentum = any(group.get("momentum") for group in groups)
        apart = bool(shared["fused"]) and memory.phase == Phase.MAIN
        apart = apart and any(compilers.on(each.param.device) != "Triton" for each in taking_part)
        key = setting, momentum, apart, shared["foreach"]
        if self._made is None or self._made[0] != key or not self._made[1].is_current(taking_part, state):
            names = slots.names(setting, momentum=momentum)
            layout = Layout(
                taking_part,
                lambda param: slots.fill(state[param], param, names),
                together=shared["foreach"] is not False,
                large_apart=apart,
            )
            self._made = key, layout
        return self._made[1].bundles(gradients)

    @property
    def tables(self) -> dict[Any, Any]:
        """Of Triton's kernels, kept for as long as the layout holds."""
        return self._made[1].tables if self._made is not None else {}

    def coordinates(self) -> int:
        """Of all parameters that were packed last, on all processes."""
        return self._made[1].coordinates if self._made is not None else 0

    def __reduce__(self) -> tuple[Any, ...]:
        return Packing, ()  # a copy packs its own parameters
