"""`pfopt.minimize` called, and its answer told, in the words of the literal oracle."""

from typing import Any

import numpy as np

import pfopt
from tests.reference.outcome import Outcome, Probe


def by_pfopt(
    oracle: Any, x0: np.ndarray, B: int, eta_eps: float | None, *, L: float | None = None, **options: Any
) -> Outcome:
    plan = pfopt.Certified(lipschitz=L, **options)
    return of_result(pfopt.minimize(oracle, x0, B, plan=plan, initial_step=eta_eps))


def of_result(result: pfopt.Result) -> Outcome:
    probes = [
        Probe(r.k, r.exponent, r.step_size, r.steps, r.lipschitz**2 * r.steps, r.distance, bool(r.accepted))
        for r in result.probes
    ]
    outcome = Outcome(result.x, None, probes, result.gradients)
    if outcome.exit == "anchor":
        return outcome
    chosen = [probe.exponent for probe in outcome.final if probe.eta == result.step_size]
    return outcome._replace(exponent=chosen[0] if chosen else None)
