"""The callbacks end a fit where the monitor would, learn how long it is, and are resumed with it."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import examples
import pfopt.torch
from pfopt.control import Kind
from pfopt.status import Status

assert examples  # before a library that imports torchvision
ROWS = [(torch.ones(2), torch.zeros(1)) for _ in range(64)]


def optimizer(params: Any, rate: float) -> torch.optim.Optimizer:
    return torch.optim.SGD(params, rate)


class Line(nn.Module):
    """Least squares, in the way of Hugging Face."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 1)

    def forward(self, x: Tensor, labels: Tensor) -> dict[str, Tensor]:
        answer = self.layer(x)
        return {"loss": ((answer - labels) ** 2).mean(), "logits": answer}


def fit(callback: Any, rate: float, epochs: int, **options: Any) -> Any:
    """Lightning, on a line."""
    L = pytest.importorskip("lightning")

    class Module(L.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.line = Line()

        def training_step(self, batch: list[Tensor], index: int) -> Tensor:
            return self.line(*batch)["loss"]

        def validation_step(self, batch: list[Tensor], index: int) -> None:
            self.log("val_loss", self.line(*batch)["loss"])

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return optimizer(self.parameters(), rate)

    L.seed_everything(0, verbose=False)
    quiet: dict[str, Any] = dict.fromkeys(("logger", "enable_progress_bar", "enable_model_summary"), False)
    quiet |= {"enable_checkpointing": False, "accelerator": "cpu", "log_every_n_steps": 1}
    trainer = L.Trainer(max_epochs=epochs, callbacks=[callback], **(quiet | options))
    data = torch.utils.data.DataLoader(ROWS, 16)  # type: ignore[arg-type]
    trainer.fit(Module(), data, data)
    return trainer


def test_lightning_ends_a_fit_that_diverges() -> None:
    pytest.importorskip("lightning")
    from pfopt.control.lightning import MonitorCallback

    callback = MonitorCallback(validation="val_loss")
    trainer = fit(callback, rate=1e4, epochs=20)
    assert callback.monitor.verdict.kind == Kind.DIVERGES
    assert trainer.global_step < 40
    assert callback.monitor.total_steps == 80
    assert callback.monitor.best_step == 1


def test_lightning_goes_on_where_it_is_told_to() -> None:
    pytest.importorskip("lightning")
    from pfopt.control.lightning import MonitorCallback

    callback = MonitorCallback(stop=False)
    assert fit(callback, rate=1e4, epochs=10).global_step == 40
    assert callback.monitor.should_stop
    other = MonitorCallback()
    other.load_state_dict(callback.state_dict())
    assert other.monitor.verdict == callback.monitor.verdict


def test_lightning_asks_the_optimizer_and_names_the_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("lightning")
    from pfopt.control.lightning import MonitorCallback

    def ours(params: Any, rate: float) -> torch.optim.Optimizer:
        return pfopt.torch.ParameterFreeSGD(params, 1000)

    monkeypatch.setattr(sys.modules[__name__], "optimizer", ours)
    callback = MonitorCallback(validation="loss")
    with pytest.raises(ValueError, match=r"one of \['val_loss'\], got 'loss'"):
        fit(callback, rate=1.0, epochs=1)
    assert callback.monitor.total_steps == 1000
    assert isinstance(callback.monitor.verdict.message, str)


@pytest.mark.parametrize("rate", [1e4, 1e-3])
def test_hugging_face(rate: float, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    from pfopt.control.hugging_face import MonitorCallback

    callback, model = MonitorCallback(), Line()
    rows = [{"x": x, "labels": y} for x, y in ROWS]
    arguments: dict[str, Any] = {
        "logging_steps": 1,
        "eval_steps": 10,
        "eval_strategy": "steps",
        "max_steps": 40,
    }
    quiet: dict[str, Any] = {
        "report_to": "none",
        "disable_tqdm": True,
        "save_strategy": "no",
        "use_cpu": True,
    }
    trainer = transformers.Trainer(
        model,
        transformers.TrainingArguments(
            str(tmp_path), lr_scheduler_type="constant", max_grad_norm=0.0, **arguments, **quiet
        ),
        train_dataset=rows,
        eval_dataset=rows,
        optimizers=(torch.optim.SGD(model.parameters(), rate), None),
        callbacks=[callback],
    )
    trainer.train()
    assert callback.monitor.total_steps == 40
    assert callback.monitor.verdict.kind == (Kind.DIVERGES if rate > 1 else Kind.IMPROVES)
    assert (trainer.state.global_step < 40) == (rate > 1)
    assert callback.monitor.best_step is not None
    resumed = MonitorCallback.from_state(callback.state())
    assert resumed.monitor.state_dict() == callback.monitor.state_dict()


def test_hugging_face_asks_an_optimizer_of_ours() -> None:
    """Also where accelerate has wrapped it."""
    transformers = pytest.importorskip("transformers")
    from pfopt.control.hugging_face import MonitorCallback

    class Ours:
        def status(self) -> Status:
            return Status("search", 1, 5, 70, 0.1, 1.0, 1.0, "")

    class Wrapped:
        optimizer = Ours()

    callback, state = MonitorCallback(), transformers.TrainerState(global_step=5)
    callback.on_log(None, state, None, {"loss": float("nan")}, optimizer=Wrapped())  # type: ignore[arg-type]
    assert "still searches" in callback.monitor.verdict.message
    assert callback.monitor.total_steps == 75
