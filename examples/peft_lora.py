"""PEFT: a BERT that reads the pixels of a digit as words, trained by AdamW, then LoRA of rank 4 on other labels.

The optimizer gets the parameters that LoRA leaves free; what is frozen costs it nothing.
"""

import logging
from collections.abc import Iterator

import torch
from peft import LoraConfig, get_peft_model
from torch import nn

import pfopt.torch
from examples import bert, digits

STEPS = 400


def optimizer(model: nn.Module, rate: float | None, steps: int) -> torch.optim.Optimizer:
    """Ours, or AdamW."""
    free = [param for param in model.parameters() if param.requires_grad]
    if rate is None:
        return pfopt.torch.ParameterFreeAdamW(free, steps)
    return torch.optim.AdamW(free, rate)


def train(model: nn.Module, opt: torch.optim.Optimizer, batches: Iterator) -> None:
    """The loop of plain torch."""
    for images, labels in batches:
        opt.zero_grad()
        model(input_ids=bert.words(images), labels=torch.from_numpy(labels).long()).loss.backward()
        opt.step()


def main(rate: float | None = None, steps: int = STEPS) -> float:
    """Train and return LoRA's test accuracy; a ``rate`` is that of ``torch.optim.AdamW``, to compare with."""
    torch.manual_seed(0)
    data, (images, labels) = digits.load()
    logging.getLogger("transformers").setLevel(logging.ERROR)
    model = bert.small()
    train(model, optimizer(model, 3e-3, STEPS), digits.batches(data, STEPS))
    lora = get_peft_model(model, LoraConfig(task_type="SEQ_CLS", r=4, target_modules=["query", "value"]))
    others = (data[0], (data[1] + 3) % 10)
    train(lora, optimizer(lora, rate, steps), digits.batches(others, steps))
    lora.eval()
    scores = lora(input_ids=bert.words(images)).logits
    return float((scores.argmax(-1) == (torch.from_numpy(labels) + 3) % 10).float().mean())


if __name__ == "__main__":
    print(f"test accuracy {main():.3f}")
