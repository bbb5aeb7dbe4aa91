"""What a step-size search did, in one form for the literal oracle and for `pfopt.minimize`."""

from typing import NamedTuple

import numpy as np


class Probe(NamedTuple):
    """One run of fixed step size: one evaluation of phi."""

    k: int
    exponent: int  # j, with eta = eta_eps * 2**j
    eta: float
    T: int
    G: float  # sum of squared gradient norms
    rbar: float  # largest distance from the anchor
    accepted: bool  # eta <= phi(eta)


class Outcome(NamedTuple):
    """What came back; `exponent` is None where the anchor itself was returned."""

    point: np.ndarray
    exponent: int | None
    probes: list[Probe]
    calls: int

    @property
    def decisions(self) -> list[tuple[int, int, bool]]:
        return [(probe.k, probe.exponent, probe.accepted) for probe in self.probes]

    @property
    def final(self) -> list[Probe]:
        """The probes of the last k, in the order in which they ran."""
        return [probe for probe in self.probes if probe.k == self.probes[-1].k] if self.probes else []

    @property
    def exit(self) -> str:
        """How Algorithm 1 ended: "anchor" (x_0), "lo" (eta_eps was too large) or "bracket" (a bisection)."""
        if len(self.final) < 2:
            return "anchor"
        return "bracket" if self.final[1].accepted else "lo"

    @property
    def bracket(self) -> tuple[Probe, Probe]:
        """The final lo* (largest accepted) and hi* (smallest rejected)."""
        lo = max((probe for probe in self.final if probe.accepted), key=lambda probe: probe.exponent)
        hi = min((probe for probe in self.final if not probe.accepted), key=lambda probe: probe.exponent)
        return lo, hi
