"""What a base remembers, now and at the anchor, kept where torch saves it.

Of a parameter it is ``base`` and ``base_anchor`` in the ``state[p]`` of this package's optimizer: dictionaries, the
first of which is the base's own. Of a group it is ``base``, the base's options when it was last saved, and
``base_anchor``, those that the base itself changes (a count of steps, say): a list of the value at the anchor, empty
where it had none.
"""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.optim import Optimizer

from pfopt.torch import checkpoint

CALLERS = ("params", "param_names", "lr", "initial_lr")  # keys of a group that are not the base's
PLAIN = (int, float, str, tuple, type(None))


class BaseState(NamedTuple):
    """A base, and where its state is kept."""

    base: Optimizer
    state: dict[Tensor, dict[str, Any]]  # of this package's optimizer
    groups: list[dict[str, Any]]  # likewise

    def _known(self) -> Iterator[tuple[Tensor, dict[str, Any]]]:
        for group in self.groups:
            for param in group["params"]:
                own = self.state.get(param, {})
                if "anchor" in own:
                    yield param, own

    def adopt(self) -> None:
        """Find the base's state of every parameter; that of a new one is what it has at its anchor."""
        known = self.base.state
        for group in self.groups:
            for param in group["params"]:
                own = self.state.get(param)
                if own and "anchor" in own:
                    own["base"] = known.get(param, {})
                    if "base_anchor" not in own:
                        own["base_anchor"] = copy.deepcopy(own["base"])

    def reanchor(self) -> None:
        """The anchor is where the parameters are now."""
        for param, own in self._known():
            own["base_anchor"] = copy.deepcopy(self.base.state.get(param, {}))
        for group, of_base in zip(self.groups, self.base.param_groups, strict=True):
            for name in group["base_anchor"]:
                group["base_anchor"][name] = [copy.deepcopy(of_base[name])]

    def begin_anew(self) -> None:
        """The base is as it was at the anchor."""
        for param, own in self._known():
            if own["base_anchor"]:
                self.base.state[param] = copy.deepcopy(own["base_anchor"])
            else:
                self.base.state.pop(param, None)
        for group, of_base in zip(self.groups, self.base.param_groups, strict=True):
            for name, value in group["base_anchor"].items():
                of_base.pop(name, None)
                of_base.update(zip([name], copy.deepcopy(value), strict=False))
        self.adopt()

    def step(self, rates: Sequence[float]) -> None:
        """One step of the base at these learning rates, which may be tensors there."""
        kept = [float(group["lr"]) for group in self.base.param_groups]
        try:
            _set_rates(self.base, rates)
            with self._watched():
                self.base.step()
        finally:
            _set_rates(self.base, kept)

    @property
    def splits(self) -> bool:
        """Whether parameters of a group may have rates of their own.

        Not where a step changes the options of a group, nor where groups cannot be exchanged.
        """
        exchangeable = self.base.param_groups is self.base.param_groups
        return exchangeable and not any(group["base_anchor"] for group in self.groups)

    def step_by_tensor(self, rates: Sequence[Sequence[float]]) -> None:
        """One step of the base at a learning rate of each parameter of each group; a base group for each rate."""
        if all(len(set(own)) <= 1 for own in rates):
            self.step([own[0] if len(own) else 0.0 for own in rates])
            return
        kept, groups = list(self.base.param_groups), self.base.param_groups
        parts = [_by_rate(group, own) for group, own in zip(kept, rates, strict=True)]
        groups[:] = [part for own in parts for part in own]
        try:
            self.base.step()
        finally:
            groups[:] = kept

    @contextmanager
    def alone(self, group: int, param: Tensor) -> Iterator["BaseState"]:
        """While it lasts the base has this parameter of this group alone, and steps nothing else.

        Raises:
            ValueError: its steps change the options of a group.
        """
        own, groups = self.groups[group], self.base.param_groups
        kept = list(groups)
        groups[:] = [{**kept[group], "params": [param]}]
        try:
            yield BaseState(self.base, self.state, [{**own, "params": [param]}])
        finally:
            groups[:] = kept
        self.require_splits()

    def require_splits(self) -> None:
        """Raise a ``ValueError`` where the base cannot step one parameter at a time."""
        if not self.splits:
            names = sorted({name for group in self.groups for name in group["base_anchor"]})
            raise ValueError(
                "step_in_backward needs a base that can step one parameter at a time, got "
                f"{type(self.base).__name__}, whose steps change {names} of a whole group"
            )

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Note what the base changes in its groups."""
        before = [
            {
                name: value if isinstance(value, PLAIN) else copy.deepcopy(value)
                for name, value in group.items()
                if name not in CALLERS
            }
            for group in self.base.param_groups
        ]
        yield
        for group, of_base, old in zip(self.groups, self.base.param_groups, before, strict=True):
            for name, value in of_base.items():
                if name not in CALLERS and not (name in old and _same(old[name], value)):
                    group["base_anchor"].setdefault(name, [old[name]] if name in old else [])

    def tell_options(self) -> None:
        """Let the groups hold the base's options, as they are to be saved."""
        for group, of_base in zip(self.groups, self.base.param_groups, strict=True):
            group["base"] = {name: value for name, value in of_base.items() if name != "params"}
            group["base_anchor"] = dict(group["base_anchor"])  # what was saved before stays as it is

    def load(self, loaded: dict[str, Any]) -> None:
        """Load what was saved; both states by the base itself, which knows where each tensor belongs."""
        keys = checkpoint.keys(loaded)
        params = [param for group in self.groups for param in group["params"]]
        options = [{**group["base"], "params": group["params"]} for group in loaded["param_groups"]]
        for name in ("base_anchor", "base"):
            saved = {key: loaded["state"].get(key, {}).get(name) for key in keys}
            state = {key: value for key, value in saved.items() if value}
            self.base.load_state_dict({"state": state, "param_groups": options})
            for param, key in zip(params, keys, strict=True):
                if name == "base_anchor" and "anchor" in self.state.get(param, {}):
                    at_anchor = self.base.state.get(param, {}) if key in state else {}
                    self.state[param][name] = copy.deepcopy(at_anchor)
        self.adopt()


def _by_rate(group: dict[str, Any], rates: Sequence[float]) -> list[dict[str, Any]]:
    """The group as one for each rate."""
    parts: dict[float, list[Tensor]] = {}
    for param, rate in zip(group["params"], rates, strict=True):
        parts.setdefault(rate, []).append(param)
    lr = group["lr"]
    return [
        {**group, "params": params, "lr": torch.full_like(lr, rate) if isinstance(lr, Tensor) else rate}
        for rate, params in parts.items()
    ]


def _set_rates(base: Optimizer, rates: Sequence[float]) -> None:
    for group, rate in zip(base.param_groups, rates, strict=True):
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) or isinstance(other, Tensor):
        return isinstance(one, Tensor) and isinstance(other, Tensor) and one.equal(other)
    return one is other or bool(type(one) is type(other) and one == other)
