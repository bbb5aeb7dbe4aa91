"""Groups and parameters that come and go between steps."""

from typing import Any

from torch import Tensor

from pfopt.torch.norms import origins
from pfopt.torch.slots import POINTS
from pfopt.torch.state import Memory

Groups = list[dict[str, Any]]


class Roster:
    """The parameters of each group at the last step."""

    def __init__(self) -> None:
        self._known: list[list[Tensor]] | None = None

    def note(self, groups: Groups) -> None:
        """These are what is remembered."""
        self._known = [list(group["params"]) for group in groups]

    def follow(self, groups: Groups, memory: Memory, scope: str) -> bool:
        """Bring what is measured of each into the order of today's groups; whether there was anything to do."""
        now, known = [group["params"] for group in groups], self._known
        if known is not None and list(map(len, now)) == list(map(len, known)):
            pairs = zip(now, known, strict=True)
            if all(one is other for pair in pairs for one, other in zip(*pair, strict=True)):
                return False
        if known is not None:
            memory.rearrange(origins(scope, known, now), origins("group", known, now))
        self.note(groups)
        for group in groups:
            group["search"] = memory
        return known is not None


def forget(state: dict[Tensor, Any], groups: Groups) -> None:
    """Drop the state of parameters that were removed, which torch cannot save."""
    params = {id(param) for group in groups for param in group["params"]}
    for param in [key for key in state if isinstance(key, Tensor) and id(key) not in params]:
        del state[param]


def release_frozen(state: dict[Tensor, Any], groups: Groups) -> None:
    """Let go of parameters that were frozen since: they stay where they are, and begin there when they are thawed."""
    for group in groups:
        for param in group["params"]:
            if not param.requires_grad and param.grad is None and "anchor" in state.get(param, ()):
                for name in POINTS:
                    state[param].pop(name, None)
