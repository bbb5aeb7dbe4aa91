"""Lightning: the example, with what its Trainer does to an optimizer, and a run that is resumed and prolonged."""

from pathlib import Path
from typing import Any

import pytest
import torch

import examples  # before a library that imports torchvision

assert examples


@pytest.mark.parametrize(
    "options",
    [{}, {"accumulate_grad_batches": 2, "gradient_clip_val": 1.0}, {"precision": "bf16-mixed"}],
    ids=str,
)
def test_example(options: dict[str, Any]) -> None:
    pytest.importorskip("lightning")
    from examples import lightning_module

    assert lightning_module.main(epochs=12, **options) > 0.93


@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # warned again by ``pytest.warns``
@pytest.mark.filterwarnings("ignore:Checkpoint directory .* is not empty")
def test_resume_and_prolong(tmp_path: Path) -> None:
    """A run from a checkpoint in its middle, made at the point to deploy, ends where the whole run ended."""
    L = pytest.importorskip("lightning")
    from lightning.pytorch.callbacks import ModelCheckpoint
    from torch.utils.data import DataLoader, TensorDataset

    from examples import digits, lightning_module

    train, test = (TensorDataset(torch.tensor(x), torch.tensor(y).long()) for x, y in digits.load())

    def fit(epochs: int, checkpoint: str | None = None, more: int = 0) -> tuple[Any, Any]:
        class Network(lightning_module.Network):
            def on_train_start(self) -> None:
                for opt in self.trainer.optimizers if more else []:
                    opt.extend(more)  # type: ignore[attr-defined]

        L.seed_everything(0, verbose=False)
        network, keep = (
            Network(),
            ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1, every_n_epochs=2),
        )
        quiet: dict[str, Any] = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        trainer = L.Trainer(accelerator="cpu", max_epochs=epochs, callbacks=[keep], **quiet)
        trainer.fit(network, DataLoader(train, 64), DataLoader(test, 400), ckpt_path=checkpoint)
        return network, trainer.optimizers[0]

    whole, _ = fit(4)
    half = torch.load(tmp_path / "epoch=1.ckpt")
    assert half["optimizer_states"][0]["param_groups"][0]["search"]
    resumed, _ = fit(4, str(tmp_path / "epoch=1.ckpt"))
    for one, other in zip(whole.parameters(), resumed.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0.0, atol=0.0)
    with pytest.warns(UserWarning, match="constructor is dropped"):
        _, opt = fit(6, str(tmp_path / "epoch=3.ckpt"), more=44)
    assert opt.status().phase == "done"
    assert opt.status().step == 6 * 22
