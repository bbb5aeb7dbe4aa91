"""What a checkpoint needs beyond what torch saves and loads."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from pfopt.torch import ops
from pfopt.torch.bundles import Bundle


def keys(saved: dict[str, Any]) -> list[Any]:
    """What stands for each parameter in a state: its place, or its name."""
    return [key for group in saved["param_groups"] for key in group["params"]]


def checksum(bundles: list[Bundle]) -> str:
    """The sum of the parameters' bits by dtype, which no order of summation changes; "" where they are split."""
    if any(bundle.split is not None for bundle in bundles):
        return ""  # every process would have to take part
    found: dict[str, Tensor] = {}
    params = {param.data_ptr(): param for bundle in bundles for param in bundle.params}
    for param in params.values():
        bits, name = ops.checksum(param), str(param.dtype).removeprefix("torch.")
        found[name] = found[name] + bits.to(found[name].device) if name in found else bits
    return " ".join(f"{name}:{int(found[name])}" for name in sorted(found))


def same_kind(one: str, other: str) -> bool:
    """Whether two checksums are of parameters of the same dtypes, so that they can be compared."""
    dtypes = [[part.partition(":")[0] for part in each.split()] for each in (one, other)]
    return dtypes[0] == dtypes[1]


@contextmanager
def precision_kept(optimizer: Optimizer) -> Iterator[list[dict[str, Any]]]:
    """Undo torch's cast of a half-precision parameter's float32 state inside ``load_state_dict``.

    Yields:
        The state that is loaded, as its last entry, once it is.
    """
    loaded: list[dict[str, Any]] = []
    handle = optimizer.register_load_state_dict_pre_hook(lambda _, state_dict: loaded.append(state_dict))
    try:
        yield loaded
    finally:
        handle.remove()
    params = [param for group in optimizer.param_groups for param in group["params"]]
    places = keys(loaded[-1])
    for param, place in zip(params, places, strict=True):
        if param.dtype in ops.HALF:
            for name, value in loaded[-1]["state"].get(place, {}).items():
                if isinstance(value, Tensor) and value.dtype not in ops.HALF:
                    optimizer.state[param][name] = value.detach().clone().to(param.device)
