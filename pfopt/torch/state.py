"""What the optimizer remembers between steps, and how torch saves it.

``state[p]`` holds the tensors of one parameter, see ``slots``.
``search`` of every parameter group, so that any of them may go, is one ``Memory``, with the controller in it. In a
``state_dict`` it is a dictionary of numbers, lists and tensors, the same wherever the controller computes.

Where all parameters are on CPUs, that is on numbers of the host. On an accelerator, or where ``step()`` may be
captured, what changes from step to step is tensors on the parameters' device, written in place, and nothing waits.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from pfopt import options
from pfopt.core import controller, preconditioned
from pfopt.core import run as runs
from pfopt.core.arrays import Real, Record, Vector, count_scopes, on_host
from pfopt.core.config import Config
from pfopt.core.preconditioned import Metric
from pfopt.core.records import Bracket, Phase, Run, State
from pfopt.options import Certified, Plan, Practical
from pfopt.status import ProbeRecord
from pfopt.torch import norms, ops

Groups = list[dict[str, Any]]
PLANS: dict[str, type[Plan]] = {"practical": Practical, "certified": Certified}


class Setting(NamedTuple):
    """What the caller chose."""

    config: Config
    scope: str  # of ``norms.Scopes``
    by_coordinate: bool  # whether every coordinate has a step size of its own; a base has scaled them already


def plan_to_dict(plan: Plan) -> dict[str, Any]:
    """A plan as the parameter groups hold it, where torch saves it."""
    return {"name": type(plan).__name__.lower(), **{k: _plain(v) for k, v in asdict(plan).items()}}


def plan_from_dict(saved: dict[str, Any]) -> Plan:
    """The inverse of ``plan_to_dict``."""
    return PLANS[saved["name"]](**{name: value for name, value in saved.items() if name != "name"})


@cache
def setting(saved_plan: tuple[tuple[str, Any], ...], total_steps: int | None, based: bool) -> Setting:
    """From the items of what ``plan_to_dict`` made, and what else there is to choose."""
    plan = plan_from_dict(dict(saved_plan))
    scope = plan.scope if isinstance(plan, Practical) else "global"
    config = options.configure(plan, total_steps, based=based)
    return Setting(config, scope, by_coordinate=scope == "auto" and not based)


# ---------------------------------------------------------------- what is remembered of all parameters


class Controller(NamedTuple):
    """The records of the algorithm."""

    state: State
    run: Run
    metric: Metric | None  # around a base
    step_size: Real  # the last one taken


@dataclass(repr=False)
class Memory:
    """What is remembered beside the tensors of the parameters."""

    controller: Controller
    buffers: list[Tensor]  # what is put back at restarts
    device: torch.device | None = None  # where the controller computes; None: on numbers of the host
    due: int = 0  # calls of step() until the end of the run is looked for
    ratios: list[float] = field(default_factory=list)  # rho of every group since the run began, see norms.py
    history: list[ProbeRecord] = field(default_factory=list)
    deployed: str = ""  # the name of the state tensors that eval() has exchanged with the parameters
    still: list[int] = field(
        default_factory=list
    )  # places of what the newest gradient of the main run did not move
    unit: float = 0.0  # by which gradients are multiplied, see ``core.scale``; 0 until the first one
    reading_rate: float = 0.0  # of a base, see based.py; 0 until the first gradient
    idle: int = 0  # steps after the returned point was delivered
    checksum: str = ""  # of the parameters, as they were saved; until it is compared

    def __repr__(self) -> str:
        return f"<{self.phase.label}>"  # in the repr of the optimizer

    @property
    def phase(self) -> Phase:
        """What the current run is for."""
        return Phase(self.controller.state.phase)

    @property
    def gradient_unit(self) -> float:
        """What the step sizes and norms that a person reads are in; a base's step sizes are its own."""
        return 1.0 if self.controller.metric is not None else self.unit or 1.0

    def set_unit(self, unit: float) -> None:
        """Fix the unit of the gradients, in which the step size is told that a search starts from."""
        self.unit = unit
        if self.gradient_unit != 1:
            state = self.controller.state
            started = state._replace(initial_step=state.initial_step / self.gradient_unit)
            self.controller = self.controller._replace(state=started)

    @property
    def like(self) -> Tensor | None:
        """Dtype and device of what is measured, shape=(); None for numbers of the host."""
        return None if self.device is None else _zero(self.device)

    def rho(self, groups: Groups) -> list[float]:
        """The ratio of every group in this run, 1 while it is unknown; 0 where a rate is 0 by now."""
        ratios = self.ratios + [1.0] * (len(groups) - len(self.ratios))
        moves = any(group["lr"] for group in groups)
        return [0.0 if moves and not own["lr"] else each for own, each in zip(groups, ratios, strict=True)]

    def settle(self, groups: Groups, devices: Collection[torch.device], buffers: Sequence[Tensor]) -> None:
        """Bring everything to a device of the parameters that take part."""
        elsewhere = sorted((device for device in devices if device.type != "cpu"), key=str)
        waits = groups[0]["capturable"] or elsewhere
        waits = waits and self.controller.metric is None  # a base steps at a number of the host
        device = next(iter(elsewhere or devices)) if waits else None
        if device != self.device:
            current, self.device = self.read(), device
            self.write(current)
        self.buffers = [kept.to(own.device) for kept, own in zip(self.buffers, buffers, strict=True)]
        self.ratios += norms.ratios(groups)[len(self.ratios) :]

    def rearrange(self, scopes: Sequence[int | None], of_groups: Sequence[int | None]) -> None:
        """Follow groups and parameters that were added or removed.

        Args:
            scopes: of each scope, its place before; None where it has measured nothing.
            of_groups: of each group, likewise.
        """

        def arranged(vector: Vector) -> Vector:
            entries = np.atleast_1d(vector)
            found = [entries[0], *(0.0 if each is None else entries[1 + each] for each in scopes)]
            return np.array(found) if scopes else vector

        self.write(_with_vectors(self.read(), arranged))
        kept = [self.ratios[place] for place in of_groups if place is not None and place < len(self.ratios)]
        self.ratios = kept if len(kept) == sum(place is not None for place in of_groups) else []

    def begin_run(self, state: State, groups: Groups) -> None:
        """A new run, which has measured nothing."""
        scopes = count_scopes(self.controller.run.distance_sq)
        run = runs.begin(scopes, np, dtype=np.float64)
        self.write(self.read()._replace(state=state, run=run))
        self.due, self.ratios = state.run_length, norms.ratios(groups)

    def end(self, state: State) -> None:
        """The state after the last run; tensors stay where they are, since a CUDA graph may yet write there."""
        now = self.controller.state
        kept = {name: value for name, value in now._asdict().items() if isinstance(value, Tensor)}
        state = state._replace(**kept, bracket=now.bracket)
        self.controller = self.controller._replace(state=state)

    def keep(self, new: Controller) -> None:
        """What a gradient has changed; tensors in place, so that a CUDA graph finds them where it left them."""
        if self.device is None:
            same = new.state is self.controller.state
            self.controller = new if same else new._replace(state=on_host(new.state))
            return
        pairs = zip(_tensors(new), _tensors(self.controller), strict=True)
        sources, targets = zip(*((one, other) for one, other in pairs if one is not other), strict=True)
        ops.copy(sources, targets)

    def read(self) -> Controller:
        """The controller on the host: one transfer, the only one that a run needs."""
        if self.device is None:
            return on_host(self.controller)
        like = _zero(self.device)
        flat = torch.cat([tensor.reshape(-1).to(like) for tensor in _tensors(self.controller)])
        numbers = iter(flat.tolist())

        def read(value: Any) -> Any:
            if not isinstance(value, Tensor):
                return value
            kind = {torch.bool: bool, torch.int32: int}.get(value.dtype, float)
            entries = [kind(next(numbers)) for _ in range(value.numel())]
            return np.asarray(entries) if len(entries) > 1 else entries[0]

        return _mapped(self.controller, read)

    def saved(self, checksum: str) -> dict[str, Any]:
        """As torch saves it, with the checksum of the parameters; waits for the device."""
        names = ("buffers", "due", "ratios", "deployed", "still", "unit", "reading_rate", "idle")
        own = {"checksum": checksum, **{name: getattr(self, name) for name in names}}
        return {**own, **_plain(self.read()), "history": [list(record) for record in self.history]}

    @classmethod
    def loaded(cls, saved: dict[str, Any]) -> "Memory":
        """What ``saved`` returned; on the host until it settles."""
        own = dict(saved)
        state, run, metric, step_size = (own.pop(name) for name in Controller._fields)
        state = _record(State, {**state, "bracket": _record(Bracket, state["bracket"])})
        metric = None if metric is None else _record(Metric, metric)
        own["controller"] = Controller(state, _record(Run, run), metric, step_size)
        return cls(**{**own, "history": [ProbeRecord(*record) for record in saved["history"]]})

    def write(self, current: Controller) -> None:
        """Write a controller that is on the host to where it computes."""
        self.controller = current if self.device is None else _placed(current, _zero(self.device))


def held(groups: Groups) -> Memory | None:
    """The memory of all groups, also where it is still as it was loaded."""
    found = [group["search"] for group in groups if group.get("search") is not None]
    if found and isinstance(found[0], dict):
        found[0] = Memory.loaded(found[0])
        for group in groups:
            group["search"] = found[0]
    return found[0] if found else None


def fresh(config: Config, groups: Groups, scopes: int, buffers: list[Tensor], *, based: bool) -> Memory:
    """The memory before the first gradient; ``scopes`` are measured beside the whole."""
    state, run = controller.init(config, scopes, np), runs.begin(scopes, np, dtype=np.float64)
    metric = preconditioned.begin(scopes, np, dtype=np.float64) if based else None
    memory = Memory(Controller(state, run, metric, 0.0), [buffer.detach().clone() for buffer in buffers])
    memory.begin_run(on_host(state), groups)
    return memory


@cache
def _zero(device: torch.device) -> Tensor:
    return torch.zeros((), dtype=ops.statistics_dtype(device), device=device)


def _mapped(record: Record, function: Callable[[Any], Any]) -> Record:
    """The record with ``function`` of each number and vector."""
    if isinstance(record, tuple):
        return type(record)(*(_mapped(value, function) for value in record))  # type: ignore[call-arg]
    return None if record is None else function(record)


def _tensors(record: Record) -> list[Tensor]:
    found: list[Tensor] = []
    _mapped(record, lambda value: found.append(value) if isinstance(value, Tensor) else None)
    return found


def _plain(value: Any) -> Any:
    """Dictionaries, lists and Python numbers in place of records, arrays and numpy's numbers."""
    if isinstance(value, tuple):
        return {name: _plain(entry) for name, entry in value._asdict().items()}  # type: ignore[attr-defined]
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    return int(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _record(kind: Callable[..., Any], saved: dict[str, Any]) -> Any:
    return kind(**{k: np.asarray(v) if isinstance(v, list) else v for k, v in saved.items()})


def _placed(current: Controller, like: Tensor) -> Controller:
    """What changes from step to step as tensors beside ``like``; the rest stays on the host."""

    def place(value: Any) -> Tensor:
        if isinstance(value, Tensor):
            return value
        dtype = {bool: torch.bool, int: torch.int32}.get(type(value), like.dtype)
        return torch.tensor(value, dtype=dtype, device=like.device)

    current = _with_vectors(current, lambda vector: place(vector).reshape(-1))
    state = current.state
    if not state.has_initial_step:
        first, known = place(state.initial_step), place(state.has_initial_step)
        state = state._replace(initial_step=first, has_initial_step=known)
    return Controller(state, *(_mapped(part, place) for part in current[1:]))


def _with_vectors(current: Controller, function: Callable[[Vector], Vector]) -> Controller:
    """The controller with ``function`` of each vector of 1 + scopes entries."""

    def changed(record: Record, *names: str) -> Record:
        return record._replace(**{name: function(getattr(record, name)) for name in names})

    state, metric = current.state, current.metric
    return current._replace(
        state=state._replace(bracket=changed(state.bracket, "lo_distance_sq")),
        run=changed(current.run, "grad_sq_sum", "mean_grad_sq", "distance_sq", "next_step_sizes"),
        metric=None if metric is None else changed(metric, "displacement_sq"),
    )
