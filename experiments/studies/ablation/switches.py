"""What is switched: constants of the practical plan, and functions of the core that a mechanism consists of."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from experiments.studies.ablation.changes import AROUND_BASE, Change, Constant, Function, Number
from pfopt.core import averaging, bisection, budget, main_run, step_size, update
from pfopt.core.arrays import at_least, ones_like, real, whole, zeros_like
from pfopt.core.config import PRACTICAL
from pfopt.core.practical import NO_CAP
from pfopt.core.run import age

GROUPS = ("lanes", "flat", "unseen", "adamw", "networks")
CONTROL = "control"  # labels that begin so change rounding alone


class Switch(NamedTuple):
    """What a label stands for, and in which groups of runs it can make a difference."""

    changes: tuple[Change, ...]
    groups: tuple[str, ...]


COORDINATE_ARGUMENTS: tuple[str, ...] = ("square_weight", "sum_growth", "initial_distance_sq", "run", "decay")


def _coordinate_rule(other: Callable[[dict[str, Any]], dict[str, Any]]) -> Function:
    """The rule of all coordinates, made of what ``other`` puts in place of some of its named arguments."""

    def patched(own: Callable[..., Any], constants: Any, *given: Any) -> Any:
        named = dict(zip(COORDINATE_ARGUMENTS, given, strict=True))
        return own(constants, *{**named, **other(named)}.values())

    return Function(step_size, "coordinate_rule", patched)


def _run_with(**fields: float) -> Function:
    """The rule of all coordinates, with other numbers in the run that it looks at."""

    def other(named: dict[str, Any]) -> dict[str, Any]:
        run = named["run"]
        changed = {name: value + zeros_like(getattr(run, name)) for name, value in fields.items()}
        return {"run": run._replace(**changed)}

    return _coordinate_rule(other)


def _without_memory(named: dict[str, Any]) -> dict[str, Any]:
    """The count n in place of n k; at a restart, where nothing moves, it is 0."""
    return {"sum_growth": at_least(age(named["run"]) + zeros_like(named["sum_growth"]), 1.0)}


def _in_plain_norm(own: Any, *args: Any) -> Any:
    """A displacement that is not measured in the metric in which coordinates moved."""
    sums = own(*args)
    plain = sums.distance_sq if sums.displacement_sq is None else sums.displacement_sq
    return sums._replace(distance_sq=plain)


def _weight(*, displacement: bool, gradients: bool) -> Function:
    """The weights of the average, without the displacement or the gradients in them."""

    def weight(own: Any, distance_sq: Any, latest_grad_sq: Any, *args: Any) -> Any:
        distance_sq = distance_sq if displacement else ones_like(distance_sq)
        return own(distance_sq, latest_grad_sq if gradients else ones_like(latest_grad_sq), *args)

    return Function(averaging, "unnormalised_weight", weight)


def _one_memory(own: Any, *args: Any) -> Any:
    """Means of gradients, of which the latest is no other than the one that the step divides by."""
    moments = own(*args)
    return moments._replace(latest_grad_sq=whole(moments.mean_grad_sq))


def _rounding_as_noise(own: Any, run: Any, step_size: Any) -> Any:
    """The noise of the first probe, as large as rounding where it is small enough to be told."""
    known, _ = own(run, step_size)
    return known, averaging.ROUNDING * whole(run.grad_sq_sum) / real(run.step, run.weight_sum)


def _forgetful_bound(own: Any, constants: Any, tracks: Any, sum_growth: Any, *args: Any) -> Any:
    """The bound beyond the cap by a certificate that remembers no sum of gradients."""
    return own(constants, tracks, zeros_like(sum_growth), *args)


def _scaled(factor: float, *names: str) -> tuple[Change, ...]:
    """Constants times a factor."""
    return tuple(Constant(name, factor * getattr(PRACTICAL, name)) for name in names)


PLAIN, BASED, EVERYWHERE = ("lanes", "flat", "unseen", "networks"), ("adamw",), GROUPS
TRACKING = ("tracking", "scope_tracking", "coordinate_tracking")


def singles() -> dict[str, Switch]:
    """Every mechanism alone, by what the run is without."""
    no_scopes = Constant("scope_tracking", 0.0)
    no_coordinates = Function(update, "coordinate_steps", lambda own, rule, gap, *_: zeros_like(gap))
    no_floor = Constant("lag", 0.0)
    no_start = _coordinate_rule(
        lambda named: {"initial_distance_sq": zeros_like(named["initial_distance_sq"])}
    )
    own_metric = (
        Function(main_run, "record", lambda own, run, *_: run),
        Function(update, "measure_block", _in_plain_norm),
    )
    whole_start, cap_of_sgd = (
        Constant(name, getattr(PRACTICAL, name), (AROUND_BASE,)) for name in ("head_start", "cap")
    )
    return {
        f"{CONTROL}: tracking x (1 + 1e-6)": Switch(_scaled(1 + 1e-6, *TRACKING), EVERYWHERE),
        f"{CONTROL}: tracking x (1 - 1e-6)": Switch(
            _scaled(1 - 1e-6, *TRACKING), ("lanes", "flat", "networks")
        ),
        f"{CONTROL}: first step x (1 + 1e-6)": Switch(_scaled(1 + 1e-6, "first_step"), EVERYWHERE),
        "tensors: no steps of their own": Switch((no_scopes,), ("unseen", "adamw", "networks")),
        "coordinates: no steps of their own": Switch((no_coordinates,), PLAIN),
        "tensors and coordinates: no steps of their own": Switch((no_scopes, no_coordinates), PLAIN),
        "lagging: no typical displacement": Switch((no_floor,), PLAIN),
        "lagging: product alone": Switch((_run_with(displacement_sq=math.inf),), PLAIN),
        "lagging: plain sum alone": Switch((_run_with(displacement_product=math.inf),), PLAIN),
        "lagging: no start": Switch((no_start,), PLAIN),
        "lagging: no floor at all": Switch((no_floor, no_start), PLAIN),
        "metric: plain": Switch(own_metric, PLAIN),
        "memory: none of the whole": Switch((Function(step_size, "bound", _forgetful_bound),), EVERYWHERE),
        "memory: none of coordinates": Switch((_coordinate_rule(_without_memory),), PLAIN),
        "memory: none": Switch((Constant("memory", 0.0),), PLAIN),
        "memory: all": Switch((Constant("memory", 1.0),), EVERYWHERE),
        "cap: none": Switch((Constant("cap", NO_CAP),), EVERYWHERE),
        "cap: no growth": Switch(
            (Function(step_size, "bound", lambda own, c, tracks, growth, cap, *_: cap + zeros_like(tracks)),),
            EVERYWHERE,
        ),
        "cap: growth unbounded": Switch(
            (Function(step_size, "bound", lambda own, *args: own(*args[:-2], math.inf, 1)),), EVERYWHERE
        ),
        "weights: without displacement": Switch((_weight(displacement=False, gradients=True),), PLAIN),
        "weights: without gradients": Switch((_weight(displacement=True, gradients=False),), PLAIN),
        "weights: without both": Switch((_weight(displacement=False, gradients=False),), PLAIN),
        "weights: one memory of gradients": Switch(
            (Function(averaging, "add_gradient", _one_memory),), PLAIN
        ),
        "weights: no least": Switch(
            (Function(averaging, "share_of_newest", lambda own, *args: own(*args[:-1], 0.0)),), PLAIN
        ),
        "share: not rising": Switch((Constant("last_beta", PRACTICAL.beta),), PLAIN),
        "kinks: no rule": Switch((Number(averaging, "NEARLY_EXACT", -1.0),), PLAIN),
        "kinks: rounding as noise": Switch((Function(averaging, "noise_sq", _rounding_as_noise),), PLAIN),
        "kinks: steps always decay": Switch(
            (Function(averaging, "noise_sq", lambda own, *_: (True, -1.0)),), PLAIN
        ),
        "bursts: none": Switch((Constant("burst", math.inf),), EVERYWHERE),
        "probes: never silent": Switch(
            (Function(bisection, "is_noise", lambda own, *args: own(*args) & False),), EVERYWHERE
        ),
        "probes: longer ones spend more": Switch(
            (Number(budget, "LENGTHENED_SHARE", budget.SEARCH_SHARE),), EVERYWHERE
        ),
        "base: whole head start": Switch((whole_start,), BASED),
        "base: cap of SGD": Switch((cap_of_sgd,), BASED),
        "base: whole head start and cap of SGD": Switch((whole_start, cap_of_sgd), BASED),
        "probes: alpha 3": Switch((Constant("alpha", 3.0),), EVERYWHERE),
        "probes: alpha 1.2": Switch((Constant("alpha", 1.2),), EVERYWHERE),
        "sums: at every gradient": Switch((Constant("measured_every", 1),), PLAIN),
    }


TOGETHER = (  # labels whose changes are made at once
    ("cap: no growth", "memory: none of coordinates"),
    ("cap: no growth", "memory: none of coordinates", "lagging: no start"),
    ("cap: no growth", "memory: none of coordinates", "weights: without displacement"),
    (
        "cap: no growth",
        "memory: none of coordinates",
        "lagging: no start",
        "weights: without displacement",
    ),
)


def switches() -> dict[str, Switch]:
    """Every label and what it stands for; "" is the default."""
    alone = singles()
    together = {}
    for labels in TOGETHER:
        parts = [alone[label] for label in labels]
        groups = tuple(group for group in GROUPS if all(group in part.groups for part in parts))
        changes = tuple(change for part in parts for change in part.changes)
        together[" + ".join(labels)] = Switch(changes, groups)
    return {"": Switch((), EVERYWHERE), **alone, **together}
