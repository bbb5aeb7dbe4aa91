"""Hugging Face's Trainer and a GPT-2 that is small and random: two arguments are all.

``lr_scheduler_type="constant"``, since the steps decay already: the Trainer's default would let them fall twice, and is
warned of. The Trainer calls ``optimizer.eval()`` before it evaluates, and what it saves then is what it evaluated.
"""

import tempfile
from typing import Any

import torch
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedModel, Trainer, TrainingArguments, set_seed

import pfopt.torch
from examples import text

STEPS = 400


def rows(data: torch.Tensor) -> list[dict[str, torch.Tensor]]:
    """Examples as the Trainer wants them; the model shifts the labels itself."""
    return [{"input_ids": row, "labels": row} for row in data]


def gpt2(letters: str) -> PreTrainedModel:
    """Two layers of width 64."""
    set_seed(0)
    size: dict[str, Any] = {"n_positions": text.LENGTH, "n_embd": 64, "n_layer": 2, "n_head": 4}
    ends: dict[str, Any] = {"bos_token_id": None, "eos_token_id": None}
    return GPT2LMHeadModel(
        GPT2Config(vocab_size=len(letters), resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, **size, **ends)
    )


def main(rate: float | None = None, steps: int = STEPS, **arguments: Any) -> float:
    """Train and return the test loss; a ``rate`` is that of the Trainer's AdamW, to compare with."""
    train, test, letters = text.read()
    ours: dict[str, Any] = {
        "optimizer_cls_and_kwargs": (pfopt.torch.ParameterFreeAdamW, {"total_steps": steps})
    }
    schedule = {"lr_scheduler_type": "constant"} if rate is None else {"learning_rate": rate}
    quiet = {"report_to": "none", "disable_tqdm": True, "save_strategy": "no", "logging_strategy": "no"}
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            gpt2(letters),
            TrainingArguments(
                folder, max_steps=steps, use_cpu=True, seed=0, **{**quiet, **schedule, **arguments}
            ),
            train_dataset=rows(train),  # type: ignore[arg-type]
            eval_dataset=rows(test),  # type: ignore[arg-type]
            **(ours if rate is None else {}),
        )
        trainer.train()
        return trainer.evaluate()["eval_loss"]


if __name__ == "__main__":
    print(f"test loss {main():.3f}")
