"""What a user chooses, with defaults and checks, once for all front ends.

Every message names the argument, what is allowed and what came.
"""

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from pfopt.core import budget
from pfopt.core.certificate import RANGES, theorem_constants
from pfopt.core.config import ALGORITHM_1, AROUND_BASE, PLAIN_AVERAGE_GAMMA, PRACTICAL, Config


@dataclass(frozen=True)
class Certified:
    """Algorithm 1 of Carmon & Hinder, "Making SGD Parameter-Free" (COLT 2022), as it stands.

    Args:
        output: "average", the uniform average of a probe, which the paper's theorems are about; or "last", the last
            iterate of probes whose steps decay linearly, with the certificate of the dual sequence (deterministic
            theory only).
        alpha: damping of the certificate, greater than 1; 3 minimises the constant of Proposition 1.
        beta: at least 0.
        lipschitz: almost sure bound on the gradient norms; with ``delta`` it replaces alpha and beta by alpha^(k) and
            beta^(k) of Theorem 14.
        delta: probability in (0, 1) with which Theorem 14 may fail.
        restarts: "doubling" for strongly convex functions (Theorem 16), ``pfopt.minimize`` only: stages of
            8, 16, 32, … gradients, each from the last returned point, stage m starting from ``initial_step / 2**m``.

    Raises:
        TypeError, ValueError: an argument is wrong.
    """

    output: Literal["average", "last"] = "average"
    alpha: float = ALGORITHM_1.alpha
    beta: float = 0.0
    lipschitz: float | None = None
    delta: float | None = None
    restarts: Literal["doubling"] | None = None

    def __post_init__(self) -> None:
        one_of("output", self.output, ("average", "last"))
        one_of("restarts", self.restarts, (None, "doubling"))
        if not 1 < number("alpha", self.alpha) < math.inf:
            raise ValueError(f"alpha must be greater than 1 and finite, got {self.alpha!r}")
        at_least_zero("beta", self.beta)
        if (self.lipschitz is None) != (self.delta is None):
            raise ValueError(
                f"lipschitz and delta go together, got lipschitz={self.lipschitz!r}, delta={self.delta!r}"
            )
        if self.lipschitz is not None:
            positive("lipschitz", self.lipschitz)
            if not 0 < number("delta", self.delta) < 1:
                raise ValueError(f"delta must be in (0, 1), got {self.delta!r}")


@dataclass(frozen=True)
class Practical:
    """Short probes, then one long main run; what converges fastest, and carries no theorem.

    Args:
        anneal: what becomes of the noise of the main run: "averaging", gradients are taken near a running average,
            which is returned; or "linear", steps decay to zero, and the last iterate is returned. By default (None)
            "averaging" for SGD, and "linear" around a base, which remembers gradients already; around a base
            "averaging" takes gradients at the iterates.
        scope: over what displacement and gradients are estimated: "global", "group", "tensor", or "auto", the largest
            step size of the whole, the tensor and the single coordinate. Around a base, which has scaled coordinates
            already, of the whole and the tensor. In optax there are no groups.

    Raises:
        ValueError: an argument is wrong.
    """

    anneal: Literal["averaging", "linear"] | None = None
    scope: Literal["auto", "global", "group", "tensor"] = "auto"

    def __post_init__(self) -> None:
        one_of("anneal", self.anneal, (None, "averaging", "linear"))
        one_of("scope", self.scope, ("auto", "global", "group", "tensor"))


Plan = Certified | Practical
PlanLike = Plan | Literal["practical", "certified"]


def plan(value: Any) -> Plan:
    """The object that a plan's name stands for; an object as it is."""
    if isinstance(value, (Certified, Practical)):
        return value
    if value == "practical":
        return Practical()
    if value == "certified":
        return Certified()
    raise ValueError(
        f'plan must be "practical", "certified", pfopt.Practical(…) or pfopt.Certified(…), got {value!r}'
    )


def integer(name: str, value: Any) -> int:
    """An integer of any kind, but no flag."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    return operator.index(value)


def total_steps(value: Any, chosen: Plan) -> int:
    """A number of gradients that is enough for one search."""
    if isinstance(value, float) and math.isinf(value):  # of a trainer that is stopped by time
        raise TypeError(f"total_steps must be an integer, or None where it is unknown, got {value}")
    certified = isinstance(chosen, Certified)
    least, steps = budget.LEAST_STEPS[certified], integer("total_steps", value)
    if steps <= 0:
        raise ValueError(f"total_steps must be positive, got {steps}")
    if steps < least:
        name = "certified" if certified else "practical"
        raise ValueError(
            f'total_steps is too small to search: plan="{name}" takes at least {least} steps, got {steps}'
        )
    return steps


def configure(chosen: Plan, steps: int | None, *, based: bool = False, delta: float | None = None) -> Config:
    """What the core needs to know.

    Args:
        chosen: the plan.
        steps: total_steps, or of one stage; None where the horizon is unknown.
        based: whether a base such as Adam makes the directions.
        delta: of a stage, in place of the plan's.
    """
    unknown = steps is None
    total = budget.FIRST_STAGE if steps is None else steps
    if isinstance(chosen, Certified):
        alphas, betas = (chosen.alpha,) * len(RANGES), (chosen.beta,) * len(RANGES)
        if chosen.lipschitz is not None:
            alphas, betas = theorem_constants(total, chosen.lipschitz, delta or chosen.delta or 0.0)
        return Config(total, True, chosen.output == "average", alphas, betas, constants=ALGORITHM_1)
    decays = (chosen.anneal or ("linear" if based else "averaging")) == "linear"
    interpolates = not decays and not based  # a base and an average together forget too slowly
    constants = AROUND_BASE if based else PRACTICAL
    if not interpolates:
        constants = constants._replace(average_gamma=PLAIN_AVERAGE_GAMMA)
    return Config(
        total,
        certified=False,
        returns_average=not decays or unknown,  # the end of a decay is ahead of every average
        alphas=(constants.alpha,) * len(RANGES),
        interpolates=interpolates,
        decays=decays,
        unknown_horizon=unknown,
        lags=based,
        constants=constants,
    )


def sgd_only(chosen: Plan, steps: Any, **others: Any) -> None:
    """The certified plan is plain SGD with a known horizon, and its restarts are those of ``pfopt.minimize``."""
    if not isinstance(chosen, Certified):
        return
    if steps is None:
        raise ValueError('total_steps must be an integer where plan="certified", got None')
    if chosen.restarts is not None:
        raise ValueError(f"restarts must be None but in pfopt.minimize, got {chosen.restarts!r}")
    for name, value in others.items():
        if not (isinstance(value, (int, float)) and value == 0):
            raise ValueError(f'plan="certified" is plain SGD: {name} must be 0, got {value!r}')


def hyperparameters(momentum: Any, nesterov: Any, weight_decay: Any) -> None:
    """Momentum, nesterov and weight_decay of an optimizer."""
    fraction("momentum", momentum)
    flag("nesterov", nesterov)
    at_least_zero("weight_decay", weight_decay)
    if nesterov and momentum == 0:
        raise ValueError(f"nesterov=True needs momentum greater than 0, got momentum={momentum!r}")


def one_of(name: str, value: Any, allowed: Sequence[Any]) -> None:
    """``value`` is one of ``allowed``."""
    if not (value is None or isinstance(value, str)) or value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {value!r}")


def flag(name: str, value: Any) -> None:
    """True or False."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, got {value!r}")


def number(name: str, value: Any) -> float:
    """A real number that is not NaN."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"{name} must be a number, got {value!r}")
    if math.isnan(value):
        raise ValueError(f"{name} must not be NaN")
    return float(value)


def positive(name: str, value: Any) -> float:
    """A finite number above zero."""
    if not 0 < number(name, value) < math.inf:
        raise ValueError(f"{name} must be positive and finite, got {value!r}")
    return float(value)


def at_least_zero(name: str, value: Any) -> float:
    """A finite number, zero included."""
    if not 0 <= number(name, value) < math.inf:
        raise ValueError(f"{name} must be at least 0 and finite, got {value!r}")
    return float(value)


def fraction(name: str, value: Any) -> float:
    """A number in [0, 1)."""
    if not 0 <= number(name, value) < 1:
        raise ValueError(f"{name} must be in [0, 1), got {value!r}")
    return float(value)


def function(name: str, value: Any) -> None:
    """Something that can be called."""
    if not callable(value):
        raise TypeError(f"{name} must be callable, got {value!r}")
