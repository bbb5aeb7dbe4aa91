"""What is said of a run: ``Kind``, ``Verdict``, and the sentences."""

import math
from enum import IntEnum
from typing import NamedTuple

from pfopt.control.trend import Interval


class Kind(IntEnum):
    """What the losses show."""

    UNDECIDED = 0
    IMPROVES = 1
    PLATEAU = 2
    OVERFITS = 3
    DIVERGES = 4
    MOSTLY_NOISE = 5


class Verdict(NamedTuple):
    """What is known of the run by now."""

    kind: Kind
    since: int | None  # the step from which on it holds; None where nothing is certain
    message: str  # a sentence or two for a person


SEARCHING = Verdict(
    Kind.UNDECIDED,
    None,
    "Undecided: the optimizer still searches for its step size, and its losses say nothing yet.",
)
EARLY = Verdict(Kind.UNDECIDED, None, "Undecided: the losses are too few so far.")


def undecided(gain: Interval, steps: int, known: bool) -> Verdict:
    """Nothing is certain but the bounds on what ``steps`` more gain."""
    message = (
        f"Undecided: what the losses gain is within their noise; {_rest(steps, known)} {_at_most(gain)}."
    )
    return Verdict(Kind.UNDECIDED, None, message)


def improves(since: int, name: str) -> Verdict:
    """The stream falls for certain; ``name`` is what it is called."""
    return Verdict(
        Kind.IMPROVES, since, f"Still improves: the {name} loss has been falling since step {since}."
    )


def plateau(since: int, name: str, gain: Interval, steps: int, known: bool) -> Verdict:
    """``steps`` more gain too little; ``known``: they are what is left, and not as many again."""
    rest = f"{_rest(steps, known)} {_at_most(gain)}"
    message = f"Plateau: no gain of the {name} loss that is worth it since step {since}; {rest}."
    return Verdict(Kind.PLATEAU, since, message)


def overfits(since: int, best: int, training: int) -> Verdict:
    """The validation loss rises, and the training loss does not diverge; ``training`` is its direction."""
    beside = {-1: "still falls", 0: "does not rise", 1: "has kept most of what it gained"}[training]
    message = (
        f"Overfits: the validation loss has been rising since step {since} while the training loss {beside}; "
        f"it was lowest at step {best}."
    )
    return Verdict(Kind.OVERFITS, since, message)


def diverges(since: int, finite: bool) -> Verdict:
    """The training loss rises and has lost what it gained, or the newest loss is not finite."""
    if not finite:
        return Verdict(Kind.DIVERGES, since, f"Diverges: the loss at step {since} is not finite.")
    return Verdict(Kind.DIVERGES, since, f"Diverges: the training loss has been rising since step {since}.")


def mostly_noise(since: int, times: Interval) -> Verdict:
    """``times`` as many gradients would bring their noise down to their mean."""
    bounds = f"at least {times.low:.3g}"
    if times.high < math.inf:
        bounds = f"between {times.low:.3g} and {times.high:.3g}"
    message = (
        f"Mostly noise: since step {since} the gradients have been more noise than signal; to make them equal, "
        f"accumulate {bounds} times as many."
    )
    return Verdict(Kind.MOSTLY_NOISE, since, message)


def _rest(steps: int, known: bool) -> str:
    return f"the {steps} steps that are left" if known else f"another {steps} steps"


def _at_most(gain: Interval) -> str:
    return "may gain anything" if gain.high == math.inf else f"gain {max(gain.high, 0.0):.3g} at most"
