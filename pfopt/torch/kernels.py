"""The mathematics of a step on flat lists of tensors; decides nothing and never waits for the device.

A ``Bundle`` is what one parameter group holds on one device in one dtype. Every function below is one
``torch._foreach_*`` call per bundle, or a loop over its tensors where there is no such call.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class Bundle(NamedTuple):
    """Tensors of one parameter group that share device and dtype; float32 at least, complex seen as real."""

    group: int  # index of the parameter group
    params: list[Tensor]  # what the user sees
    points: list[Tensor]  # the iterate: the parameters themselves, or float32 copies of half-precision ones
    grads: list[Tensor | None]
    states: list[dict[str, Tensor]]

    def slot(self, name: str) -> list[Tensor]:
        """The state tensors of that name."""
        return [_as_real(state[name]) for state in self.states]


def gather(groups: list[dict], states: Callable[[Tensor], dict], *, foreach: bool) -> list[Bundle]:
    """The bundles of all parameters; with ``foreach=False`` every tensor is a bundle of its own."""
    bundles: list[Bundle] = []
    for index, group in enumerate(groups):
        buckets: dict[object, Bundle] = {}
        for place, param in enumerate(group["params"]):
            key = (param.device, param.dtype) if foreach else place
            bundle = buckets.setdefault(key, Bundle(index, [], [], [], []))
            state = states(param)
            if (
                "iterate" in state
            ):  # trusted where it still rounds to the parameter, which others may have changed
                iterate = state["iterate"]
                iterate.copy_(torch.where(iterate.to(param.dtype) == param, iterate, param.float()))
            bundle.params.append(param)
            bundle.points.append(state["iterate"] if "iterate" in state else _as_real(param))
            bundle.grads.append(None if param.grad is None else _dense(param.grad))
            bundle.states.append(state)
        bundles.extend(buckets.values())
    return bundles


def regularised(bundle: Bundle, weight_decay: float, maximize: bool) -> Bundle:
    """The gradients of the objective that is minimised, as ``torch.optim.SGD`` has them; p.grad is not touched."""
    have, grads = _present(bundle.grads)
    if maximize and grads:
        grads = list(torch._foreach_neg(grads))
    if weight_decay and grads:
        grads = list(torch._foreach_add(grads, [bundle.points[i] for i in have], alpha=weight_decay))
    return bundle._replace(grads=_scatter(grads, have, len(bundle.grads)))


def norms_sq(tensors: list[Tensor], like: Tensor) -> Tensor:
    """Squared norms, shape=(len(tensors),), in the dtype and on the device of ``like``."""
    if not tensors:
        return like.new_zeros(0)
    norms = [_whole(norm) for norm in torch._foreach_norm(tensors)]
    return torch.stack(norms).to(like).square()


def grads_sq(bundle: Bundle, like: Tensor) -> Tensor:
    """‖g‖² per tensor; 0 where there is no gradient."""
    have, grads = _present(bundle.grads)
    present = norms_sq(grads, like)
    if len(have) == len(bundle.grads):
        return present
    return like.new_zeros(len(bundle.grads)).index_copy_(0, torch.tensor(have, device=like.device), present)


def displacements_sq(points: list[Tensor], anchors: list[Tensor], like: Tensor) -> Tensor:
    """‖x − x_0‖² per tensor."""
    return norms_sq(list(torch._foreach_sub(points, anchors)), like)


def momentum_direction(bundle: Bundle, go: Tensor, decay: Tensor, momentum: float, nesterov: bool) -> Bundle:
    """The bundle with v in place of g: v = decay v + (1 − m) g where ``go``, or (1 − m) g + m v for Nesterov.

    ``decay`` is m, or 0 at the first gradient of a stretch.
    """
    have, grads = _present(bundle.grads)
    velocities = [bundle.slot("momentum_buffer")[i] for i in have]
    if not grads:
        return bundle
    new = torch._foreach_mul(velocities, decay.to(velocities[0]))
    torch._foreach_add_(new, grads, alpha=1 - momentum)
    select(go, new, velocities)
    if nesterov:
        velocities = list(torch._foreach_mul(velocities, momentum))
        torch._foreach_add_(velocities, grads, alpha=1 - momentum)
    return bundle._replace(grads=_scatter(velocities, have, len(bundle.grads)))


def moved(bundle: Bundle, step_sizes: Tensor | list[Tensor]) -> list[Tensor]:
    """X − step g as new tensors (x itself where there is no g); one step size for all, or one per tensor."""
    have, grads = _present(bundle.grads)
    if not grads:
        return bundle.points
    if isinstance(step_sizes, list):
        moves = [grad * step_sizes[i].to(grad) for i, grad in zip(have, grads, strict=True)]
    else:
        moves = torch._foreach_mul(grads, step_sizes.to(grads[0]))
    new = torch._foreach_sub([bundle.points[i] for i in have], moves)
    filled = list(bundle.points)
    for i, point in zip(have, new, strict=True):
        filled[i] = point
    return filled


def accumulate(bundle: Bundle, go: Tensor) -> list[Tensor]:
    """The plain sum of the gradients, kept in the slot "grad_sum", where ``go``."""
    have, grads = _present(bundle.grads)
    sums = bundle.slot("grad_sum")
    if grads:
        select(go, torch._foreach_add([sums[i] for i in have], grads), [sums[i] for i in have])
    return sums


def copy(new: list[Tensor], old: list[Tensor]) -> None:
    """Old = new."""
    torch._foreach_copy_(old, new)


def swap(bundle: Bundle, slot: str) -> None:
    """Exchange the iterate with a slot of the state."""
    slots = bundle.slot(slot)
    held = [point.clone() for point in bundle.points]
    copy(slots, bundle.points)
    copy(held, slots)
    write_back(bundle)


def select(condition: Tensor, new: list[Tensor] | tuple[Tensor, ...], old: list[Tensor]) -> None:
    """Old = new where the 0-dim ``condition`` holds; a number that is not finite is never multiplied away."""
    for a, b in zip(new, old, strict=True):
        torch.where(condition.to(b.device), a, b, out=b)


def lerp(averages: list[Tensor], points: list[Tensor], weight: Tensor) -> None:
    """x̄ += w (x − x̄) in place."""
    difference = torch._foreach_sub(points, averages)
    torch._foreach_mul_(difference, weight.to(averages[0]))
    torch._foreach_add_(averages, difference)


def write_back(bundle: Bundle) -> None:
    """Round the float32 iterates into half-precision parameters."""
    for param, state in zip(bundle.params, bundle.states, strict=True):
        if "iterate" in state:
            param.copy_(state["iterate"])


def _present(grads: list[Tensor | None]) -> tuple[list[int], list[Tensor]]:
    """The gradients that are there, and their places."""
    have = [i for i, grad in enumerate(grads) if grad is not None]
    return have, [grad for grad in grads if grad is not None]


def _scatter(grads: list[Tensor], have: list[int], length: int) -> list[Tensor | None]:
    filled: list[Tensor | None] = [None] * length
    for i, grad in zip(have, grads, strict=True):
        filled[i] = grad
    return filled


def _as_real(tensor: Tensor) -> Tensor:
    return torch.view_as_real(tensor) if tensor.is_complex() else tensor


def _dense(grad: Tensor) -> Tensor:
    grad = _as_real(grad.to_dense() if grad.is_sparse else grad)
    return grad.float() if grad.dtype in (torch.float16, torch.bfloat16) else grad


def _whole(norm: Tensor) -> Tensor:
    """The norm over all shards, where the tensor was a DTensor."""
    return norm.full_tensor() if hasattr(norm, "full_tensor") else norm  # type: ignore[attr-defined]
