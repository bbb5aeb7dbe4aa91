"""TRL's SFTTrainer: the same two arguments as Hugging Face's Trainer, on sentences that were cut into characters."""

import tempfile
from typing import Any

import torch
from datasets import Dataset
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast
from trl import SFTConfig, SFTTrainer

import pfopt.torch
from examples import text
from examples.hf_trainer import gpt2

STEPS = 400


def tokens(data: torch.Tensor) -> Dataset:
    """Rows of numbers, so that no tokenizer is asked."""
    return Dataset.from_dict({"input_ids": data.tolist()})


def main(rate: float | None = None, steps: int = STEPS) -> float:
    """Train and return the test loss; a ``rate`` is that of the Trainer's AdamW, to compare with."""
    train, test, letters = text.read()
    ours: dict[str, Any] = {
        "optimizer_cls_and_kwargs": (pfopt.torch.ParameterFreeAdamW, {"total_steps": steps})
    }
    vocabulary = {letter: index for index, letter in enumerate(letters)}
    characters = Tokenizer(models.WordLevel(vocabulary, unk_token=letters[0]))
    schedule: dict[str, Any] = {"lr_scheduler_type": "constant"} if rate is None else {"learning_rate": rate}
    quiet: dict[str, Any] = {
        "report_to": "none",
        "disable_tqdm": True,
        "save_strategy": "no",
        "use_cpu": True,
    }
    with tempfile.TemporaryDirectory() as folder:
        trainer = SFTTrainer(
            gpt2(letters),
            SFTConfig(
                folder, max_steps=steps, bf16=False, logging_strategy="no", seed=0, **quiet, **schedule
            ),
            train_dataset=tokens(train),
            eval_dataset=tokens(test),
            processing_class=PreTrainedTokenizerFast(
                tokenizer_object=characters, eos_token=letters[0], pad_token=letters[0]
            ),
            **(ours if rate is None else {}),
        )
        trainer.train()
        return trainer.evaluate()["eval_loss"]


if __name__ == "__main__":
    print(f"test loss {main():.3f}")
