"""Everything that is fixed before the first gradient."""

from typing import NamedTuple

from pfopt.core.certificate import RANGES


class Constants(NamedTuple):
    """The numbers of the practical plan; ``main_run`` says where each one stands in the rule."""

    alpha: float = 1.5  # damping of the certificate; at 3 a short probe does not see past its noise
    first_step: float = 2.0**-8  # the guess to test first, in units of ‖x_0‖/‖g_0‖, or 1/‖g_0‖ at the origin
    cap: int = 2  # doublings above the selected step size that need no certificate
    head_start: float = 1.0  # share of the selected probe's distance that the main run starts with
    tracking: float = 1.25  # c of the whole: the step is at most c r/sqrt(n m)
    scope_tracking: float = 1.0  # c of one group or tensor
    coordinate_tracking: float = 0.5  # c of one coordinate
    lag: float = 2.0  # a coordinate counts as this many times as far as the others have come, at least
    memory: float = 0.3  # share of Σ‖g‖² that a certificate beyond the cap and coordinates' steps must count
    mean_gamma: float = 3.0  # polynomial weight of m, the mean ‖g‖² that the step divides by
    latest_gamma: float = 8.0  # polynomial weight of l, the mean ‖g‖² that the average's weights divide by
    average_gamma: float = 0.5  # polynomial weight of the returned average
    beta: float = 2 / 3  # gradients are taken at z + beta (x̄ − z)
    last_beta: float = 0.9  # beta at the end of the run
    rise: float = 0.2  # the last part of the run, on which beta rises
    measured_first: int = 32  # the displacement is measured after each of so many gradients since a restart,
    measured_every: int = 16  # and then of one in so many: its sums are a pass over memory
    burst: float = 2000.0  # times the mean ‖g‖²: a gradient that large restarts the main run


PRACTICAL = Constants()
# A base hides some of the noise that it makes, and its displacement is known at every move.
AROUND_BASE = PRACTICAL._replace(cap=0, head_start=0.1, tracking=2.0, measured_every=1)
ALGORITHM_1 = PRACTICAL._replace(alpha=3.0, first_step=2.0**-20)  # 3 minimises the constant of Proposition 1
PLAIN_AVERAGE_GAMMA = 3.0  # of an average that gradients are not taken near


class Config(NamedTuple):
    """What the caller chose; hashable, never traced."""

    total_steps: int  # B, gradients in all; those of the first stage where the horizon is unknown
    certified: bool  # plan "certified", Algorithm 1 as it stands; otherwise plan "practical"
    returns_average: bool  # the average of the iterates, not the last one
    alphas: tuple[float, ...]  # alpha^(k) for k = 2, 4, 8
    betas: tuple[float, ...] = (0.0,) * len(RANGES)  # beta^(k) likewise
    interpolates: bool = False  # the main run takes its gradients between iterate and average
    decays: bool = False  # the main run's steps decay to zero
    unknown_horizon: bool = False
    lags: bool = False  # a move of the main run has the step size of the gradient before, so that a base steps in place
    constants: Constants = PRACTICAL

    @property
    def stages(self) -> bool:
        """Budgets double, stage after stage: a decay needs an end."""
        return self.unknown_horizon and self.decays

    @property
    def endless(self) -> bool:
        """The main run goes on for ever."""
        return self.unknown_horizon and not self.decays
