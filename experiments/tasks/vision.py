"""Pictures: digits, MNIST and CIFAR-10, with perceptrons, convolutions and a residual network."""

from __future__ import annotations

import gzip
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from experiments.tasks.data import DataDir, hold_out, load_sklearn, verified
from experiments.tasks.networks import DeepTask, LaneNetwork, Split

MNIST_FILES = tuple(
    f"images/mnist/{part}-idx{dims}-ubyte.gz"
    for part, dims in (("train-images", 3), ("train-labels", 1), ("t10k-images", 3), ("t10k-labels", 1))
)
CIFAR_FILES = (
    *(f"images/cifar10/cifar10_batch_{i}.png" for i in (*range(12), 50)),
    "images/cifar10/labels.txt.gz",
)
CIFAR_TEST = 1000


def digits(*, flat: bool) -> Split:
    """scikit-learn's digits in [0, 1], 80 % for training: (rows, 64), or (rows, 1, 8, 8)."""
    images, labels = load_sklearn("digits")
    train, test = hold_out((images / 16.0, labels))
    parts = [
        part for x, y in (train, test) for part in (torch.from_numpy(x).float(), torch.from_numpy(y).long())
    ]
    if not flat:
        parts[::2] = [x.view(-1, 1, 8, 8) for x in parts[::2]]
    return Split(*parts)


def mnist(data_dir: DataDir) -> Split:
    """MNIST in [0, 1], shape (rows, 1, 28, 28)."""
    images, labels, test_images, test_labels = (_idx(verified(name, data_dir)) for name in MNIST_FILES)
    x, test_x = (pixels.view(-1, 1, 28, 28).float() / 255.0 for pixels in (images, test_images))
    return Split(x, labels.long(), test_x, test_labels.long())


def _idx(path: Path) -> Tensor:
    """The bytes of an IDX file of labels or images, without its header."""
    raw = gzip.decompress(path.read_bytes())
    header = 4 + 4 * raw[3]
    return torch.from_numpy(np.frombuffer(raw, np.uint8, offset=header).copy())


def cifar10(data_dir: DataDir) -> Split:
    """12000 training and 1000 test images of CIFAR-10, standardised, shape (rows, 3, 32, 32)."""
    *pictures, labels_file = (verified(name, data_dir) for name in CIFAR_FILES)
    pixels = np.concatenate(
        [np.asarray(Image.open(path).convert("RGB")).reshape(-1, 32, 32, 3) for path in pictures]
    )
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255.0
    mean = images[:-CIFAR_TEST].mean((0, 2, 3), keepdim=True)
    images = (images - mean) / images[:-CIFAR_TEST].std((0, 2, 3), keepdim=True)
    labels = torch.from_numpy(np.loadtxt(labels_file, dtype=np.int64).ravel())
    return Split(images[:-CIFAR_TEST], labels[:-CIFAR_TEST], images[-CIFAR_TEST:], labels[-CIFAR_TEST:])


def perceptron(*widths: int) -> nn.Sequential:
    """Linear layers with ReLU between them: (rows, widths[0]) to (rows, widths[-1])."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def convolutional(side: int, width: int, *, batch_norm: bool = False) -> nn.Sequential:
    """Two strided convolutions and a linear layer: (rows, 1, side, side) to (rows, 10)."""
    layers: list[nn.Module] = []
    for inputs, outputs in ((1, width), (width, 2 * width)):
        layers.append(nn.Conv2d(inputs, outputs, 3, stride=2, padding=1))
        layers += [nn.BatchNorm2d(outputs)] if batch_norm else []
        layers.append(nn.ReLU())
    rest = -(-side // 4)
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(2 * width * rest * rest, 10))


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions with batch norm, added to their input (He et al., 2016)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            convolution = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.shortcut = nn.Sequential(convolution, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Images (rows, inputs, h, w) to (rows, outputs, h / stride, w / stride)."""
        hidden = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        return F.relu(hidden + self.shortcut(x))


def residual(width: int, blocks: int, stem_stride: int) -> nn.Sequential:
    """A residual network of three stages: (rows, 3, 32, 32) to (rows, 10)."""
    stem = nn.Conv2d(3, width, 3, stem_stride, 1, bias=False)
    layers: list[nn.Module] = [stem, nn.BatchNorm2d(width), nn.ReLU()]
    channels = width
    for stage in range(3):
        for block in range(blocks):
            outputs = width * 2**stage
            layers.append(ResidualBlock(channels, outputs, 2 if stage and not block else 1))
            channels = outputs
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10))


def digits_task(
    name: str, data_dir: DataDir, device: torch.device, *, conv: bool, norm: bool, width: int
) -> DeepTask:
    """Digits by a perceptron, or by two convolutions with or without batch norm."""
    del data_dir  # scikit-learn carries the data
    if conv:
        build = partial(convolutional, 8, width, batch_norm=norm)
        return DeepTask(name, partial(digits, flat=False), build, device=device)
    return LaneNetwork(
        name, partial(digits, flat=True), partial(perceptron, 64, width, width // 2, 10), device=device
    )


def mnist_task(name: str, data_dir: DataDir, device: torch.device, *, width: int) -> DeepTask:
    """MNIST by two convolutions."""
    return DeepTask(name, partial(mnist, data_dir), partial(convolutional, 28, width), device=device)


def cifar_task(
    name: str, data_dir: DataDir, device: torch.device, *, width: int, blocks: int, stem: int
) -> DeepTask:
    """CIFAR-10 by a residual network with batch norm."""
    build = partial(residual, width, blocks, stem)
    return DeepTask(name, partial(cifar10, data_dir), build, eval_rows=1000, device=device)
