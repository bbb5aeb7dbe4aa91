"""``Card``: what a search has found, for people who want to train by a plain optimizer."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pfopt.core.averaging import variance
from pfopt.status import ProbeRecord

PEAK = 1.0  # of a schedule, in units of the largest certified learning rate
MOMENTUM_PEAK = 0.5  # likewise, where a probe ended before torch's SGD had its momentum
STRAIGHT = (
    2.0**-3
)  # of the certified step size, at most, leaves gradients as they are for the length of a probe


@dataclass(frozen=True)
class GroupCard:
    """One parameter group, in learning rates of its plain optimizer.

    Attributes:
        optimizer: the class of that optimizer, "SGD" of a ``ParameterFreeSGD`` and the base's of a ``ParameterFree``.
        options: its keyword arguments but for ``lr``.
        certified: the largest learning rate that a probe certified; None where none was.
        rejected: the smallest one above it that a probe rejected, since it is too large or, where none was certified,
            since gradients are mostly noise; None where none was.
        distance: the largest displacement from where the search began, in the main run or, before it, in the probe that
            was certified; around a base in the metric of its directions. None where it was not measured by groups.
        peak: by what ``arguments`` multiplies the certified rate: 1, and ½ around torch's SGD with momentum, which
            builds up beyond the length of a probe (docs/card.md has where it comes from).
    """

    optimizer: str
    options: dict[str, Any]
    certified: float | None
    rejected: float | None
    distance: float | None
    peak: float = PEAK

    def arguments(self) -> dict[str, Any]:
        """The keyword arguments of the plain optimizer: ``torch.optim.AdamW(params, **group.arguments())``.

        The rate is the peak of a schedule that falls to zero, such as a cosine's or a line's; docs/card.md has what
        it reaches.

        Raises:
            ValueError: no learning rate was certified.
        """
        if self.certified is None:
            raise ValueError("arguments() needs a certified learning rate, and no probe certified one")
        return {"lr": self.peak * self.certified, **self.options}


@dataclass(frozen=True)
class Card:
    """What a search has found; ``print(card)`` shows it as a table.

    Attributes:
        groups: of each parameter group.
        noise: the share of ‖g‖² near the start that is noise, in [0, 1]: 1 − ‖∇f‖²/E‖g‖², from the probe of the
            smallest step size; around a base that of its directions, where momentum has averaged some away. None where
            no probe was short enough: its path must hardly bend.
        probes: how many have ended.
        gradients: that they took.
    """

    groups: tuple[GroupCard, ...]
    noise: float | None
    probes: int
    gradients: int

    def arguments(self) -> dict[str, Any]:
        """The keyword arguments of the plain optimizer: ``torch.optim.SGD(params, **card.arguments())``.

        Raises:
            ValueError: no learning rate was certified, or the groups differ in their arguments; then each has its own.
        """
        first, *others = [group.arguments() for group in self.groups]
        if any(each != first for each in others) or len({group.optimizer for group in self.groups}) > 1:
            raise ValueError(
                "arguments() needs groups of one optimizer and the same arguments; these differ, take "
                f"card.groups[i].arguments() of each of the {len(self.groups)}"
            )
        return first

    def __str__(self) -> str:
        noise = "unknown" if self.noise is None else f"{self.noise:.0%} of the mean squared gradient"
        head = f"{self.probes} probes, {self.gradients} gradients; noise {noise}"
        title = ("group", "optimizer", "certified", "rejected", "distance", "arguments")
        rows = [title, *(_row(place, group) for place, group in enumerate(self.groups))]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
        return "\n".join([head, *lines])


def certified(probes: Sequence[ProbeRecord]) -> float | None:
    """The step size of the latest probe that was certified: within a search they only become larger."""
    return next((probe.step_size for probe in reversed(probes) if probe.accepted), None)


def rejected(probes: Sequence[ProbeRecord]) -> float | None:
    """The smallest rejected step size of the latest search, above what it certified."""
    least = certified(probes) or 0.0
    found = [probe.step_size for probe in probes if not probe.accepted and probe.step_size > least]
    return (found[-1] if least else min(found)) if found else None


def noise(probes: Sequence[ProbeRecord]) -> float | None:
    """The share of ‖g‖² that is noise, see ``Card``."""
    largest = STRAIGHT * (certified(probes) or math.inf)
    moved = [probe for probe in probes if probe.steps > 1 and probe.lipschitz > 0 and probe.distance > 0]
    straight = [probe for probe in moved if probe.step_size <= largest]
    if not straight:
        return None
    probe = min(straight, key=lambda probe: (probe.step_size, -probe.steps))
    path_sq = (probe.distance / probe.step_size / probe.lipschitz) ** 2  # in units of the mean ‖g‖²
    return min(max(variance(probe.steps, probe.steps, path_sq), 0.0), 1.0)


def _row(place: int, group: GroupCard) -> tuple[str, ...]:
    numbers = (
        "-" if each is None else f"{each:.3g}" for each in (group.certified, group.rejected, group.distance)
    )
    arguments = group.options if group.certified is None else group.arguments()
    told = (
        f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in arguments.items()
    )
    return (str(place), group.optimizer, *numbers, ", ".join(told))
