"""Hugging Face's Trainer and a BERT from scratch that reads the pixels of a digit as words."""

import tempfile
from typing import Any

import numpy as np
from transformers import Trainer, TrainingArguments, set_seed

import pfopt.torch
from examples import bert, digits

STEPS = 600


def rows(images: np.ndarray, labels: np.ndarray) -> list[dict[str, Any]]:
    """Examples as the Trainer wants them."""
    pairs = zip(bert.words(images), labels, strict=True)
    return [{"input_ids": text, "labels": int(label)} for text, label in pairs]


def accuracy(predicted: Any) -> dict[str, float]:
    """Of logits and labels."""
    return {"accuracy": float((predicted.predictions.argmax(-1) == predicted.label_ids).mean())}


def main(rate: float | None = None, steps: int = STEPS) -> float:
    """Train and return the test accuracy; a ``rate`` is that of the Trainer's AdamW, to compare with."""
    train, test = digits.load()
    set_seed(0)
    ours: dict[str, Any] = {
        "optimizer_cls_and_kwargs": (pfopt.torch.ParameterFreeAdamW, {"total_steps": steps})
    }
    schedule = {"lr_scheduler_type": "constant"} if rate is None else {"learning_rate": rate}
    quiet = {"report_to": "none", "disable_tqdm": True, "save_strategy": "no", "logging_strategy": "no"}
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            bert.small(),
            TrainingArguments(
                folder,
                max_steps=steps,
                per_device_train_batch_size=32,
                use_cpu=True,
                seed=0,
                **quiet,
                **schedule,
            ),  # type: ignore[arg-type]
            train_dataset=rows(*train),  # type: ignore[arg-type]
            eval_dataset=rows(*test),  # type: ignore[arg-type]
            compute_metrics=accuracy,
            **(ours if rate is None else {}),
        )
        trainer.train()
        return trainer.evaluate()["eval_accuracy"]


if __name__ == "__main__":
    print(f"test accuracy {main():.3f}")
