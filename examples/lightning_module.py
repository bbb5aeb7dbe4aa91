"""Lightning: ``configure_optimizers`` returns the optimizer, and two hooks validate on the point to deploy.

They are the module's and no callback's, so that a checkpoint made after validation saves what was validated.
"""

import lightning as L
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

import pfopt.torch
from examples import digits


class Network(L.LightningModule):
    """64 inputs, 64 hidden units, 10 outputs; a ``rate`` is that of ``torch.optim.AdamW``, to compare with."""

    def __init__(self, rate: float | None = None) -> None:
        super().__init__()
        self.layers, self.rate = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)), rate

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """One line, in which the Trainer says how many steps it will make."""
        if self.rate is not None:
            return torch.optim.AdamW(self.parameters(), self.rate)
        return pfopt.torch.ParameterFreeAdamW(self.parameters(), int(self.trainer.estimated_stepping_batches))

    def training_step(self, batch: list[Tensor], index: int) -> Tensor:
        """Mean cross-entropy."""
        return cross_entropy(self.layers(batch[0]), batch[1])

    def validation_step(self, batch: list[Tensor], index: int) -> None:
        """The accuracy."""
        self.log("accuracy", (self.layers(batch[0]).argmax(-1) == batch[1]).float().mean())

    def on_validation_start(self) -> None:
        """Put the point to deploy into the model."""
        for opt in self.trainer.optimizers if self.rate is None else []:
            opt.eval()

    def on_validation_end(self) -> None:
        """Go on where training was."""
        for opt in self.trainer.optimizers if self.rate is None else []:
            opt.train()


def main(rate: float | None = None, epochs: int = 20, **options: object) -> float:
    """Train and return the test accuracy; ``options`` are the Trainer's."""
    L.seed_everything(0, verbose=False)
    names = "logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"
    train, test = (TensorDataset(torch.tensor(x), torch.tensor(y).long()) for x, y in digits.load())
    trainer = L.Trainer(accelerator="cpu", max_epochs=epochs, **(dict.fromkeys(names, False) | options))
    trainer.fit(Network(rate), DataLoader(train, digits.BATCH, shuffle=True), DataLoader(test, 400))
    return float(trainer.callback_metrics["accuracy"])


if __name__ == "__main__":
    print(f"test accuracy {main():.3f}")
