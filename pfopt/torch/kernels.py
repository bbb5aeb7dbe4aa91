"""The mathematics of a step on lists of tensors; decides nothing and never waits for the device.

A ``Bundle`` is what one parameter group holds on one device in one dtype, about a million entries at a time:
what is computed on the way to a step then never takes the memory of a second model, nor the time to get it.
Every function below is one ``torch._foreach_*`` call, or a loop over tensors where there is no such call.
"""
# pyright: reportPrivateImportUsage=false

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

HALF = (torch.float16, torch.bfloat16)
BUNDLE_ENTRIES = 2**20  # with which a bundle is full


class Bundle(NamedTuple):
    """Tensors of one parameter group that share device and dtype; float32 at least, complex seen as real."""

    group: int  # index of the parameter group
    params: list[Tensor]  # what the user sees
    points: list[Tensor]  # the iterate: the parameters themselves, or float32 copies of half-precision ones
    grads: list[Tensor | None]  # p.grad; ``minimised`` makes them what the other functions take
    states: list[dict[str, Tensor]]

    def slot(self, name: str) -> list[Tensor]:
        """The state tensors of that name."""
        return [_as_real(state[name]) for state in self.states]


def gather(
    groups: list[dict[str, Any]], state_of: Callable[[Tensor], dict[str, Tensor]], *, foreach: bool
) -> list[Bundle]:
    """The bundles of all parameters; with ``foreach=False`` every tensor is a bundle of its own."""
    bundles: list[Bundle] = []
    for index, group in enumerate(groups):
        open_bundles: dict[Any, Bundle] = {}
        for place, param in enumerate(group["params"]):
            key = (param.device, param.dtype) if foreach else place
            bundle = open_bundles.get(key)
            if bundle is None or sum(point.numel() for point in bundle.points) >= BUNDLE_ENTRIES:
                bundle = open_bundles[key] = Bundle(index, [], [], [], [])
                bundles.append(bundle)
            state = state_of(param)
            bundle.params.append(param)
            bundle.points.append(_iterate(param, state))
            bundle.grads.append(param.grad)
            bundle.states.append(state)
    return bundles


def minimised(bundle: Bundle, weight_decay: float = 0.0, maximize: bool = False) -> Bundle:
    """The gradients of what is minimised, as ``torch.optim.SGD`` has them; p.grad is not touched."""
    have, grads = _present(bundle.grads)
    grads = [dense(grad) for grad in grads]
    if maximize and grads:
        grads = list(torch._foreach_neg(grads))
    if weight_decay and grads:
        grads = list(torch._foreach_add(grads, _at(have, bundle.points), alpha=weight_decay))
    return bundle._replace(grads=_spread(have, grads, len(bundle.grads)))


def norms_sq(tensors: list[Tensor], like: Tensor) -> Tensor:
    """Squared norms, shape=(len(tensors),), in the dtype and on the device of ``like``."""
    if not tensors:
        return like.new_zeros(0)
    return torch.stack([_whole(norm) for norm in torch._foreach_norm(tensors)]).to(like).square()


def grads_sq(bundle: Bundle, like: Tensor, ratios: list[Tensor] | None = None) -> Tensor:
    """‖g‖² per tensor, shape=(len(bundle.grads),), or Σ ratio g²; 0 where there is no gradient."""
    have, grads = _present(bundle.grads)
    if ratios is not None and grads:
        grads = list(torch._foreach_mul(grads, torch._foreach_sqrt(_at(have, ratios))))
    present = norms_sq(grads, like)
    if len(have) == len(bundle.grads):
        return present
    zero = like.new_zeros(())
    every = _spread(have, list(present), len(bundle.grads))
    return torch.stack([zero if square is None else square for square in every])


def inner(ones: Sequence[Tensor | None], others: Sequence[Tensor | None], like: Tensor) -> Tensor:
    """⟨a, b⟩ per tensor, shape=(len(ones),); 0 where one of them is missing."""
    pairs = zip(ones, others, strict=True)
    zero = like.new_zeros(())
    products = [zero if a is None or b is None else _whole((a * b).sum()).to(like) for a, b in pairs]
    return torch.stack(products)


def displacements_sq(
    points: list[Tensor], anchors: list[Tensor], like: Tensor, ratios: list[Tensor] | None = None
) -> Tensor:
    """‖x − x_0‖² per tensor, shape=(len(points),), or Σ (x − x_0)² / ratio."""
    gaps = torch._foreach_sub(points, anchors)
    if ratios is not None:
        gaps = torch._foreach_div(gaps, torch._foreach_sqrt(ratios))
    return norms_sq(list(gaps), like)


def scaled(tensors: list[Tensor], factors: Sequence[Tensor] | Tensor) -> list[Tensor]:
    """Each tensor times its factor, shape=()."""
    return [tensor * factor.to(tensor) for tensor, factor in zip(tensors, factors, strict=True)]


def scaled_norms_sq(tensors: list[Tensor], factor: Tensor, like: Tensor) -> Tensor:
    """‖factor t‖² per tensor, shape=(len(tensors),); infinite where factor t overflows the dtype of t."""
    return norms_sq(list(torch._foreach_mul(tensors, factor.to(tensors[0]))), like)


def update_momentum(bundle: Bundle, go: Tensor, decay: Tensor, momentum: float) -> None:
    """V = decay v + (1 − m) g where ``go``; ``decay`` is m, or 0 at the first gradient of a stretch."""
    have, grads = _present(bundle.grads)
    if grads:
        velocities = _at(have, bundle.slot("momentum_buffer"))
        new = torch._foreach_mul(velocities, decay.to(velocities[0]))
        torch._foreach_add_(new, grads, alpha=1 - momentum)
        select(go, new, velocities)


def update_squares(bundle: Bundle, share: Tensor) -> None:
    """The mean of g², kept in the slot "recent_sq", in which this gradient has that share; 0 leaves it alone."""
    have, grads = _present(bundle.grads)
    if grads:
        squares = torch._foreach_mul(grads, grads)
        means = _at(have, bundle.slot("recent_sq"))
        select(share > 0, torch._foreach_lerp(means, squares, [share.to(means[0])] * len(means)), means)


def momentum_direction(bundle: Bundle, momentum: float, nesterov: bool) -> Bundle:
    """The bundle with v in place of g, or (1 − m) g + m v for Nesterov."""
    have, grads = _present(bundle.grads)
    if not grads:
        return bundle
    velocities = _at(have, bundle.slot("momentum_buffer"))
    if nesterov:
        velocities = list(torch._foreach_mul(velocities, momentum))
        torch._foreach_add_(velocities, grads, alpha=1 - momentum)
    return bundle._replace(grads=_spread(have, velocities, len(bundle.grads)))


def moved(bundle: Bundle, points: list[Tensor], steps: Tensor | list[Tensor]) -> list[Tensor]:
    """X − step g as new tensors, x itself where there is no g; one step size for all, or one per tensor."""
    have, grads = _present(bundle.grads)
    if not grads:
        return points
    if isinstance(steps, list):
        new = [grad * -step.to(grad) for grad, step in zip(grads, _at(have, steps), strict=True)]
    else:
        new = torch._foreach_mul(grads, -steps.to(grads[0]))
    torch._foreach_add_(new, _at(have, points))
    every = _spread(have, list(new), len(bundle.grads))
    return [old if point is None else point for old, point in zip(points, every, strict=True)]


def extrapolated(bundle: Bundle, share: float) -> list[Tensor]:
    """The iterates z behind the points y = z + share (x̄ − z), as new tensors; the points themselves at share 0."""
    if share == 0:
        return bundle.points
    weights = [share / (share - 1)] * len(bundle.points)
    return list(torch._foreach_lerp(bundle.points, bundle.slot("average"), weights))


def interpolate(bundle: Bundle, iterates: list[Tensor], share: float, condition: Tensor) -> None:
    """The points y = z + share (x̄ − z) where ``condition``; at share 0 the iterates are the points already."""
    if share:
        weights = [share] * len(iterates)
        select(condition, torch._foreach_lerp(iterates, bundle.slot("average"), weights), bundle.points)


def accumulate(bundle: Bundle, go: Tensor) -> list[Tensor]:
    """The plain sum of the gradients, kept in the slot "grad_sum", where ``go``."""
    have, grads = _present(bundle.grads)
    sums = bundle.slot("grad_sum")
    if grads:
        present = _at(have, sums)
        select(go, torch._foreach_add(present, grads), present)
    return sums


def copy(new: list[Tensor], old: list[Tensor]) -> None:
    """Old = new."""
    if old:
        torch._foreach_copy_(old, new)


def zero(tensors: list[Tensor]) -> None:
    """All entries 0."""
    torch._foreach_zero_(tensors)


def swap(bundle: Bundle, slot: str) -> None:
    """Exchange the iterate with a slot of the state."""
    kept = bundle.slot(slot)
    held = [point.clone() for point in bundle.points]
    copy(kept, bundle.points)
    copy(held, kept)
    write_back(bundle)


def select(condition: Tensor, new: list[Tensor] | tuple[Tensor, ...], old: list[Tensor]) -> None:
    """Old = new where the 0-dim ``condition`` holds; what is not finite in ``new`` cannot leak otherwise."""
    for a, b in zip(new, old, strict=True):
        if a is not b:
            torch.where(condition.to(b.device), a, b, out=b)


def lerp(averages: list[Tensor], points: list[Tensor], weight: Tensor) -> None:
    """x̄ += w (x − x̄) in place; exactly x̄ at w = 0 and exactly x at w = 1, all being finite."""
    weight = weight.to(averages[0])
    torch._foreach_lerp_(averages, points, [weight] * len(averages))


def write_back(bundle: Bundle) -> None:
    """Round the float32 iterates into half-precision parameters; others are their own iterate."""
    if bundle.params[0].dtype in HALF:
        torch._foreach_copy_(bundle.params, bundle.points)


def _iterate(param: Tensor, state: dict[str, Tensor]) -> Tensor:
    """What moves: the parameter itself, or the float32 iterate behind a half-precision one.

    The iterate counts where it still rounds to the parameter, which others may have changed since.
    """
    if param.dtype not in HALF:
        return _as_real(param)
    iterate = state["iterate"]
    return torch.where(iterate.to(param.dtype) == param, iterate, param.float(), out=iterate)


def _present(grads: list[Tensor | None]) -> tuple[list[int], list[Tensor]]:
    """The places of the gradients that are there, and these gradients."""
    have = [place for place, grad in enumerate(grads) if grad is not None]
    return have, [grad for grad in grads if grad is not None]


def _at(places: list[int], tensors: list[Tensor]) -> list[Tensor]:
    return [tensors[place] for place in places]


def _spread(places: list[int], tensors: list[Tensor], length: int) -> list[Tensor | None]:
    """The inverse of ``_at``, with None elsewhere."""
    every: list[Tensor | None] = [None] * length
    for place, tensor in zip(places, tensors, strict=True):
        every[place] = tensor
    return every


def _as_real(tensor: Tensor) -> Tensor:
    return torch.view_as_real(tensor) if tensor.is_complex() else tensor


def joined(tensors: Sequence[Tensor]) -> Tensor:
    """All entries as one vector: many small tensors cost as many calls."""
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


def parted(vector: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """The inverse of ``joined``."""
    parts = vector.split([tensor.numel() for tensor in like])
    return [part.view_as(tensor) for part, tensor in zip(parts, like, strict=True)]


def dense(grad: Tensor) -> Tensor:
    """A gradient as the functions above take it: dense, real, float32 at least."""
    grad = _as_real(grad.to_dense() if grad.is_sparse else grad)
    return grad.float() if grad.dtype in HALF else grad


def _whole(norm: Tensor) -> Tensor:
    """The norm over all shards, where the tensor was a DTensor."""
    full_tensor = getattr(norm, "full_tensor", None)
    return norm if full_tensor is None else full_tensor()
