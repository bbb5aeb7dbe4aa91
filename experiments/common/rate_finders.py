"""The learning rates that Lightning's and fastai's own finders suggest, at their defaults."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader

import examples  # noqa: F401  (before a library that imports torchvision)

BATCHES = 100  # of a finder
Loss = Callable[[int], Tensor]  # of a batch, by its number
Make = Callable[[list[Any], float], Optimizer]


class _Losses(nn.Module):
    """A model of which the output is the loss of the next batch."""

    def __init__(self, model: nn.Module, loss: Loss) -> None:
        super().__init__()
        self.model, self.loss, self.step = model, loss, 0

    def forward(self, *_: object) -> Tensor:
        """A scalar."""
        self.step += 1
        return self.loss(self.step - 1)


def lightning(model: nn.Module, loss: Loss, make: Make) -> float | None:
    """Of ``Tuner.lr_find``: where the loss falls fastest; None where it suggests nothing."""
    import lightning as pl
    from lightning.pytorch.tuner.tuning import Tuner

    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.losses, self.lr = _Losses(model, loss), 1e-3

        def training_step(self, *_: object) -> Tensor:
            return self.losses()

        def configure_optimizers(self) -> Optimizer:
            return make([each for each in model.parameters() if each.requires_grad], self.lr)

    quiet: dict[str, Any] = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    with _silent(), TemporaryDirectory() as folder:
        trainer = pl.Trainer(accelerator="cpu", max_steps=BATCHES, default_root_dir=folder, **quiet)
        finder = Tuner(trainer).lr_find(Module(), train_dataloaders=_batches())
        return None if finder is None else finder.suggestion()


def fastai(model: nn.Module, loss: Loss, make: Make) -> float | None:
    """Of ``Learner.lr_find``: a point in the longest valley of the loss; None where the first losses end it."""
    from fastai.callback.schedule import valley
    from fastai.data.core import DataLoaders
    from fastai.learner import Learner
    from fastai.optimizer import OptimWrapper

    def optimizer(*_: object, **__: object) -> Any:
        params = [each for each in model.parameters() if each.requires_grad]
        return OptimWrapper(opt=make(params, 1.0))

    with _silent(), TemporaryDirectory() as folder:
        loaders: Any = DataLoaders(_batches(), _batches())
        learner = Learner(
            loaders,
            _Losses(model, loss),
            loss_func=lambda output, _: output,
            opt_func=cast(Any, optimizer),
            path=folder,
        )
        with learner.no_bar(), learner.no_logging():
            try:
                return float(learner.lr_find(show_plot=False, suggest_funcs=valley).valley)
            except IndexError:  # of an empty list of losses
                return None


def _batches() -> Any:
    rows = torch.zeros(2 * BATCHES, 1)
    return DataLoader(torch.utils.data.TensorDataset(rows, rows), batch_size=1)


@contextmanager
def _silent() -> Iterator[None]:
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
