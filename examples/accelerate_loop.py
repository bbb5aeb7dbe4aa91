"""accelerate: the optimizer goes through ``prepare``, and the loop stays as it is, with accumulation and clipping."""

import torch
from accelerate import Accelerator
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

import pfopt.torch
from examples import digits

EPOCHS, ACCUMULATE = 30, 2


def main(rate: float | None = None, epochs: int = EPOCHS) -> float:
    """Train and return the test accuracy; a ``rate`` is that of ``torch.optim.AdamW``, to compare with."""
    torch.manual_seed(0)
    train, test = (TensorDataset(torch.tensor(x), torch.tensor(y).long()) for x, y in digits.load())
    loader = DataLoader(train, digits.BATCH // ACCUMULATE, shuffle=True)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    steps = epochs * -(
        -len(loader) // ACCUMULATE
    )  # of the optimizer; an epoch's last batches are a step, too
    if rate is None:
        opt = pfopt.torch.ParameterFreeAdamW(model.parameters(), steps)
    else:
        opt = torch.optim.AdamW(model.parameters(), rate)
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=ACCUMULATE)
    model, opt, loader = accelerator.prepare(model, opt, loader)
    for _ in range(epochs):
        for images, labels in loader:
            with accelerator.accumulate(model):
                opt.zero_grad()
                accelerator.backward(cross_entropy(model(images), labels))
                accelerator.clip_grad_norm_(model.parameters(), 1.0)
                opt.step()
    images, labels = test.tensors
    return float((model(images).argmax(-1) == labels).float().mean())


if __name__ == "__main__":
    print(f"test accuracy {main():.3f}")
