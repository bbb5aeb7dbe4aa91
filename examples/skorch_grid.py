"""skorch: the optimizer is an argument, the grid has no rates, and the callback deploys the average.

``optimizer__total_steps`` is left out, since folds differ in length: such a run has no end.
"""

from typing import Any

import torch
from sklearn.model_selection import GridSearchCV
from skorch import NeuralNetClassifier
from skorch.callbacks import Callback
from torch import nn

import pfopt.torch
from examples import digits


class Average(Callback):
    """The point to deploy, once training is over."""

    def on_train_end(self, net: Any, **_: Any) -> None:
        """Put it into the module."""
        net.optimizer_.eval()


class Network(nn.Module):
    """64 inputs, one hidden layer, 10 outputs."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits, shape=(n, 10)."""
        return self.layers(images)


def main(rate: float | None = None, epochs: int = 15) -> float:
    """Search the width, and return the test accuracy; a ``rate`` is that of skorch's SGD, to compare with."""
    torch.manual_seed(0)
    (images, labels), test = digits.load()
    ours = {"optimizer": pfopt.torch.ParameterFreeSGD, "lr": 1.0, "callbacks": [Average]}
    usual = {"optimizer": torch.optim.SGD, "lr": rate, "optimizer__momentum": 0.9}
    net = NeuralNetClassifier(
        Network,
        criterion=nn.CrossEntropyLoss,
        max_epochs=epochs,
        batch_size=64,
        iterator_train__shuffle=True,
        train_split=None,
        verbose=0,
        **(ours if rate is None else usual),
    )
    grid = GridSearchCV(net, {"module__width": [16, 64]}, cv=3, refit=True)
    grid.fit(images, labels.astype("int64"))
    return float(grid.score(test[0], test[1]))


if __name__ == "__main__":
    print(f"test accuracy {main():.3f}")
