"""The ``Card`` of an optimizer of torch, from what it remembers, and the way back to a step size."""

import inspect
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from torch.optim import SGD, Optimizer

from pfopt import card
from pfopt.card import Card, GroupCard
from pfopt.core.records import Phase
from pfopt.torch.joint import Joint
from pfopt.torch.state import Groups, Memory

EXECUTION = ("params", "lr", "foreach", "fused", "capturable", "differentiable")  # no choice of a method


class Plain(NamedTuple):
    """What a group would be in the plain optimizer."""

    optimizer: str
    options: dict[str, Any]
    rate: float = 1.0  # its learning rate over the step size of this package
    peak: float = card.PEAK


def of_sgd(groups: Groups) -> list[Plain]:
    """The groups in ``torch.optim.SGD``, whose momentum is not normalised."""
    return [Plain("SGD", _options(SGD, group), 1 - group["momentum"]) for group in groups]


def of_base(base: Optimizer) -> list[Plain]:
    """The groups in the base alone, or in that of several which has them."""
    bases = base.bases if isinstance(base, Joint) else [base]
    owners = {
        id(param): type(own) for own in bases for group in own.param_groups for param in group["params"]
    }
    found = []
    for group in base.param_groups:
        kind = next((owners[id(param)] for param in group["params"]), type(bases[0]))
        builds_up = issubclass(kind, SGD) and group["momentum"] > 0
        peak = card.MOMENTUM_PEAK if builds_up else card.PEAK
        found.append(Plain(kind.__name__, _options(kind, group), peak=peak))
    return found


def make(plain: Sequence[Plain], groups: Groups, memory: Memory | None, scope: str) -> Card:
    """The card; ``memory`` is None before the first step, ``scope`` that of ``norms.Scopes``."""
    probes = [] if memory is None else memory.history
    rho = [1.0] * len(groups) if memory is None else memory.rho(groups)
    certified, rejected = card.certified(probes), card.rejected(probes)
    found = []
    for own, ratio, distance in zip(plain, rho, _distances(groups, memory, scope, rho), strict=True):
        least, most = (None if limit is None else limit * ratio * own.rate for limit in (certified, rejected))
        found.append(GroupCard(own.optimizer, own.options, least, most, distance, own.peak))
    return Card(tuple(found), card.noise(probes), len(probes), sum(probe.steps for probe in probes))


def step_size(given: Any, plain: Sequence[Plain], *, based: bool) -> float:
    """The step size that a card certifies, of the group that moves fastest.

    Raises:
        TypeError, ValueError: see ``ParameterFreeOptimizer.start_from``.
    """
    if not isinstance(given, Card):
        raise TypeError(f"card must be a pfopt.Card, got {type(given).__name__}")
    kinds, own = ({group.optimizer for group in groups} for groups in (given.groups, plain))
    if kinds != own:
        raise ValueError(
            f"card must be that of {', '.join(sorted(own))}, got one of {', '.join(sorted(kinds))}"
        )
    rates = [
        group.certified / (1.0 if based else 1 - group.options["momentum"])
        for group in given.groups
        if group.certified
    ]
    if not rates:
        raise ValueError("card must have a certified learning rate, got one in which none was certified")
    return max(rates)


def _options(kind: type[Optimizer], group: dict[str, Any]) -> dict[str, Any]:
    """What the group has of the arguments that the optimizer's constructor takes."""
    names = inspect.signature(kind).parameters
    return {name: group[name] for name in names if name in group and name not in EXECUTION}


def _distances(
    groups: Groups, memory: Memory | None, scope: str, rho: Sequence[float]
) -> Sequence[float | None]:
    """The largest displacement of each group; of tensors measured one by one the root of the sum of their squares."""
    unknown = [None] * len(groups)
    if memory is None:
        return unknown
    state, run, _, _ = memory.read()
    in_main_run = state.phase != Phase.SEARCH and run.step
    squares = np.atleast_1d(run.distance_sq if in_main_run else state.bracket.lo_distance_sq)
    if len(groups) == 1:
        return [float(np.sqrt(squares[0]))]
    sizes = [1 if scope == "group" else len(group["params"]) for group in groups]
    if len(squares) != 1 + sum(sizes):
        return unknown
    parts = np.split(squares[1:], np.cumsum(sizes)[:-1])
    return [float(np.sqrt(ratio * part.sum())) for ratio, part in zip(rho, parts, strict=True)]
