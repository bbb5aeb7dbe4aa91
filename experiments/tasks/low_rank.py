"""LoRA (Hu et al., 2022): matrices that stay as they are, with a trained one of low rank added to each."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import register_parametrization

RANK, SCALE = 4, 2.0


class LowRank(nn.Module):
    """Adds a product of two thin matrices, zero at first, to a matrix (outputs, inputs)."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        outputs, inputs = weight.shape
        self.down = nn.Parameter(torch.randn(RANK, inputs) / inputs**0.5)
        self.up = nn.Parameter(torch.zeros(outputs, RANK))

    def forward(self, weight: Tensor) -> Tensor:
        """The sum, shape of ``weight``."""
        return weight + SCALE * self.up @ self.down


def adapt(model: nn.Module, trained: tuple[str, ...] = ()) -> nn.Module:
    """Freeze the model, and adapt the matrices of its linear and attention layers.

    Args:
        model: Changed in place.
        trained: Names of submodules that are trained as they are, such as a new head.
    """
    heads = {module for name in trained for module in model.get_submodule(name).modules()}
    layers = [module for module in model.modules() if module not in heads]
    model.requires_grad_(False)
    for module in heads:
        module.requires_grad_(True)
    for layer in layers:
        for name in ("weight", "in_proj_weight"):
            if isinstance(layer, (nn.Linear, nn.MultiheadAttention)) and hasattr(layer, name):
                register_parametrization(layer, name, LowRank(getattr(layer, name)))
    return model
