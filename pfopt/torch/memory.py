"""What the optimizer remembers, in the form that torch saves: numbers, lists and tensors in dictionaries.

``param_groups[0]["search"]`` holds the controller:

    state               pfopt.search.State, flattened to Python numbers and lists
    run                 pfopt.search.Run, tensors on the parameters' device, written in place
    initial_step        shape=(), eta_eps; 0 until the first finite gradient
    start_sq            shape=(1 + scopes,), least squared displacement that counts in the long run
    step_size           shape=(), the last one taken
    calls, due          calls of step() in this run, and at which of them its end is looked for
    ratios              rho of every group, see scopes.py, since the run began; empty where every lr was 0
    deployed            the slot that eval() has exchanged with the parameters, or ""
    history             every ProbeRecord as a list
    buffers             the tensors that are put back at restarts
    idle                steps after the returned point was delivered
    estimates           lipschitz, distance and explosions of the last finished run
    unit, reach_sq      where a base makes the directions: see pairing.py

``state[p]`` holds the tensors of one parameter: its anchor, the average, and what the plan needs beside them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from pfopt.search import plan as plans
from pfopt.search import tracking
from pfopt.search.state import Bracket, Config, Run, State, on_host
from pfopt.torch import kernels, scopes


def device_of(groups: list[dict[str, Any]]) -> torch.device:
    """Where the controller is: with the first parameter."""
    return next(param.device for group in groups for param in group["params"])


def fresh(config: Config, groups: list[dict[str, Any]], buffers: list[Tensor]) -> dict[str, Any]:
    """The controller's dictionary before the first gradient; float64 wherever the device knows it."""
    device, many = device_of(groups), scopes.count(groups)
    zero = torch.zeros((), dtype=torch.float32 if device.type == "mps" else torch.float64, device=device)
    search = {
        "initial_step": zero,
        "start_sq": zero.new_zeros(1 + many),
        "step_size": zero.clone(),
        "ratios": [],
        "deployed": "",
        "history": [],
        "buffers": [buffer.detach().clone() for buffer in buffers],
        "idle": 0,
        "estimates": [0.0, 0.0, 0],
    }
    store_state(search, plans.init(config, many))
    begin_run(search, groups)
    return search


def begin_run(search: dict[str, Any], groups: list[dict[str, Any]]) -> None:
    """A new run: nothing measured, nothing taken."""
    like = search["initial_step"]
    run = tracking.begin(scopes.count(groups), like.dtype, torch, device=like.device)
    search["run"] = {name: value.clone() for name, value in run._asdict().items()}
    search["calls"], search["due"] = 0, search["state"]["run_length"]
    search["ratios"] = scopes.ratios(groups)


def settle(search: dict[str, Any], groups: list[dict[str, Any]], buffers: list[Tensor]) -> None:
    """Bring the tensors to the parameters' devices, and make room for groups that were added."""
    device = device_of(groups)
    if search["initial_step"].device != device:
        for name in ("initial_step", "start_sq", "step_size"):
            search[name] = search[name].to(device)
        search["run"] = {name: value.to(device) for name, value in search["run"].items()}
    search["buffers"] = [a.to(b.device) for a, b in zip(search["buffers"], buffers, strict=True)]
    if len(search["ratios"]) < len(groups):
        search["ratios"] += scopes.ratios(groups)[len(search["ratios"]) :]
    missing = 1 + scopes.count(groups) - len(search["start_sq"])
    if missing:
        start_sq, run = search["start_sq"], search["run"]
        search["start_sq"] = torch.cat([start_sq, start_sq[:1].expand(missing)])
        for name in ("grad_sq", "recent_sq", "distance_sq"):
            run[name] = torch.cat([run[name], run[name].new_zeros(missing)])
        search["state"]["bracket"]["lo_distance_sq"] += [0.0] * missing


def rho(search: dict[str, Any], groups: list[dict[str, Any]]) -> list[float]:
    """The ratio of every group in this run; 1 while it is unknown."""
    return search["ratios"] + [1.0] * (len(groups) - len(search["ratios"]))


def store_state(search: dict[str, Any], state: State) -> None:
    """Write the controller's state as numbers and lists."""
    plain = {name: _plain(value) for name, value in state._asdict().items() if name != "bracket"}
    plain["bracket"] = {name: _plain(value) for name, value in state.bracket._asdict().items()}
    search["state"] = plain


def load_state(search: dict[str, Any]) -> State:
    """The controller's state."""
    fields = dict(search["state"])
    bracket = dict(fields.pop("bracket"))
    bracket["lo_distance_sq"] = np.asarray(bracket["lo_distance_sq"])
    return State(bracket=Bracket(**bracket), **fields)


def store_run(search: dict[str, Any], run: Run) -> None:
    """Write what the run has measured; in place, so that a CUDA graph finds it where it left it."""
    kernels.copy(list(run), [search["run"][name] for name in run._fields])


def read_run(search: dict[str, Any]) -> tuple[Run, float]:
    """What the run has measured and the initial step, on the host: one transfer, the only one a run needs."""
    run, like = Run(**search["run"]), search["initial_step"]
    flat = torch.cat([field.reshape(-1).to(like) for field in (*run, like)]).tolist()
    fields, at = [], 0
    for field in run:
        values = flat[at : at + field.numel()]
        at += field.numel()
        number = values[0] if field.is_floating_point() else int(values[0])
        fields.append(np.asarray(values) if field.ndim else number)
    return Run(*fields), flat[-1]


def fill_param_state(
    state: dict[str, Tensor], param: Tensor, config: Config, *, momentum: bool, coordinates: bool
) -> dict[str, Tensor]:
    """Make the tensors of one parameter that are not there yet; float32 where it has half precision."""
    names = ["anchor", "average"] if plans.averages(config) else ["anchor"]
    if config.plan == "certified":
        names += ["lo", "hi", "grad_sum"] if config.schedule == "linear" else ["lo", "hi"]
    if momentum:
        names.append("momentum_buffer")
    if coordinates:
        names.append("recent_sq")
    if param.dtype in kernels.HALF:
        names.append("iterate")
    for name in names:
        if name not in state:
            make = torch.zeros_like if name in ("grad_sum", "momentum_buffer", "recent_sq") else torch.clone
            wide = param.detach().float() if param.dtype in kernels.HALF else param.detach()
            state[name] = make(wide, memory_format=torch.preserve_format)
    return state


@contextmanager
def precision_kept(optimizer: Optimizer) -> Iterator[None]:
    """Undo torch's cast of a half-precision parameter's float32 state inside ``load_state_dict``."""
    loaded: list[dict[str, Any]] = []
    handle = optimizer.register_load_state_dict_pre_hook(lambda _, state_dict: loaded.append(state_dict))
    try:
        yield
    finally:
        handle.remove()
    params = [param for group in optimizer.param_groups for param in group["params"]]
    places = [place for group in loaded[-1]["param_groups"] for place in group["params"]]
    for param, place in zip(params, places, strict=True):
        if param.dtype in kernels.HALF:
            for name, value in loaded[-1]["state"].get(place, {}).items():
                if isinstance(value, Tensor) and value.dtype not in kernels.HALF:
                    optimizer.state[param][name] = value.detach().clone().to(param.device)


def _plain(value: Any) -> Any:
    value = on_host(value)
    return value.tolist() if isinstance(value, np.ndarray) else value
