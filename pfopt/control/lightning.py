"""``MonitorCallback`` for Lightning; ``import pfopt.control.lightning`` imports Lightning."""

from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities import rank_zero_info

from pfopt.control.monitor import Monitor, Tells


class MonitorCallback(Callback):
    """Shows a ``Monitor`` the losses of a fit, and ends it where the monitor would.

    Training losses are averaged on the devices, over all processes, and read every ``log_every_n_steps`` batches of the
    Trainer, when an optimizer of ``pfopt`` is asked for its status, too. The monitor is saved in checkpoints.
    """

    def __init__(
        self, monitor: Monitor | None = None, *, validation: str | None = None, stop: bool = True
    ) -> None:
        """Watch with the monitor, or with one at its defaults.

        Args:
            monitor: its ``total_steps``, where it has none, become those that the Trainer expects.
            validation: the name under which the module logs a loss on held-out data.
            stop: whether to end the fit.
        """
        self.monitor = Monitor() if monitor is None else monitor
        self.validation, self.stop = validation, stop
        self._losses: list[torch.Tensor] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Learn how long the fit will be, and forget another one."""
        if trainer.global_step < self.monitor.step:
            self.monitor.reset()
        expected = trainer.estimated_stepping_batches
        if self.monitor.total_steps is None and 0 < expected < float("inf"):
            self.monitor.total_steps = int(expected)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Take the loss that ``training_step`` returned."""
        loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
        if isinstance(loss, torch.Tensor):
            self._losses.append(loss.detach())
        if len(self._losses) >= max(int(getattr(trainer, "log_every_n_steps", 1)), 1):
            mean = trainer.strategy.reduce(torch.stack(self._losses).mean(), reduce_op="mean")
            self._losses = []
            statuses = [opt.status() for opt in trainer.optimizers if isinstance(opt, Tells)]
            status = statuses[0] if len(statuses) == 1 else None
            self.monitor.update(trainer.global_step, loss=mean, status=status)
            self._decide(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the validation loss.

        Raises:
            ValueError: the module has logged none under the name.
        """
        if self.validation is None or trainer.sanity_checking:
            return
        if self.validation not in trainer.callback_metrics:
            names = sorted(trainer.callback_metrics)
            raise ValueError(
                f"validation must be a metric that is logged, one of {names}, got {self.validation!r}"
            )
        self.monitor.update(trainer.global_step, validation=trainer.callback_metrics[self.validation])
        self._decide(trainer)

    def state_dict(self) -> dict[str, Any]:
        """What the monitor remembers."""
        return self.monitor.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The inverse."""
        self.monitor.load_state_dict(state_dict)

    def _decide(self, trainer: Trainer) -> None:
        wanted = self.stop and self.monitor.should_stop
        if trainer.strategy.reduce_boolean_decision(wanted, all=False):
            trainer.should_stop = True
            rank_zero_info(self.monitor.verdict.message)
