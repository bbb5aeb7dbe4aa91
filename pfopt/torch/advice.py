"""Warnings about what is allowed and hardly ever meant; each is given once."""

import os
import sys
import warnings
from typing import Any

import torch

from pfopt.core.records import Phase
from pfopt.torch import checkpoint
from pfopt.torch.bundles import Bundle
from pfopt.torch.state import Memory

NEAR = 0.1, 10.0  # learning rates that a person may mean as a multiplier
FALL = 0.9  # of the highest lr in the main run: below, it falls
OWN = tuple(os.path.dirname(each) + os.sep for each in (os.path.dirname(__file__), str(torch.__file__)))


class Advice:
    """What was said already."""

    def __init__(self) -> None:
        self._judged = False  # the learning rates
        self._wrote = False  # that what was written is undone
        self._highest: float | None = 0.0  # learning rate in the main run; None once a fall was told

    def on_rates(self, name: str, groups: list[dict[str, Any]], memory: Memory, *, decays: bool) -> None:
        """Say it where every lr is far from 1, and where one falls on top of steps that decay anyway."""
        if memory.phase == Phase.SEARCH and not self._judged and not memory.history:
            self._on_far_rates(name, groups)
        elif memory.phase == Phase.MAIN and decays and self._highest is not None:
            now = max(float(group["lr"]) for group in groups)
            self._highest = max(self._highest, now)
            if now < FALL * self._highest:
                self._highest = None
                _warn(
                    f"{name}: lr falls in the main run, whose own steps decay already, so that it slows down too "
                    "early; keep lr constant: a schedule needs no more than a warm-up",
                )

    def on_write(self, name: str) -> None:
        """Say it where the end of a probe is going to undo what others have written."""
        if not self._wrote:
            self._wrote = True
            _warn(
                f"{name}: parameters were written to while the search runs, and where a probe ends they go back to "
                "where it began, so that this is undone; write before the first step, or once status().phase is no "
                'longer "search" (a clamp or a projection after every step needs neither)',
            )

    def _on_far_rates(self, name: str, groups: list[dict[str, Any]]) -> None:
        names = ("lr", "initial_lr", "max_lr")  # a warm-up legitimately begins low
        rates = [max(float(group.get(name) or 0.0) for name in names) for group in groups]
        rates = [rate for rate in rates if rate > 0]
        self._judged = bool(rates)
        if rates and not any(NEAR[0] <= rate <= NEAR[1] for rate in rates):
            _warn(
                f"{name}: lr is a multiplier of the step size that is searched, no learning rate, and every group's "
                f"is far from 1, got lr={', '.join(f'{rate:g}' for rate in rates)}; leave it at 1, and do not hand "
                "on the learning rate of another optimizer",
            )


def on_idle_step(name: str, memory: Memory, total_steps: int) -> None:
    """Say it at the first step beyond the budget."""
    if memory.controller.state.spent + memory.idle == total_steps + 1:
        _warn(
            f"{name}: the budget of total_steps={total_steps} gradients is spent and the "
            "parameters hold the returned point; this step and later ones change nothing",
        )


def on_total_steps(name: str, own: int | None, saved: int | None) -> None:
    """Say it where a checkpoint overrules the constructor."""
    if own != saved:
        _warn(
            f"{name}: total_steps={own} of the constructor is dropped: a run goes on as it was planned when it "
            f"began, with total_steps={saved} of the state that was loaded",
        )


def on_another_point(name: str, memory: Memory, bundles: list[Bundle]) -> None:
    """Say it where the parameters are not those with which the state was saved; looked at once after loading."""
    saved, memory.checksum = memory.checksum, ""
    found = checkpoint.checksum(bundles)
    if found != saved and checkpoint.same_kind(found, saved):
        held = "the point to deploy" if memory.deployed else "the training point"
        _warn(
            f"{name}: the parameters are not those that they were when the state was saved, at {held}; save the "
            "model and the optimizer together, both inside averaged() (or after eval()) or both outside, and load "
            "both before the first step",
        )


def _warn(text: str) -> None:
    """A warning at the line that called, past this package and torch's decorators."""
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(OWN):
        level, frame = level + 1, frame.f_back
    warnings.warn(text, stacklevel=level)
