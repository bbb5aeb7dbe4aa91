"""fastai: ``OptimWrapper`` makes any optimizer of torch one of fastai's; ``fit``, and no ``fit_one_cycle``.

``lr=1`` is a multiplier, where the Learner's own 0.001 would come through and be warned of; ``wd`` is the decay.
"""

from functools import partial

import torch
from fastai.basics import Adam, DataLoader, DataLoaders, Learner, OptimWrapper, accuracy, noop
from torch import nn
from torch.nn.functional import cross_entropy

import pfopt.torch
from examples import digits

EPOCHS = 20


def main(rate: float | None = None, epochs: int = EPOCHS) -> float:
    """Train and return the test accuracy; a ``rate`` is that of fastai's Adam, to compare with."""
    torch.manual_seed(0)
    train, test = (list(zip(torch.tensor(x), torch.tensor(y).long(), strict=True)) for x, y in digits.load())
    loaders = DataLoaders(DataLoader(train, digits.BATCH, shuffle=True), DataLoader(test, 400))
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    steps = epochs * len(loaders.train)
    ours = partial(OptimWrapper, opt=pfopt.torch.ParameterFreeAdamW, total_steps=steps)
    learner = Learner(
        loaders,
        model,
        cross_entropy,
        opt_func=ours if rate is None else Adam,
        lr=rate or 1.0,
        metrics=accuracy,
    )
    learner.logger = noop
    learner.fit(epochs)
    return float(learner.validate()[1])


if __name__ == "__main__":
    print(f"test accuracy {main():.3f}")
