"""Networks that begin from another one: fine-tuned as a whole, by matrices of low rank, or taught by it."""

from __future__ import annotations

import copy
import gzip
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from experiments.held_out_problems.networks import perceptron, pretrain
from experiments.held_out_problems.problem import Problem, generator, pick, streamed, supervised
from experiments.held_out_problems.sequences import windows
from experiments.held_out_problems.transformers import Transformer
from experiments.held_out_problems.vision import LowRank
from experiments.tasks.data import load_svmlight, verified
from experiments.tasks.networks import Split, token_loss
from experiments.tasks.vision import cifar10

_PRETRAINING_STEPS = 600
_KNOWN = 8  # classes of CIFAR-10 that are known beforehand; ships and trucks are not
_LENGTH = 32  # characters of a window
_TEMPERATURE = 4.0  # of what a teacher says


@cache
def _pictures() -> Split:
    """CIFAR-10 at half its resolution, shape (rows, 3, 16, 16)."""
    split = cifar10(None)
    inputs, test_inputs = (F.avg_pool2d(part, 2) for part in (split.inputs, split.test_inputs))
    return split._replace(inputs=inputs, test_inputs=test_inputs)


def _convolution(inputs: int, outputs: int) -> nn.Sequential:
    layer = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs), nn.ReLU())


@cache
def _knows_eight_classes(seed: int) -> nn.Sequential:
    split = _pictures()
    rows = (split.targets < _KNOWN).nonzero()[:, 0]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4000 + seed)
        layers = [_convolution(3, 16), _convolution(16, 32), _convolution(32, 64)]
        model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, _KNOWN))

        def loss() -> Tensor:
            batch = pick(rows, 64)
            return F.cross_entropy(model(split.inputs[batch]), split.targets[batch])

        pretrain(model.parameters(), loss, _PRETRAINING_STEPS)
    return model


def finetuned_cnn(seed: int) -> Problem:
    """Ships and trucks by convolutions with batch norm that know the other eight classes; the last layer is new."""
    split = _pictures()
    train, test = split.targets >= _KNOWN, split.test_targets >= _KNOWN
    known = Split(
        split.inputs[train],
        split.targets[train] - _KNOWN,
        split.test_inputs[test],
        split.test_targets[test] - _KNOWN,
    )
    model = copy.deepcopy(_knows_eight_classes(seed))
    model[-1] = nn.Linear(64, 2)
    model.zero_grad()
    return supervised(seed, model, known, F.cross_entropy, 32, statistics=known.inputs)


def _lines(*names: str) -> list[str]:
    """Of one text or more."""
    raw = (gzip.decompress(verified(f"text/{name}.txt.gz", None).read_bytes()) for name in names)
    return [line for text in raw for line in text.decode().splitlines()]


def _tokens(lines: list[str]) -> Tensor:
    """Lines as one text of bytes, each below 128."""
    return torch.frombuffer(bytearray("\n".join(lines).encode()), dtype=torch.uint8).long() % 128


@cache
def _knows_shakespeare(seed: int) -> Transformer:
    plays = _tokens(_lines("tinyshakespeare"))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5000 + seed)
        model = Transformer(nn.Embedding(128, 32), _LENGTH, 128, width=32, causal=True)

        def loss() -> Tensor:
            inputs, targets = windows(plays, _LENGTH, 32)
            return token_loss(model(inputs), targets)

        pretrain(model.parameters(), loss, _PRETRAINING_STEPS)
    return model


def lora_decoder(seed: int) -> Problem:
    """A decoder of Shakespeare's plays goes on with film reviews, by matrices of rank 4 in its blocks alone."""
    lines = _lines("rt-polarity.neg", "rt-polarity.pos")
    order = torch.randperm(len(lines), generator=generator(41)).tolist()
    cut = len(lines) * 9 // 10
    train, test = (_tokens([lines[row] for row in part]) for part in (order[:cut], order[cut:]))
    model = copy.deepcopy(_knows_shakespeare(seed)).requires_grad_(False)
    model.zero_grad()
    for block in model.blocks:
        for name, layer in list(block.named_children()):
            if isinstance(layer, nn.Linear):
                setattr(block, name, LowRank(layer))
    fixed = Split(*windows(train, _LENGTH, 300, generator(42)), *windows(test, _LENGTH, 300, generator(43)))
    return streamed(seed, model, fixed, token_loss, lambda count: windows(train, _LENGTH, count), 16)


@cache
def _strokes() -> Split:
    """Pen digits: eight points of a stroke, each coordinate in [0, 1], shape (rows, 16)."""
    (x, y), (test_x, test_y) = (load_svmlight(name, 16) for name in ("pendigits", "pendigits.t"))
    inputs, test_inputs = (torch.from_numpy(part).float() / 100 for part in (x, test_x))
    return Split(inputs, torch.from_numpy(y).long(), test_inputs, torch.from_numpy(test_y).long())


@cache
def _teacher(seed: int) -> nn.Sequential:
    split = _strokes()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(6000 + seed)
        model = perceptron(16, 256, 256, 10)

        def loss() -> Tensor:
            rows = torch.randint(len(split.inputs), (64,))
            return F.cross_entropy(model(split.inputs[rows]), split.targets[rows])

        pretrain(model.parameters(), loss, _PRETRAINING_STEPS)
    return model


def distillation(seed: int) -> Problem:
    """A small perceptron learns pen digits from labels and a larger one's softened answers (Hinton et al., 2015)."""
    split, teacher = _strokes(), _teacher(seed)

    def told(inputs: Tensor, classes: Tensor) -> Tensor:
        """The teacher's logits and the class as one of ten, shape (rows, 2, 10)."""
        with torch.no_grad():
            return torch.stack([teacher(inputs), F.one_hot(classes, 10).float()], 1)

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        logits, classes = targets.unbind(1)
        soft, softened = (F.log_softmax(answers / _TEMPERATURE, 1) for answers in (outputs, logits))
        divergence = F.kl_div(soft, softened, reduction="batchmean", log_target=True)
        return (_TEMPERATURE**2 * divergence + F.cross_entropy(outputs, classes)) / 2

    targets, test_targets = told(split.inputs, split.targets), told(split.test_inputs, split.test_targets)
    split = split._replace(targets=targets, test_targets=test_targets)
    return supervised(seed, perceptron(16, 16, 10), split, loss, 32)
