"""Hugging Face's Trainer, PEFT and TRL: the examples, resume, the best model, and the schedule by habit."""

from pathlib import Path
from typing import Any

import pytest
import torch

import examples  # before a library that imports torchvision

assert examples
STEPS = 100


def trainer(folder: Path, *, optimizers: bool = False, **arguments: Any) -> Any:
    transformers = pytest.importorskip("transformers")
    from examples import hf_trainer, text
    from pfopt.torch import ParameterFreeAdamW

    train, test, letters = text.read()
    model = hf_trainer.gpt2(letters)
    quiet: dict[str, Any] = {"report_to": "none", "disable_tqdm": True, "use_cpu": True, "max_steps": STEPS}
    more: dict[str, Any] = {"optimizer_cls_and_kwargs": (ParameterFreeAdamW, {"total_steps": STEPS})}
    if optimizers:
        more = {"optimizers": (ParameterFreeAdamW(model.parameters(), STEPS), None)}
    return transformers.Trainer(
        model,
        transformers.TrainingArguments(
            str(folder), **{**quiet, "lr_scheduler_type": "constant", **arguments}
        ),
        train_dataset=hf_trainer.rows(train),  # type: ignore[arg-type]
        eval_dataset=hf_trainer.rows(test),  # type: ignore[arg-type]
        **more,
    )


def of_frequencies() -> float:
    """The held-out loss of the frequencies of characters alone, which a model that has learnt nothing else reaches."""
    from examples import text

    train, test, letters = text.read()
    counts = torch.bincount(train.flatten(), minlength=len(letters)) + 1
    return float(-(counts / counts.sum()).log()[test.flatten()].mean())


def test_gpt2() -> None:
    pytest.importorskip("transformers")
    from examples import hf_trainer

    assert hf_trainer.main(steps=120) < of_frequencies() - 0.3


def test_lora() -> None:
    pytest.importorskip("peft")
    from examples import peft_lora

    assert peft_lora.main(steps=120) > 0.2  # one in ten by chance


def test_sft() -> None:
    pytest.importorskip("trl")
    from examples import trl_sft

    assert trl_sft.main(steps=120) < of_frequencies() - 0.3


def test_resume_and_best_model(tmp_path: Path) -> None:
    """What is loaded at the end is what was evaluated, and a resumed run ends where the whole one ended."""
    saving = {"save_strategy": "steps", "save_steps": 50, "eval_strategy": "steps", "eval_steps": 50}
    whole = trainer(tmp_path / "whole", load_best_model_at_end=True, **saving)
    whole.train()
    losses = [entry["eval_loss"] for entry in whole.state.log_history if "eval_loss" in entry]
    assert whole.evaluate()["eval_loss"] == pytest.approx(min(losses), abs=1e-6)
    resumed = trainer(tmp_path / "other", **saving)
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-50"))
    assert resumed.evaluate()["eval_loss"] == pytest.approx(losses[-1], abs=1e-6)


def test_default_schedule_warns(tmp_path: Path) -> None:
    made = trainer(
        tmp_path, optimizers=True, lr_scheduler_type="linear", save_strategy="no", logging_steps=20
    )
    with pytest.warns(UserWarning, match="keep lr constant"):
        made.train()
    assert torch.isfinite(torch.tensor(made.evaluate()["eval_loss"]))
