"""How long a base's directions are, and how far they led, told by their products with the gradients.

SGD moves by ``x_{t+1} = x_t − η g``, and its displacement obeys

    ‖x_{t+1} − x_0‖² = ‖x_t − x_0‖² + 2 η ⟨g, x_0 − x_t⟩ + η² ‖g‖².

A direction d = P g with a fixed positive P obeys the same in the norm of P⁻¹, with ⟨g, d⟩ for ‖g‖²: neither P nor
its inverse need be known. So ⟨g, d⟩ and this recursion are what the search measures of any base; no theorem covers a
P that changes, or a base that averages gradients. ‖d‖ and ‖x − x_0‖ would not do: directions of one length (Adam's)
lead away in a straight line at step sizes far too large, and the certificate would take that for distance.
"""
# pyright: reportPrivateImportUsage=false

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pfopt.torch import kernels
from pfopt.torch.kernels import Bundle


class Pairing(NamedTuple):
    """The products of one gradient g, for each bundle as tensors of shape=(its tensors,)."""

    inner: list[Tensor]  # ⟨g, d⟩
    ahead: list[Tensor]  # ⟨g, x_0 − x⟩


def pair(bundles: list[Bundle], gradients: list[Bundle], sums: list[Tensor] | None, like: Tensor) -> Pairing:
    """Measure one gradient against the directions; where there is none, the products are 0.

    Args:
        bundles: with the directions as their ``grads``.
        gradients: the same bundles with the gradients.
        sums: of the sequence x_0 − step Σ d, the step size of every bundle; None for the iterates themselves.
        like: the products' dtype and device.
    """
    inner, ahead = [], []
    for place, (bundle, raw) in enumerate(zip(bundles, gradients, strict=True)):
        points = kernels.joined(bundle.points)
        gradient = kernels.direction(raw, points)
        if sums is None:
            back = bundle.whole("anchor") - points
        else:
            back = bundle.whole("grad_sum") * sums[place].to(points)
        inner.append(kernels.inner(gradient, kernels.direction(bundle, points), bundle.points, like))
        ahead.append(kernels.inner(gradient, back, bundle.points, like))
    return Pairing(inner, ahead)


def grads_sq(search: dict[str, Any], inner: Tensor, directions_sq: Tensor) -> Tensor:
    """What stands for ‖g‖², shape=(1 + scopes,): ⟨g, d⟩ in the unit in which the first one is ‖d‖².

    Args:
        search: the controller's dictionary; ``unit`` in it is set at the first direction that is not zero.
        inner: shape=(1 + scopes,), ⟨g, d⟩.
        directions_sq: shape=(1 + scopes,), ‖d‖².
    """
    unit = directions_sq[0] / inner[0]
    usable = torch.isfinite(unit) & (unit > 0)
    known = search.get("unit", torch.zeros_like(unit)).to(unit)
    search["unit"] = torch.where((known == 0) & usable, unit, known)
    return (search["unit"] * inner).clamp(min=0)


def gained(pairing: Pairing, steps: Sequence[Tensor]) -> list[Tensor]:
    """What a move adds to the squared displacement of each tensor of each bundle, before the unit.

    Args:
        pairing: of the gradient.
        steps: of each bundle, the step size of all its tensors, shape=(), or of each, shape=(tensors,).
    """
    return [
        2 * step * ahead + step.square() * inner
        for step, inner, ahead in zip(steps, pairing.inner, pairing.ahead, strict=True)
    ]


def reach_sq(search: dict[str, Any], gain: Tensor, moved_sq: Tensor, go: Tensor) -> Tensor:
    """The squared displacement after a move, shape=(1 + scopes,).

    Args:
        search: the controller's dictionary; ``reach_sq`` in it is where the run's displacement stands.
        gain: shape=(1 + scopes,), what the move adds, before the unit.
        moved_sq: shape=(1 + scopes,), ‖x − x_0‖² after the move: where it overflows, the answer does.
        go: shape=(), bool; whether the move is made.
    """
    run = search["run"]
    kept = search.get("reach_sq", torch.zeros_like(gain)).to(gain)
    kept = torch.cat([kept, kept.new_zeros(len(gain) - len(kept))])  # groups that were added
    kept = torch.where(run["step"] == run["origin"], 0, kept)
    new = kept + search["unit"] * gain
    search["reach_sq"] = torch.where(go & torch.isfinite(new), new, kept)
    return torch.where(torch.isfinite(moved_sq), new.clamp(min=0), torch.inf)
