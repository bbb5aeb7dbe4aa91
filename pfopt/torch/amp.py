"""The protocol of ``torch.amp.GradScaler``, as torch's fused optimizers have it.

A scaler that leaves ``step()`` out where gradients overflow would leave the search waiting: a probe that has exploded
ends by its gradients. So the scaler calls ``step()`` whatever it found, and says in two attributes what that was:
``grad_scale``, by which the gradients are yet to be divided (None where they have been), and ``found_inf``.
"""
# pyright: reportPrivateImportUsage=false

from collections.abc import Iterable
from math import nan

import torch
from torch import Tensor

from pfopt.torch import ops, shards


def unscale(optimizer: object, params: Iterable[Tensor]) -> Tensor | None:
    """Divide the gradients by the scale, in place, as the scaler itself would.

    Returns:
        What counts as one more gradient: 0, or NaN where the scaler has found infinity; None without a scaler.
    """
    scale, found = getattr(optimizer, "grad_scale", None), getattr(optimizer, "found_inf", None)
    if scale is not None:
        by_kind: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}
        for param in params:
            if param.grad is not None:
                gradient = shards.local(param.grad)
                gradient = gradient._values() if gradient.is_sparse else gradient
                by_kind.setdefault((gradient.device, gradient.dtype), []).append(gradient)
        for (device, _), gradients in by_kind.items():
            inverse = scale.to(ops.statistics_dtype(scale.device)).reciprocal().float()
            torch._foreach_mul_(gradients, inverse.to(device))
    if found is None:
        return None
    found = found.full_tensor() if hasattr(found, "full_tensor") else found
    return torch.where(found > 0, nan, 0.0)
