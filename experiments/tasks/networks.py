"""Networks: any torch module with its data, its loss and what is measured on held-out rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional as F
from torch.optim.swa_utils import update_bn

from experiments.tasks.task import Problem, sample_batches

Loss = Callable[[Tensor, Tensor], Tensor]
STATISTICS_BATCHES, STATISTICS_ROWS = 10, 128  # that batch norm's buffers are estimated on
CPU = torch.device("cpu")
AT_ONCE = 500  # rows of one forward pass of an evaluation


class Split(NamedTuple):
    """Training and held-out rows: inputs (rows, ...) and targets (rows, ...)."""

    inputs: Tensor
    targets: Tensor
    test_inputs: Tensor
    test_targets: Tensor

    def to(self, device: torch.device) -> Split:
        """The same rows on ``device``."""
        return Split(*(part.to(device) for part in self))


def token_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy of logits (rows, length, tokens) against targets (rows, length)."""
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


class DeepProblem(Problem):
    """A network to be trained by any torch optimizer; the objective is the mean loss of the rows."""

    def __init__(self, task: DeepTask) -> None:
        super().__init__()
        self.task = task
        self.model = task.build()

    def forward(self, rows: Tensor) -> Tensor:
        """Mini-batch objective, a scalar; ``rows`` has shape (batch,)."""
        split = self.task.split
        return self.task.loss(self.model(split.inputs[rows]), split.targets[rows])

    @torch.no_grad()
    def score(self) -> tuple[float, float]:
        """Loss on (at most ``eval_rows``) training rows, and the test metric."""
        task, split = self.task, self.task.split
        with self._evaluated():
            value = self._mean(task.loss, split.inputs, split.targets)
            metric = _accuracy if task.test_metric == "accuracy" else task.loss
            return value, self._mean(metric, split.test_inputs, split.test_targets)

    @torch.no_grad()
    def predictions(self) -> tuple[Tensor, Tensor] | None:
        """Predicted and true class of the held-out rows."""
        if self.task.test_metric != "accuracy":
            return None
        inputs, targets = (x[: self.task.eval_rows] for x in self.task.split[2:])
        with self._evaluated():
            return torch.cat([self.model(x).argmax(-1) for x in inputs.split(AT_ONCE)]).cpu(), targets.cpu()

    def _mean(self, metric: Loss, inputs: Tensor, targets: Tensor) -> float:
        parts = [x[: self.task.eval_rows].split(AT_ONCE) for x in (inputs, targets)]
        sums = [metric(self.model(x), y) * len(x) for x, y in zip(*parts, strict=True)]
        return (torch.stack(sums).sum() / sum(map(len, parts[0]))).item()

    @contextmanager
    def _evaluated(self) -> Iterator[None]:
        """Evaluation mode, with batch norm's buffers re-estimated for the parameters as they stand.

        An average of iterates never saw a batch, so its buffers must be; every method gets the same treatment.
        """
        kept = [buffer.clone() for buffer in self.model.buffers()]
        if kept:
            rows = self.task.batches(0, STATISTICS_BATCHES, STATISTICS_ROWS)
            self.model.train()
            update_bn((self.task.split.inputs[batch] for batch in rows), self.model)
        self.model.eval()
        try:
            yield
        finally:
            self.model.train()
            for buffer, value in zip(self.model.buffers(), kept, strict=True):
                buffer.copy_(value)


@dataclass(frozen=True, eq=False)
class DeepTask:
    """A network, trained on float32 data.

    Attributes:
        name: Key of the registry.
        load: Returns the data.
        build: Returns a freshly initialised model.
        loss: Mean loss of outputs and targets.
        test_metric: "accuracy", or "loss": the same loss on held-out rows.
        eval_rows: Training and held-out rows that an evaluation reads, the first ones.
        device: Where data and model are.
    """

    name: str
    load: Callable[[], Split]
    build: Callable[[], nn.Module]
    loss: Loss = F.cross_entropy
    test_metric: str = "accuracy"
    eval_rows: int = 2000
    device: torch.device = CPU
    minimum: float = 0.0  # not known; the loss itself is reported

    def __deepcopy__(self, memo: dict[int, Any]) -> DeepTask:
        return self

    @cached_property
    def split(self) -> Split:
        """The data, on the task's device."""
        return self.load().to(self.device)

    def problem(self, seed: int) -> DeepProblem:
        """A freshly initialised network."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return DeepProblem(self).to(self.device)

    def batches(self, seed: int, steps: int, batch_size: int = 32) -> Tensor:
        """Row indices of a run, shape (steps, batch_size): with replacement, the same for every method."""
        return sample_batches(len(self.split.inputs), seed, steps, batch_size).to(self.device)


@dataclass(frozen=True, eq=False)
class LaneNetwork(DeepTask):
    """A network of linear layers, many of which train at once; convolutions would gain nothing from it."""

    def lane_params(self, lanes: int, seed: int) -> list[Tensor]:
        """``lanes`` copies of the initial parameters, each of shape (lanes, *shape)."""
        return [p.detach().expand(lanes, *p.shape).clone() for p in self.problem(seed).parameters()]

    def lane_grads(self, params: list[Tensor], rows: Tensor) -> Sequence[Tensor]:
        """Mini-batch gradient of every lane, shapes of ``params``."""
        inputs, targets = self.split.inputs[rows], self.split.targets[rows]
        outputs = self._outputs

        def loss(params: list[Tensor]) -> Tensor:
            return self.loss(outputs(params, inputs), targets)

        return vmap(grad(loss))(params)

    @torch.no_grad()
    def lane_scores(self, params: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Training loss and test metric, each of shape (lanes,)."""
        inputs, targets, test_inputs, test_targets = (x[: self.eval_rows] for x in self.split)
        metric, outputs = _accuracy if self.test_metric == "accuracy" else self.loss, self._outputs

        def scores(params: list[Tensor]) -> tuple[Tensor, Tensor]:
            value = self.loss(outputs(params, inputs), targets)
            return value, metric(outputs(params, test_inputs), test_targets)

        return vmap(scores)(params)

    @cached_property
    def _outputs(self) -> Callable[[list[Tensor], Tensor], Tensor]:
        """The model as a function of its parameters and inputs."""
        model = self.problem(0).model
        names = [name for name, _ in model.named_parameters()]

        def outputs(params: list[Tensor], inputs: Tensor) -> Tensor:
            return functional_call(model, dict(zip(names, params, strict=True)), (inputs,))

        return outputs


def _accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    """Share of the rows whose largest logit is that of their label."""
    return (logits.argmax(-1) == labels).float().mean()
