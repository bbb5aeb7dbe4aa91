"""Cost of a whole training step, forward, backward and optimizer, against AdamW with default arguments.

Networks as people train them, small enough for two cores; random data.
"""

import sys
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import Parameter
from torch.nn import functional as F
from torch.optim import SGD, AdamW, Optimizer

from benchmarks.optimizers import warmed_up
from benchmarks.timing import DEVICE, Rival, medians, table
from pfopt.torch import ParameterFree, ParameterFreeSGD

REFERENCE = "AdamW"
MAIN = 320  # gradients of a run whose main run is timed
RIVALS: dict[str, Callable[[list[Parameter]], Optimizer]] = {
    REFERENCE: lambda params: AdamW(params),
    "SGD, momentum": lambda params: SGD(params, 1e-3, momentum=0.9),
    "ParameterFreeSGD": lambda params: ParameterFreeSGD(params, MAIN),
    "ParameterFree(AdamW)": lambda params: ParameterFree(AdamW(params), MAIN),
}


class Network(NamedTuple):
    """A model and one batch for it."""

    model: nn.Module
    inputs: Tensor
    targets: Tensor


class Residual(nn.Module):
    """x + f(x)."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Of any shape that the layers keep."""
        return x + self.layers(x)


class LowRank(nn.Module):
    """A frozen linear layer with a trained correction of rank 4 (Hu et al., "LoRA", ICLR 2022)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.frozen = nn.Linear(width, width).requires_grad_(False)
        self.down, self.up = nn.Linear(width, 4, bias=False), nn.Linear(4, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """shape=(…, width)."""
        return self.frozen(x) + self.up(self.down(x))


class Decoder(nn.Module):
    """A character transformer."""

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(96, width), nn.Linear(width, 96)
        layer = nn.TransformerEncoderLayer(
            width, 4, 4 * width, dropout=0.0, batch_first=True, norm_first=True
        )
        self.blocks = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """shape=(batch, time) -> (batch, time, characters)."""
        return self.head(self.blocks(self.embedding(tokens)))


def mlp() -> Network:
    """235k parameters, batches of 64."""
    model = nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 10))
    return Network(model, torch.randn(64, 784), torch.randint(10, (64,)))


def cnn() -> Network:
    """Two convolutions on 28×28 images, batches of 64."""
    model = nn.Sequential(
        *(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(32 * 49, 64), nn.ReLU(), nn.Linear(64, 10)),
    )
    return Network(model, torch.randn(64, 1, 28, 28), torch.randint(10, (64,)))


def resnet() -> Network:
    """Eight convolutions with batch norm on 32×32 images, batches of 32."""

    def block(width: int) -> nn.Module:
        half = (nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width))
        other = (nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width))
        return nn.Sequential(Residual(*half, nn.ReLU(), *other), nn.ReLU())

    model = nn.Sequential(
        *(nn.Conv2d(3, 32, 3, padding=1), block(32), nn.MaxPool2d(2)),
        *(nn.Conv2d(32, 64, 3, padding=1), block(64), nn.MaxPool2d(2)),
        *(block(64), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)),
    )
    return Network(model, torch.randn(32, 3, 32, 32), torch.randint(10, (32,)))


def transformer() -> Network:
    """Four blocks of width 128, batches of 16 texts of 64 characters."""
    tokens = torch.randint(96, (16, 64))
    return Network(Decoder(128, 4), tokens, tokens.roll(-1, 1))


def lora() -> Network:
    """Two hundred trained tensors of 512 entries beside frozen ones."""
    model = nn.Sequential(*(Residual(LowRank(128), nn.GELU()) for _ in range(100)), nn.Linear(128, 10))
    return Network(model, torch.randn(64, 128), torch.randint(10, (64,)))


NETWORKS: dict[str, Callable[[], Network]] = {
    "MLP": mlp,
    "CNN": cnn,
    "ResNet": resnet,
    "transformer": transformer,
    "LoRA": lora,
}


def rival(name: str, network: Network) -> Rival:
    """Training of a network, past the search where there is one."""
    model, inputs, targets = network.model.to(DEVICE), network.inputs.to(DEVICE), network.targets.to(DEVICE)
    params = [param for param in model.parameters() if param.requires_grad]
    optimizer = RIVALS[name](params)

    def gradient() -> None:
        optimizer.zero_grad()
        F.cross_entropy(model(inputs).flatten(0, -2), targets.flatten()).backward()

    if isinstance(optimizer, ParameterFreeSGD | ParameterFree):
        warmed_up(optimizer, "main", gradient)

    def step() -> None:
        gradient()
        optimizer.step()

    return Rival(name, step, list(params))


def report(*, rounds: int) -> str:
    """One column a network: milliseconds of the reference, and the ratios of the others to it."""
    columns = {}
    for name, make in NETWORKS.items():
        torch.manual_seed(0)
        columns[name] = medians([rival(each, make()) for each in RIVALS], 8, rounds)
        print(name, {each: round(1e3 * took, 3) for each, took in columns[name].items()}, file=sys.stderr)
    rows = [[f"{REFERENCE}, ms", *(f"{1e3 * column[REFERENCE]:.1f}" for column in columns.values())]]
    rows += [
        [name, *(f"{column[name] / column[REFERENCE]:.2f}" for column in columns.values())]
        for name in RIVALS
        if name != REFERENCE
    ]
    return table(["a training step, over AdamW's", *columns], rows)
