"""How much of a gradient is noise, from two halves of its batch, or from the probes of a search."""

import math
from collections.abc import Iterable

from pfopt.control.trend import Interval
from pfopt.status import ProbeRecord


def likeness(first: float, second: float, mean: float) -> float:
    """The product of the gradients of two halves of a batch, over the noise of one of them.

    With a mean gradient mu and halves of variance v it is about ‖mu‖²/v, so a batch of both halves has as much noise as
    signal at 1/2, and accumulating 1/(2 · likeness) batches makes them equal: the simple noise scale, in
    batches (McCandlish, Kaplan, Amodei, *An Empirical Model of Large-Batch Training*, 2018, appendix A.1).
    """
    mean_sq = (first**2 + second**2) / 2
    product = 2 * mean**2 - mean_sq
    noise = mean_sq - product
    return product / noise if noise > 0.0 else math.inf


def times(found: Interval) -> Interval:
    """How many batches to accumulate, from an interval for the likeness: infinite where that may be 0 or below."""
    low, high = (1 / (2 * end) if end > 0.0 else math.inf for end in (found.high, found.low))
    return Interval(low, high)


def noise_of_probes(probes: Iterable[ProbeRecord]) -> float:
    """How many batches to accumulate until their noise equals their mean, as the probes of ``opt.history()`` show it.

    In T steps of size eta along gradients of mean square G², of which mu² is that of their mean, the displacement d
    has E d² = eta² (T (G² − mu²) + T² mu²). So (d² / (eta² T G²) − 1) / (T − 1) estimates mu² / G², and
    G² / mu² − 1 is the number. Curvature turns a probe back and ``distance`` is the largest displacement, so the
    estimate tends to be too high; the lowest one of the probes is returned, infinite where none has shown a mean. It
    is an estimate without an interval, for a search without momentum and without a base optimizer.

    Raises:
        TypeError: something is not a ``ProbeRecord``.
    """
    found = math.inf
    for probe in probes:
        if not isinstance(probe, ProbeRecord):
            raise TypeError(
                f"probes must be pfopt.ProbeRecords, as in opt.history(), got {type(probe).__name__}"
            )
        walk = probe.step_size**2 * probe.steps * probe.lipschitz**2
        if probe.steps > 1 and 0.0 < walk < math.inf and probe.distance**2 > walk:
            share = (probe.distance**2 / walk - 1) / (probe.steps - 1)
            found = min(found, max(1 / share - 1, 0.0))
    return found
