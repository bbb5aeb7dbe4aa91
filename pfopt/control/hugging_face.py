"""``MonitorCallback`` for Hugging Face's Trainer; ``import pfopt.control.hugging_face`` imports transformers."""

from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import ExportableState
from transformers.utils import logging

from pfopt.control.monitor import Monitor, Tells

logger = logging.get_logger(__name__)


class MonitorCallback(TrainerCallback, ExportableState):
    """Shows a ``Monitor`` the losses that the Trainer logs and evaluates, and ends the training where it would.

    The Trainer logs means over ``logging_steps`` steps; ``logging_nan_inf_filter=True``, its default, hides losses that
    are not finite from the log. With ``restore_callback_states_from_checkpoint=True`` the monitor is resumed, too.
    """

    def __init__(
        self,
        *,
        false_alarm: float = 0.05,
        min_gain: float = 0.01,
        validation: str = "eval_loss",
        stop: bool = True,
    ) -> None:
        """Watch with a new ``Monitor``.

        Args:
            false_alarm: of ``Monitor``.
            min_gain: of ``Monitor``.
            validation: the metric of ``evaluate`` to watch, lower is better.
            stop: whether to end the training.
        """
        self.monitor = Monitor(false_alarm=false_alarm, min_gain=min_gain)
        self.validation, self.stop = validation, stop

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Learn how long the training will be, and forget another one."""
        if state.global_step < self.monitor.step:
            self.monitor.reset()
        self.monitor.total_steps = state.max_steps if state.max_steps > 0 else None

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Take the training loss, and the status of an optimizer of ``pfopt``."""
        if logs and "loss" in logs:
            optimizer = getattr(
                kwargs.get("optimizer"), "optimizer", kwargs.get("optimizer")
            )  # accelerate wraps it
            status = optimizer.status() if isinstance(optimizer, Tells) else None
            self.monitor.update(state.global_step, loss=logs["loss"], status=status)
            self._decide(control)

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Take the validation loss."""
        if metrics and self.validation in metrics:
            self.monitor.update(state.global_step, validation=metrics[self.validation])
            self._decide(control)

    def state(self) -> dict[str, Any]:
        """What the Trainer saves."""
        own = {"false_alarm": self.monitor.false_alarm, "min_gain": self.monitor.min_gain}
        args = {**own, "validation": self.validation, "stop": self.stop}
        return {"args": args, "attributes": {"remembered": self.monitor.state_dict()}}

    @property
    def remembered(self) -> dict[str, Any]:
        """What the monitor remembers; the Trainer sets it when it resumes."""
        return self.monitor.state_dict()

    @remembered.setter
    def remembered(self, saved: dict[str, Any]) -> None:
        self.monitor.load_state_dict(saved)

    def _decide(self, control: TrainerControl) -> None:
        if self.stop and self.monitor.should_stop and not control.should_training_stop:
            control.should_training_stop = True
            logger.warning(self.monitor.verdict.message)
