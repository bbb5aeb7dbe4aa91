"""Fine-tuning, whole and by LoRA, of checkpoints that are made here: the same at every seed, once in a process."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from functools import cache, partial
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import AdamW
from torch.optim.lr_scheduler import OneCycleLR

from experiments.tasks import low_rank, texts
from experiments.tasks.data import DataDir
from experiments.tasks.networks import Loss, Split, token_loss
from experiments.tasks.seeded import SeededTask
from experiments.tasks.task import sample_batches
from experiments.tasks.transformers import CLASSES, LENGTH, SIDE, Transformer, characters, vision
from experiments.tasks.vision import cifar10, convolutional, digits, mnist, residual

Model = TypeVar("Model", bound=nn.Module)
RATE, BATCH = 3e-3, 16  # of the checkpoints: AdamW, one cycle
LABELLED = 1000  # messages of which it is known whether they are spam
PICTURES: dict[str, Callable[[DataDir], Split]] = {"mnist": mnist, "cifar10": cifar10}
EARLY = 5  # classes of a checkpoint of pictures; it goes on with the other ones


def pretrain(model: Model, inputs: Tensor, targets: Tensor, loss: Loss, steps: int) -> Model:
    """Train the model on the rows, by AdamW; return it."""
    optimizer = AdamW(model.parameters(), RATE)
    schedule = OneCycleLR(optimizer, RATE, steps + 1)
    for rows in sample_batches(len(inputs), 0, steps, BATCH):
        optimizer.zero_grad()
        loss(model(inputs[rows]), targets[rows]).backward()
        optimizer.step()
        schedule.step()
    model.zero_grad()
    return model


def checkpoint(make: Callable[[], Model]) -> Model:
    """The model that ``make`` trains, from a seed of its own."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make()


def text_task(
    name: str, data_dir: DataDir, device: torch.device, *, width: int, steps: int, lora: bool
) -> SeededTask:
    """Film reviews by a decoder that knows Shakespeare; as a whole, or by matrices of rank 4."""

    def load() -> Split:
        said = texts.codes(b"".join(texts.read(file, data_dir) for file in texts.REVIEWS))
        cut = len(said) * 9 // 10
        return texts.next_characters(said[:cut], said[cut:], LENGTH)

    def build() -> nn.Module:
        model = deepcopy(_decoder(width, steps, data_dir))
        return low_rank.adapt(model) if lora else model

    return SeededTask(name, load, build, token_loss, "loss", 200, device)


@cache
def _decoder(width: int, steps: int, data_dir: DataDir) -> Transformer:
    rows = texts.windows(texts.codes(texts.read(texts.SHAKESPEARE, data_dir)), LENGTH, 1)
    return checkpoint(lambda: pretrain(characters(width, causal=True), *rows, token_loss, steps))


def spam_task(
    name: str, data_dir: DataDir, device: torch.device, *, width: int, steps: int, lora: bool
) -> SeededTask:
    """Spam, from a thousand messages, by an encoder that has filled gaps in all that are not held out."""

    def load() -> Split:
        rows, kinds = texts.messages(LENGTH, data_dir)
        known, held_out = slice(LABELLED), slice(2 * LABELLED, None)
        return Split(rows[known], kinds[known], rows[held_out], kinds[held_out])

    def build() -> nn.Module:
        model = deepcopy(_encoder(width, steps, data_dir))
        model.pooled, model.head = True, nn.Linear(width, 2)
        return low_rank.adapt(model, ("head",)) if lora else model

    return SeededTask(name, load, build, eval_rows=1000, device=device)


@cache
def _encoder(width: int, steps: int, data_dir: DataDir) -> Transformer:
    rows, _ = texts.messages(LENGTH, data_dir)
    known = rows[: 2 * LABELLED]
    made = partial(characters, width, norm_first=False, dropout=0.1)
    return checkpoint(lambda: pretrain(made(), *texts.with_gaps(known.repeat(4, 1), 6), token_loss, steps))


def _classes(split: Split, first: int, count: int, rows: int) -> Split:
    """The first ``rows`` pictures of ``count`` classes from ``first`` on, which become 0, 1, ..., and held-out ones."""

    def part(inputs: Tensor, targets: Tensor, rows: int | None = None) -> tuple[Tensor, Tensor]:
        kept = ((targets >= first) & (targets < first + count)).nonzero()[:rows, 0]
        return inputs[kept], targets[kept] - first

    return Split(*part(split.inputs, split.targets, rows), *part(split.test_inputs, split.test_targets))


def pictures_task(
    name: str,
    data_dir: DataDir,
    device: torch.device,
    *,
    data: str,
    size: tuple[int, ...],
    steps: int,
    rows: int,
) -> SeededTask:
    """Five classes by a network that knows five others: ``data`` is "mnist" or "cifar10"."""

    def build() -> nn.Module:
        model = deepcopy(_known(data, size, steps, data_dir))
        last = model[-1]
        assert isinstance(last, nn.Linear)
        model[-1] = nn.Linear(last.in_features, CLASSES - EARLY)
        return model

    load = partial(_others, data, rows, data_dir)
    return SeededTask(name, load, build, eval_rows=1000, device=device)


def _others(data: str, rows: int, data_dir: DataDir) -> Split:
    return _classes(PICTURES[data](data_dir), EARLY, CLASSES - EARLY, rows)


@cache
def _known(data: str, size: tuple[int, ...], steps: int, data_dir: DataDir) -> nn.Sequential:
    split = _classes(PICTURES[data](data_dir), 0, EARLY, 10_000)
    make = partial(convolutional, SIDE, *size) if data == "mnist" else partial(residual, *size)
    return checkpoint(lambda: pretrain(make(), split.inputs, split.targets, F.cross_entropy, steps))


def digits_task(
    name: str, data_dir: DataDir, device: torch.device, *, width: int, layers: int, steps: int, rows: int
) -> SeededTask:
    """scikit-learn's digits, enlarged, by a vision transformer that knows MNIST; the first ``rows`` are trained on."""

    def load() -> Split:
        split = digits(flat=False)
        inputs, tests = (
            F.interpolate(x, size=(SIDE, SIDE), mode="bilinear") for x in (split.inputs, split.test_inputs)
        )
        return Split(inputs[:rows], split.targets[:rows], tests, split.test_targets)

    def build() -> nn.Module:
        model = deepcopy(_vision(width, layers, steps, data_dir))
        model.head = nn.Linear(width, CLASSES)
        return model

    return SeededTask(name, load, build, eval_rows=1000, device=device)


@cache
def _vision(width: int, layers: int, steps: int, data_dir: DataDir) -> Transformer:
    split = mnist(data_dir)
    make = partial(vision, width, layers)
    return checkpoint(lambda: pretrain(make(), split.inputs, split.targets, F.cross_entropy, steps))
