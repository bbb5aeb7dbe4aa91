"""What people train from scratch, and what they fine-tune: the networks of the suites ``scratch`` and ``finetune``."""

from __future__ import annotations

from typing import Any

from experiments.tasks import cart_pole, graphs, practical, pretrained, texts, transformers, vision
from experiments.tasks.deep_row import DeepRow

_SMALL, _LARGE = {"width": 32, "layers": 2}, {"width": 256, "layers": 6}
_PLAYS, _REVIEWS = (texts.SHAKESPEARE,), texts.REVIEWS
_RESIDUAL, _WIDE = {"width": 8, "blocks": 1, "stem": 2}, {"width": 64, "blocks": 3, "stem": 1}

SCRATCH: dict[str, DeepRow] = {
    "mnist-vit": DeepRow(
        transformers.vision_task,
        _SMALL | {"rows": 10_000},
        _LARGE | {"rows": 60_000},
        500,
        32,
        vision.MNIST_FILES,
    ),
    "shakespeare-encoder": DeepRow(transformers.gaps_task, _SMALL, _LARGE, 250, 16, _PLAYS),
    "shakespeare-gpt": DeepRow(
        transformers.decoder_task, _SMALL | {"share": 40}, _LARGE | {"share": 4}, 300, 16, _PLAYS
    ),
    "citeseer-gcn": DeepRow(graphs.task, {"width": 16}, {"width": 64}, 150, 120, graphs.FILES),
    "reviews-embeddings": DeepRow(practical.words_task, {"width": 8}, {"width": 256}, 800, 32, _REVIEWS),
    "cifar10-augmented": DeepRow(
        practical.pictures_task,
        _RESIDUAL | {"rows": 2000},
        _WIDE | {"rows": 12_000},
        300,
        32,
        vision.CIFAR_FILES,
    ),
    "digits-diffusion": DeepRow(practical.diffusion_task, {"width": 128}, {"width": 1024}, 800, 64),
    "cart-pole": DeepRow(cart_pole.task, {"width": 32, "ticks": 40}, {"width": 128, "ticks": 500}, 120, 16),
}


def _fine(factory: Any, small: dict[str, Any], large: dict[str, Any], batch: int, *files: str) -> DeepRow:
    return DeepRow(factory, small, large, 250, batch, files)


_TEXT, _LARGE_TEXT = {"width": 32, "steps": 250}, {"width": 256, "steps": 2500}
FINETUNE: dict[str, DeepRow] = {
    f"{data}{ending}": _fine(factory, _TEXT | {"lora": lora}, _LARGE_TEXT | {"lora": lora}, 8, *files)
    for data, factory, files in (
        ("reviews-decoder", pretrained.text_task, (*_PLAYS, *_REVIEWS)),
        ("spam-encoder", pretrained.spam_task, (texts.MESSAGES,)),
    )
    for ending, lora in (("", False), ("-lora", True))
} | {
    "mnist-five-to-nine": _fine(
        pretrained.pictures_task,
        {"data": "mnist", "size": (8,), "steps": 250, "rows": 300},
        {"data": "mnist", "size": (64,), "steps": 2500, "rows": 3000},
        8,
        *vision.MNIST_FILES,
    ),
    "cifar10-five-to-nine": _fine(
        pretrained.pictures_task,
        {"data": "cifar10", "size": (8, 1, 2), "steps": 250, "rows": 1000},
        {"data": "cifar10", "size": (64, 3, 1), "steps": 2500, "rows": 6000},
        16,
        *vision.CIFAR_FILES,
    ),
    "digits-vit": _fine(
        pretrained.digits_task,
        _SMALL | {"steps": 250, "rows": 200},
        _LARGE | {"steps": 2500, "rows": 1000},
        8,
        *vision.MNIST_FILES,
    ),
}
