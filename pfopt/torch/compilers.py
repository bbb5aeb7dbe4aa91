"""What ``fused=True`` compiles, and with which compiler: Triton's kernels on a GPU, elsewhere ``torch.compile``.

Where a compiler fails, it has written nothing: one warning, and from then on moves are eager.
"""

import warnings
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor

from pfopt.status import sentence
from pfopt.torch.bundles import Bundle
from pfopt.torch.norms import Scopes

TRITON = ("cuda",)  # types of devices; without one, Triton's interpreter takes CPUs
FAILURES = ("torch._dynamo", "torch._inductor", "pfopt.torch.launch")  # modules of what compilers raise

T = TypeVar("T")


def on(device: torch.device) -> str:
    """The name of the compiler for a device."""
    return "Triton" if device.type in TRITON else "torch.compile"


def way(groups: Sequence[dict[str, Any]], bundle: Bundle) -> Literal["eager", "Triton", "torch.compile"]:
    """What moves a bundle in the main run: the only place that chooses."""
    if not groups[0]["fused"]:
        return "eager"
    if on(bundle.params[0].device) == "Triton":
        return "Triton" if bundle.is_in_one_order else "eager"
    return "torch.compile" if bundle.is_large else "eager"


def check(device: torch.device) -> None:
    """Compile something small; raises where that does not work."""
    if on(device) == "Triton":
        from pfopt.torch import launch

        launch.check(device)
    else:
        torch.compile(torch.neg)(torch.ones(2, device=device))


def attempt(groups: Sequence[dict[str, Any]], device: torch.device, action: Callable[[], T]) -> T | None:
    """What a compiled function returns; None where its compiler fails, which turns ``fused`` off."""
    try:
        return action()
    except Exception as error:
        if not (type(error).__module__.startswith(FAILURES) or isinstance(error, ImportError)):
            raise  # not the compiler's
        warnings.warn(
            f"fused=True: {on(device)} failed, so that moves are eager from now on: {sentence(error)}",
            stacklevel=12,
        )
        for group in groups:
            group["fused"] = False
        return None


def launched(
    groups: Sequence[dict[str, Any]],
    bundles: Sequence[Bundle],
    scopes: Scopes,
    tables: dict[Any, Any],
    kernel: Callable[[Any, Any, Bundle], Tensor],
) -> dict[int, Tensor]:
    """Launch a Triton kernel on the bundles that it can work on.

    Args:
        groups: all parameter groups.
        bundles: of all parameters.
        scopes: likewise.
        tables: those of earlier steps.
        kernel: from the module ``launch``, a table and the first of its bundles to sums of shape=(columns, tensors).

    Returns:
        The sums of each bundle, by its place.
    """
    batches: dict[Any, list[int]] = {}
    for place, bundle in enumerate(bundles):
        if way(groups, bundle) == "Triton":
            dtype = bundle.params[0].dtype
            direction = bundle.directions[0].dtype if bundle.directions else dtype
            batches.setdefault((bundle.group, bundle.kind, dtype, direction), []).append(place)
    found: dict[int, Tensor] = {}
    for key, places in batches.items():
        members = [bundles[place] for place in places]
        device = members[0].params[0].device

        def action(key: Any = key, members: list[Bundle] = members, device: Any = device) -> Tensor | None:
            from pfopt.torch import launch

            check(device)
            steps = [step for bundle in members for step in scopes.step_places(bundle)]
            # of so many tensors: moves leave out what stands still, and norms do not
            table = launch.table(tables, (*key, len(steps)), members, steps)
            return None if table is None else kernel(launch, table, members[0])

        sums = attempt(groups, device, action) if groups[0]["fused"] else None
        if sums is not None:
            found.update(zip(places, sums.split([len(each.params) for each in members], 1), strict=True))
    return found
