"""Plain torch: the optimizer is made in one line, and the loop stays as it is."""

import torch
from torch import nn
from torch.nn.functional import cross_entropy

import pfopt.torch
from examples import digits

STEPS = 800


def main(steps: int = STEPS, rate: float | None = None) -> float:
    """Train and return the test accuracy; a ``rate`` is that of ``torch.optim.SGD``, to compare with."""
    torch.manual_seed(0)
    train, test = digits.load()
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    if rate is None:
        opt = pfopt.torch.ParameterFreeSGD(
            model.parameters(), steps
        )  # for torch.optim.SGD(…, lr, momentum=0.9)
    else:
        opt = torch.optim.SGD(model.parameters(), rate, momentum=0.9)
    for batch in digits.batches(train, steps):
        images, labels = map(torch.from_numpy, batch)
        opt.zero_grad()
        cross_entropy(model(images), labels.long()).backward()
        opt.step()
    images, labels = map(torch.from_numpy, test)
    return float((model(images).argmax(-1) == labels).float().mean())


if __name__ == "__main__":
    print(f"test accuracy {main():.3f}")
