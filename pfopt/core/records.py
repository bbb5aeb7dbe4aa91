"""The records that the algorithm is made of: named tuples of numbers, and no parameter of a model in them."""

from enum import IntEnum
from typing import NamedTuple

from pfopt.core.arrays import Count, Flag, Real, Vector


class Phase(IntEnum):
    """What the current run is for."""

    SEARCH = 0  # a probe: fixed step size, from the anchor
    MAIN = 1  # the main run of the practical plan
    DONE = 2

    @property
    def label(self) -> str:
        """The name that ``Status.phase`` shows: ``"search" | "main" | "done"``."""
        return self.name.lower()


class Stage(IntEnum):
    """Which end of the bracket is tested; see ``bisection``."""

    START = 0  # the initial step size, where it is a guess
    RAISE = 1  # the upper end of a range above it
    LOWER = 2  # the lower end of a range below it
    FLOOR = 3  # the initial step size, where it is a lower bound
    BISECT = 4
    END = 5


class Slot(IntEnum):
    """Where a point is kept, and which one is to be returned."""

    ANCHOR = 0
    LO = 1  # the output of the probe at the lower end of the bracket
    HI = 2
    AVERAGE = 3  # the average of the main run
    LAST = 4  # the iterate itself


class Outcome(IntEnum):
    """How a search ended; ``message`` says it in a sentence."""

    RUNNING = 0
    CERTIFIED = 1
    LOWER_EXIT = 2
    RANGE_EXHAUSTED = 3
    ZERO_GRADIENT = 4
    NO_SIGNAL = 5
    NO_PROGRESS = 6

    @property
    def message(self) -> str:
        """One sentence for a person."""
        return _MESSAGES[self]


_ADVICE = "Larger batches or accumulated gradients, more steps, or AdamW as a base may help."
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
        "zero or not finite, and the main run finds its step size alone. " + _ADVICE
    ),
    Outcome.NO_PROGRESS: (
        "A step size was certified, but the losses of the main run are not measurably below those of the search so "
        "far: it has trained within its first steps, or not at all. " + _ADVICE
    ),
}


class Run(NamedTuple):
    """What the current run has measured; it changes at every gradient.

    A run that meets too much that is not finite begins anew at the anchor ("restart"); n, the sums and the means are
    those since then. Letters in brackets are those of the listing in ``main_run``.
    """

    step: Count  # gradients that counted
    restart_step: Count  # ``step`` at the last restart, 0 before
    restarts: Count  # each divides the cap by four and the initial distance by two
    nonfinite_in_a_row: Count  # gradients or losses
    frozen: Flag  # the run is over, though its gradients are still spent: too many of those, or x overflowed
    grad_sq_sum: Vector  # S, the sum of ‖g‖²
    mean_grad_sq: Vector  # m, the mean of ‖g‖² with polynomial weights; main run only
    latest_grad_sq: Real  # l, the same with steeper weights; main run only
    at_kink: Flag  # whether l was above the noise of the gradients all along; main run only
    distance_sq: Vector  # r̄², the largest ‖x − x_0‖², last point included
    displacement_sq: Real  # Σ d², d = z − x_0 now; where coordinates have steps of their own
    displacement_product: Real  # Σ d² m_i, likewise
    weight_sum: Real  # Σ a, of the average's weights; main run only
    next_step_sizes: Vector  # of the next move, where step sizes lag; 0 before the first one
    loss_mean: Real  # of the losses, with polynomial weights in the main run, uniform ones in a probe
    loss_change: (
        Real  # mean |l_t − l_{t−1}| of successive ones, likewise: noise, of which a trend takes no part
    )
    last_loss: Real
    loss_count: Count


class Bracket(NamedTuple):
    """Where the bisection stands: the step size at ``lo`` is certified, that at ``hi`` is not."""

    stage: Count  # Stage
    k: Count  # the range under test is 2^k doublings wide
    exponent: Count  # of the probe now running: its step size is initial_step * 2**exponent
    lo: Count
    hi: Count
    has_lo: Flag  # a step size was certified
    has_hi: Flag  # one was rejected by a probe with signal
    hi_diverged: Flag  # that probe met something that is not finite
    lo_distance_sq: Vector  # of the probe at lo
    lo_grad_sq_sum: Real
    lo_loss_mean: Real
    lo_loss_change: Real
    lo_loss_count: Count
    hi_distance_sq: Real
    hi_grad_sq_sum: Real


class State(NamedTuple):
    """The controller's memory between runs; it changes only when a run ends."""

    phase: Count  # Phase
    outcome: Count  # Outcome
    budget_doublings: Count  # stages finished, where the horizon is unknown and the main run decays
    spent: Count  # gradients of this stage spent before the current run
    run_length: Count  # gradients of the current run
    bracket: Bracket
    probe_length: Count  # practical plan: it grows where probes show no signal
    has_initial_step: Flag  # the first gradient with signal fixes it
    initial_step: Real  # the step size of exponent 0; before, 0 or what an earlier search has found
    noise_known: Flag  # whether the gradients at the anchor were nearly exact
    noise_sq: Real  # then the variance of one of them
    cap_exponent: Count  # what bounds the main run's step size
    output: Count  # Slot, the point to return


class Transition(NamedTuple):
    """What the end of a run means for the parameters."""

    accepted: Flag  # the probe's step size was certified
    keep: Count  # Slot, LO or HI: the run's output is kept there; ANCHOR: nothing is kept
    reanchor: Flag  # the returned point becomes the anchor of the next stage
