"""The caller's buffers, such as running means, which are put back whenever a run restarts from the anchor."""

import weakref
from collections.abc import Iterable
from typing import Any

from torch import Tensor
from torch.nn import Module

RULE = "buffers must be a module, or an iterable of tensors such as model.buffers()"


class Buffers:
    """A module, of which the buffers are looked up whenever they are needed, or tensors.

    Tensors are held weakly: those of a model that was cast or moved are replaced by others, and then are nobody's.
    """

    def __init__(self, given: Module | Iterable[Tensor] | None) -> None:
        if isinstance(given, Tensor):
            raise TypeError(f"{RULE}, got a single tensor")
        if not (given is None or isinstance(given, (Module, Iterable))):
            raise TypeError(f"{RULE}, got {given!r}")
        held = given if isinstance(given, Module) else [] if given is None else list(given)
        for buffer in held if isinstance(held, list) else []:
            if not isinstance(buffer, Tensor):
                raise TypeError(f"{RULE}, got {buffer!r}")
        self._held: Module | list[Any] = held if isinstance(held, Module) else [*map(weakref.ref, held)]

    def live(self) -> list[Tensor]:
        """The buffers as they are now.

        Raises:
            ValueError: some of them are gone.
        """
        if isinstance(self._held, Module):
            return list(self._held.buffers())
        found = [reference() for reference in self._held]
        if any(buffer is None for buffer in found):
            raise ValueError(
                "buffers must be those that the model has: some were replaced, as .to(device), .double() and the like "
                "do; give the module itself, buffers=model, of which they are looked up"
            )
        return found

    def __reduce__(self) -> tuple[Any, ...]:
        return Buffers, (self._held if isinstance(self._held, Module) else self.live(),)
