"""One run with faults: a loop that a scenario drives, and what it lost."""

from __future__ import annotations

import copy
import io
import math
from collections.abc import Iterable
from typing import Any

import torch
from numpy.random import Generator
from torch import Tensor

from experiments.studies.faults.methods import Method
from experiments.studies.faults.problems import PROBLEMS, STEPS, Problem
from pfopt.core.records import Outcome


class Ledger:
    """What was done to a run, and what it lost."""

    def __init__(self) -> None:
        self.injected = 0  # faults
        self.lost: list[str] = []  # what they cost
        self.details: list[str] = []  # what some of them were

    def inject(self, detail: str) -> None:
        """Count a fault; a few are described."""
        self.injected += 1
        if len(self.details) < 3:
            self.details.append(detail)

    def lose(self, reason: str, when: object = True) -> None:
        """Note that something was lost."""
        if when and reason not in self.lost:
            self.lost.append(reason)

    def judge(self, *, finite: bool, worse: bool, message: str) -> None:
        """Note what is wrong with the point that is handed out, and a success that is claimed all the same."""
        self.lose("a parameter is not finite", not finite)
        self.lose("worse than the start", worse)
        self.lose("the status says success", self.lost and message.startswith(Outcome.CERTIFIED.message))


class Training(Ledger):
    """A problem and an optimizer."""

    def __init__(self, method: Method, problem: Problem, groups: Any = None, *, tells: bool = False) -> None:
        self.method, self.problem, self.tells = method, problem, tells and method.ours
        super().__init__()
        self.may_end_worse = False  # where a fault itself raises the loss, and late
        self.optimizer: Any = method.make(list(problem.parameters()) if groups is None else groups)
        self._mode("train")

    def params(self) -> list[Tensor]:
        """All parameters."""
        return list(self.problem.parameters())

    def backward(self, step: int, factor: float = 1.0) -> float:
        """Leave a step's gradients in the parameters; the loss, times ``factor``, is returned."""
        for param in self.params():
            param.grad = None
        loss = factor * self.problem.loss(step)
        if loss.requires_grad:
            loss.backward()
        return float(loss.detach())

    def move(self, loss: float | None = None) -> None:
        """A step of the optimizer, told the loss where this run tells it."""
        self.optimizer.step(**{"loss": loss} if self.tells and loss is not None else {})

    def steps(self, steps: Iterable[int], factor: float = 1.0) -> None:
        """Steps without a fault."""
        for step in steps:
            self.move(self.backward(step, factor))

    def end(self) -> float:
        """The loss at the point that is handed out, and whether that is lost."""
        self._mode("eval")
        finite = all(bool(torch.isfinite(param).all()) for param in self.params())
        end = self.problem.value() if finite else math.nan
        worse = finite and not self.may_end_worse and self.problem.is_worse(end)
        self.judge(
            finite=finite, worse=worse, message=self.optimizer.status().message if self.method.ours else ""
        )
        return end

    def handed_out(self) -> list[Tensor]:
        """Copies of the parameters at the point that is handed out."""
        self._mode("eval")
        values = [param.detach().clone() for param in self.params()]
        self._mode("train")
        return values

    def saved(self) -> bytes:
        """A checkpoint."""
        file = io.BytesIO()
        torch.save({"model": self.problem.state_dict(), "optimizer": self.optimizer.state_dict()}, file)
        return file.getvalue()

    def load(self, checkpoint: bytes) -> None:
        """Read a checkpoint as torch does by default."""
        read = torch.load(io.BytesIO(checkpoint), weights_only=True)
        self.problem.load_state_dict(read["model"])
        self.optimizer.load_state_dict(read["optimizer"])

    def _mode(self, name: str) -> None:
        switch = getattr(self.optimizer, name, None)
        if callable(switch):
            switch()


def begin(method: Method, name: str, draw: Generator, **options: Any) -> Training:
    """A run at its first step."""
    return Training(method, PROBLEMS[name](draw), **options)


def again(run: Training) -> Training:
    """The same problem at its first step, for a run beside ``run``, which must not have moved yet."""
    return Training(run.method, copy.deepcopy(run.problem), tells=run.tells)


def any_step(draw: Generator) -> int:
    """A step of a phase that is as likely as every other: the first, the search, its end, the main run, the last."""
    low, high = [(0, 1), (1, 8), (8, 30), (30, STEPS - 1), (STEPS - 1, STEPS)][draw.integers(5)]
    return int(draw.integers(low, high))


def spoil(tensors: Iterable[Tensor | None], value: float, part: str, draw: Generator) -> None:
    """Put ``value`` into all tensors, into one of them, or into one entry."""
    dense = [t._values() if t.is_sparse else t for t in (t.detach() for t in tensors if t is not None)]
    dense = [tensor.reshape(-1) for tensor in dense if tensor.numel()]
    if not dense:
        return
    one = dense[int(draw.integers(len(dense)))]
    if part == "one entry":
        one[int(draw.integers(len(one)))] = value
    else:
        for tensor in dense if part == "all" else [one]:
            tensor.fill_(value)
