"""``python -m docs.site.pictures``: one run of ``ParameterFreeSGD``, for docs/run.png."""

from pathlib import Path

import matplotlib.pyplot as plt
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import pfopt.torch
from examples import digits

STEPS = 800
PICTURE = Path(__file__).resolve().parents[1] / "run.png"


def run() -> tuple[list[float], list[float], list[float], int]:
    """Step size and loss at every gradient, the loss of the average at every tenth, and how long the search was."""
    torch.manual_seed(0)
    train, _ = digits.load()
    images, labels = torch.from_numpy(train[0]), torch.from_numpy(train[1]).long()
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    opt = pfopt.torch.ParameterFreeSGD(model.parameters(), STEPS)
    rates, losses, averages = [], [], []
    for step, batch in enumerate(digits.batches(train, STEPS)):
        opt.zero_grad()
        loss = cross_entropy(model(torch.from_numpy(batch[0])), torch.from_numpy(batch[1]).long())
        loss.backward()
        opt.step()
        losses.append(loss.item())
        rates.append(opt.status().step_size)
        if step % 10 == 0:
            with opt.averaged(), torch.no_grad():
                averages.append(cross_entropy(model(images), labels).item())
    return rates, losses, averages, sum(probe.steps for probe in opt.history())


def main() -> None:
    """Draw it."""
    rates, losses, averages, searched = run()
    figure, (above, below) = plt.subplots(2, 1, figsize=(8, 4.6), sharex=True, layout="constrained")
    above.plot(rates, linewidth=1)
    below.plot(losses, linewidth=0.7, label="loss of a batch, where gradients are taken")
    below.plot(range(0, STEPS, 10), averages, "k:", label="training loss of the point to deploy")
    for axes, name in ((above, "step size of the whole"), (below, "loss")):
        axes.axvspan(0, searched, color="tab:orange", alpha=0.15, linewidth=0)
        axes.set(yscale="log", ylabel=name, xlim=(0, STEPS))
    above.annotate("search", (searched / 2, 1.02), xycoords=("data", "axes fraction"), ha="center")
    above.annotate("main run", (searched + 20, 1.02), xycoords=("data", "axes fraction"))
    below.set_xlabel("gradient")
    below.legend(frameon=False)
    figure.savefig(PICTURE, dpi=120)
    print(f"{PICTURE.name}: {searched} of {STEPS} gradients in the search")


if __name__ == "__main__":
    main()
