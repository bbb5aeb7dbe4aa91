"""Several optimizers, each of some of the parameters, that step as one: Muon for matrices, AdamW for the rest, say."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from torch.optim import Optimizer


class Joint(Optimizer):
    """The optimizers as one: its groups are theirs, in their order, and its state is the one that all of them write.

    Args:
        bases: optimizers that share no parameter, each with a learning rate.

    Raises:
        TypeError: a group is added, of which nobody knows whose it is.
        ValueError: two of them share a parameter.
    """

    def __init__(self, bases: Sequence[Optimizer]) -> None:
        self.bases = list(bases)
        owners: dict[Any, int] = {}
        for place, base in enumerate(self.bases):
            for param in (param for group in base.param_groups for param in group["params"]):
                if owners.setdefault(param, place) != place:
                    one, other = (type(self.bases[each]).__name__ for each in (owners[param], place))
                    raise ValueError(
                        f"bases must not share parameters, got one of shape {tuple(param.shape)} in bases "
                        f"{owners[param]} ({one}) and {place} ({other})"
                    )
        self._has_begun = False
        defaults = {name: value for base in self.bases for name, value in base.defaults.items()}
        super().__init__([{"params": list(owners)}], defaults)
        self._has_begun = True
        self._take_over()

    def _take_over(self) -> None:
        """Hold the groups of all, and one state for all."""
        self.state = defaultdict(dict, {k: v for base in self.bases for k, v in base.state.items()})
        self.param_groups[:] = [group for base in self.bases for group in base.param_groups]
        for base in self.bases:
            base.state = self.state

    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Each of them steps by those of this optimizer's groups, as they are now, that hold its parameters."""
        loss = None if closure is None else closure()
        kept = [list(base.param_groups) for base in self.bases]
        owners = {
            param: place for place, groups in enumerate(kept) for group in groups for param in group["params"]
        }
        now: list[list[dict[str, Any]]] = [[] for _ in self.bases]
        for group in self.param_groups:
            if group["params"]:
                now[owners[group["params"][0]]].append(group)
        for base, before, groups in zip(self.bases, kept, now, strict=True):
            base.param_groups[:] = groups
            try:
                base.step()
            finally:
                base.param_groups[:] = before
        return loss

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Refused, once there are bases."""
        if self._has_begun:
            raise TypeError("a group cannot be added around several bases: nobody knows whose it is to be")
        super().add_param_group(param_group)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load what ``state_dict`` has saved; each of them its own part."""
        first = 0
        for base in self.bases:
            groups = state_dict["param_groups"][first : first + len(base.param_groups)]
            keys = {key for group in groups for key in group["params"]}
            state = {key: value for key, value in state_dict["state"].items() if key in keys}
            base.state = defaultdict(dict)
            base.load_state_dict({"state": state, "param_groups": groups})
            first += len(groups)
        self._take_over()

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "bases": self.bases, "_has_begun": True}
