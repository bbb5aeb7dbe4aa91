"""What the optimizer remembers, in the form that torch saves: numbers, lists and tensors in dictionaries.

``param_groups[0]["search"]`` holds the controller:

    state               pfopt.search.State, flattened to Python numbers and lists
    run                 pfopt.search.Run, tensors on the parameters' device
    initial_step        shape=(), eta_eps; 0 until the first finite gradient
    root_distance_sq    shape=(1 + scopes,), for the long run
    step_size           shape=(), the last one taken
    calls, due          gradients of this run so far, and at which of them its end is looked for
    ratios              per group, its lr over the largest lr when the run began
    deployed            the slot that eval() has exchanged with the parameters, or ""
    history             every ProbeRecord as a list
    buffers             the tensors that are put back at restarts
    idle                steps after the returned point was delivered
    estimates           lipschitz and distance of the last finished run
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from pfopt.search import plan as plans
from pfopt.search import tracking
from pfopt.search.state import Bracket, Config, Run, State, on_host

HALF = (torch.float16, torch.bfloat16)


def scalar_like(groups: list[dict[str, Any]]) -> Tensor:
    """A zero of the dtype and device that the statistics have: float64 wherever the device knows it."""
    device = groups[0]["params"][0].device
    return torch.zeros((), dtype=torch.float32 if device.type == "mps" else torch.float64, device=device)


def fresh(config: Config, scopes: int, groups: list[dict[str, Any]], buffers: list[Tensor]) -> dict[str, Any]:
    """The controller's dictionary before the first gradient."""
    like = scalar_like(groups)
    search = {
        "initial_step": like.clone(),
        "root_distance_sq": like.new_zeros(1 + scopes),
        "step_size": like.clone(),
        "deployed": "",
        "history": [],
        "buffers": [buffer.detach().clone() for buffer in buffers],
        "ratios": ratios(groups),
        "idle": 0,
        "estimates": [0.0, 0.0],
    }
    store_state(search, plans.init(config, scopes))
    begin_run(search, scopes)
    return search


def ratios(groups: list[dict[str, Any]]) -> list[float]:
    """Lr of every group over the largest; all 1 where every lr is 0, as in a warm-up's first step."""
    largest = max(float(group["lr"]) for group in groups)
    return [float(group["lr"]) / largest if largest > 0 else 1.0 for group in groups]


def begin_run(search: dict[str, Any], scopes: int) -> None:
    """A new run: nothing measured, nothing taken."""
    like = search["initial_step"]
    store_run(search, tracking.begin(scopes, like.dtype, torch, device=like.device))
    search["calls"], search["due"] = 0, search["state"]["run_length"]


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
    """Write what the run has measured."""
    search["run"] = run._asdict()


def settle(search: dict[str, Any], scopes: int, groups: list[dict[str, Any]]) -> None:
    """Bring the tensors to the parameters' device, and make room for groups that were added."""
    device = groups[0]["params"][0].device
    for name in ("initial_step", "root_distance_sq", "step_size"):
        search[name] = search[name].to(device)
    search["run"] = {name: value.to(device) for name, value in search["run"].items()}
    if len(search["ratios"]) < len(groups):
        search["ratios"] += ratios(groups)[len(search["ratios"]) :]
    missing = 1 + scopes - len(search["root_distance_sq"])
    if missing:
        for place, name in (
            (search, "root_distance_sq"),
            (search["run"], "grad_sq"),
            (search["run"], "distance_sq"),
        ):
            place[name] = torch.cat([place[name], place[name].new_zeros(missing)])
        search["state"]["bracket"]["lo_distance_sq"] += [0.0] * missing


def read_run(search: dict[str, Any]) -> tuple[Run, float]:
    """What the run has measured and the initial step, on the host: one transfer, the only one a run needs."""
    run = Run(**search["run"])
    like = search["initial_step"]
    flat = torch.cat([field.reshape(-1).to(like) for field in (*run, like)]).tolist()
    fields, at = [], 0
    for field in run:
        values = flat[at : at + field.numel()]
        at += field.numel()
        fields.append(
            np.asarray(values) if field.ndim else values[0] if field.is_floating_point() else int(values[0])
        )
    return Run(*fields), flat[-1]


def param_state(param: Tensor, config: Config, momentum: bool) -> dict[str, Tensor]:
    """The tensors kept for one parameter; float32 where the parameter has half precision."""
    wide = param.detach().float() if param.dtype in HALF else param.detach()
    names = ["anchor", "average"]
    if config.plan == "certified":
        names += ["lo", "hi"] + (["grad_sum"] if config.schedule == "linear" else [])
    if momentum:
        names.append("momentum_buffer")
    if param.dtype in HALF:
        names.append("iterate")
    zero = ("grad_sum", "momentum_buffer")
    return {
        name: (torch.zeros_like if name in zero else torch.clone)(wide, memory_format=torch.preserve_format)
        for name in names
    }


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
        if param.dtype in HALF:
            for name, value in loaded[-1]["state"].get(place, {}).items():
                if isinstance(value, Tensor) and value.dtype not in HALF:
                    optimizer.state[param][name] = value.detach().clone().to(param.device)


def check_params(params: Iterable[Tensor]) -> None:
    """Parameters are floating-point or complex, and finite."""
    for index, param in enumerate(params):
        if not (param.is_floating_point() or param.is_complex()):
            raise TypeError(f"params must be floating-point or complex tensors, got dtype {param.dtype}")
        lazy = param.is_meta or isinstance(param, torch.nn.parameter.UninitializedParameter)
        if not lazy and not torch.isfinite(param.detach()).all():
            raise ValueError(f"params must be finite, got NaN or infinity in parameter {index} of its group")


def checked_buffers(buffers: Iterable[Tensor] | None) -> list[Tensor]:
    """The caller's buffers as a list."""
    if isinstance(buffers, Tensor):
        raise TypeError("buffers must be an iterable of tensors such as model.buffers(), got a single tensor")
    found = [] if buffers is None else list(buffers)
    for buffer in found:
        if not isinstance(buffer, Tensor):
            raise TypeError(f"buffers must be an iterable of tensors such as model.buffers(), got {buffer!r}")
    return found


def checked_loss(loss: Any) -> Any:
    """A scalar loss, a number or a one-element tensor; never read here."""
    if loss is None:
        return None
    if isinstance(loss, Tensor):
        if loss.numel() != 1:
            raise ValueError(f"loss must be a scalar, got shape {tuple(loss.shape)}")
        if loss.is_complex():
            raise TypeError(f"loss must be real, got dtype {loss.dtype}")
        return loss.detach().reshape(())
    if isinstance(loss, (bool, str)) or not isinstance(loss, (int, float, np.number)):
        raise TypeError(f"loss must be a scalar tensor or a number, got {type(loss).__name__}")
    return float(loss)


def _plain(value: Any) -> Any:
    value = on_host(value)
    return value.tolist() if isinstance(value, np.ndarray) else value
