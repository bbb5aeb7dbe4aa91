"""The records that the search is made of: plain named tuples of scalars.

Every field is an integer or a float on the host and a zero-dimensional array under ``jit``, unless its
comment says otherwise. Nothing here holds a parameter.
"""

from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np

ANCHOR, LO, HI, AVERAGE, LAST = range(5)  # where a point can be kept, and which one is returned


class Phase(IntEnum):
    """What the current run is for."""

    SEARCH = 0  # a probe: fixed step size, from the anchor
    TRAIN = 1  # the long run
    DONE = 2

    @property
    def label(self) -> str:
        """The name that ``Status.phase`` shows: ``"search" | "train" | "done"``."""
        return ("search", "train", "done")[self]


class Outcome(IntEnum):
    """How a search ended; ``message`` says it in a sentence."""

    RUNNING = 0
    CERTIFIED = 1
    LOWER_EXIT = 2
    RANGE_EXHAUSTED = 3
    ZERO_GRADIENT = 4
    NO_SIGNAL = 5

    @property
    def message(self) -> str:
        """One sentence for a person."""
        return _MESSAGES[self]


_MESSAGES = {
    Outcome.RUNNING: "The search is still running.",
    Outcome.CERTIFIED: "The largest certified step size was found.",
    Outcome.LOWER_EXIT: (
        "Even the initial step size was not certified: no signal at this probe length, or initial_step is "
        "too large; the run with the initial step size is returned."
    ),
    Outcome.RANGE_EXHAUSTED: (
        "Every step size of every affordable range was certified: initial_step is too small for this "
        "budget, or the objective is unbounded below."
    ),
    Outcome.ZERO_GRADIENT: "The gradient at the anchor is zero: the anchor is returned.",
    Outcome.NO_SIGNAL: (
        "No step size was certified at the longest affordable probe: the gradients are mostly noise, "
        "zero or not finite, and the long run finds its step size alone."
    ),
}


def sentence(outcome: Outcome, explosions: int) -> str:
    """What happened, for a person."""
    times = "once" if explosions == 1 else f"{explosions} times"
    exploded = (
        f" The long run exploded {times}: it went back to the anchor, with a smaller bound."
        if explosions
        else ""
    )
    return outcome.message + exploded


class Config(NamedTuple):
    """What the caller fixed before the first gradient; hashable, never traced."""

    total_steps: int  # B, gradients in all; the first stage's where the horizon is unknown
    plan: str  # "certified" | "train"
    schedule: str  # "constant" | "linear"
    alphas: tuple[float, ...]  # alpha^(k) for k = 2, 4, 8
    betas: tuple[float, ...] = (0.0, 0.0, 0.0)  # beta^(k) for k = 2, 4, 8
    output: int = AVERAGE  # of plan "train": AVERAGE or LAST
    cap: int = 2  # of plan "train": doublings above the root
    head_start: float = 1.0  # of plan "train": share of the displacement at the root, the least that counts
    primal: bool = (
        False  # the long run takes its gradients between iterate and average, and decays at kinks only
    )
    endless: bool = False  # unknown horizon: a run without end or, where it decays, stages of doubling budget


class Run(NamedTuple):
    """What the current run has measured; updated at every gradient, on the device the parameters are on.

    Entry 0 of the vectors stands for the whole parameter vector, the entries behind it for its scopes
    (groups or tensors), where these are estimated too.
    """

    step: Any  # gradients that counted
    origin: Any  # step at which the current stretch began: 0, or the last explosion
    grad_sq: Any  # shape=(1 + scopes,), sum of ‖g‖² over the stretch
    recent_sq: Any  # shape=(1 + scopes,), mean of ‖g‖² over the stretch, polynomially weighted; long run only
    latest_sq: Any  # mean of ‖g‖² over the stretch, of steeper weights; long run only
    kink: Any  # whether that was above the noise all along; long run only
    distance_sq: Any  # shape=(1 + scopes,), max ‖x − x_0‖² over the stretch, last point included
    away_sq: Any  # ‖x − x_0‖² now, in the plain norm; where coordinates move on their own
    away_product: Any  # likewise, the sum of (x − x_0)² times the weighted mean of g²
    bad: Any  # consecutive non-finite gradients or losses
    cuts: Any  # explosions so far: each quarters the cap
    weight_sum: Any  # sum of the average's weights over the stretch; long run only
    value_sum: Any  # sum of the losses of a probe
    value_count: Any  # how many there were


class Bracket(NamedTuple):
    """Where the bisection stands: ``lo`` is certified, ``hi`` is not."""

    branch: Any  # START, RAISE, LOWER, FLOOR, BISECT or END, see bisection.py
    k: Any  # the range under test is 2^k doublings wide
    exponent: Any  # of the probe now running: step_size = initial_step * 2**exponent
    lo: Any
    hi: Any
    lo_distance_sq: Any  # shape=(1 + scopes,), of the probe at lo
    lo_grad_sq: Any  # sum of ‖g‖² of the probe at lo
    hi_distance_sq: Any
    hi_grad_sq: Any


class State(NamedTuple):
    """The controller's memory between runs; it changes only when a run ends."""

    phase: Any  # Phase
    outcome: Any  # Outcome
    stage: Any  # 0, 1, …: stages of doubling budget where the horizon is unknown and the long run decays
    spent: Any  # gradients of this stage spent before the current run
    run_length: Any  # gradients of the current run
    bracket: Bracket
    probe_length: Any  # plan "train": lengthened where there is no signal
    initial_step: Any  # eta_eps; 0 until the first gradient fixes it
    noise_sq: Any  # variance of a gradient at the anchor, where nearly none; else infinite, see tracking.py
    cap: Any  # exponent that bounds the long run's step size
    output: Any  # ANCHOR, LO, HI, AVERAGE or LAST: the point to return


class Verdict(NamedTuple):
    """What the end of a run means for the parameters."""

    accepted: Any  # a probe's step size was certified
    keep: Any  # the run's output becomes the candidate LO or HI; ANCHOR: nothing is kept
    reanchor: Any  # the returned point becomes the anchor of the next stage


class ProbeRecord(NamedTuple):
    """One finished probe, as the caller sees it."""

    k: int  # the range under test was 2^k doublings wide
    exponent: int
    step_size: float
    steps: int
    lipschitz: float  # root mean square of the gradient norms
    distance: float  # largest displacement from the anchor
    accepted: bool
    mean_value: float | None  # mean loss over the probe, where losses were given


class Status(NamedTuple):
    """Where an optimizer stands."""

    phase: str  # "search" | "train" | "done"
    probe: int  # probes finished
    step: int  # gradients spent
    steps_left: int | None  # None: unknown horizon
    step_size: float  # of the current run; in the long run the last step size taken
    lipschitz: float  # root mean square of the gradient norms of the current run
    distance: float  # largest displacement of the current run
    message: str


def on_host(record: Any) -> Any:
    """The same named tuple with Python numbers in place of zero-dimensional arrays; vectors stay arrays."""
    if isinstance(record, tuple):
        return type(record)(*map(on_host, record))  # type: ignore[call-arg]
    array = np.asarray(record)
    return array.item() if array.ndim == 0 else array


def choose(xp: Any, condition: Any, yes: Any, no: Any) -> Any:
    """Field by field ``where(condition, yes, no)`` of two named tuples of the same type."""
    if isinstance(yes, tuple):
        return type(yes)(*(choose(xp, condition, a, b) for a, b in zip(yes, no, strict=True)))  # type: ignore[call-arg]
    return xp.where(condition, yes, no)
