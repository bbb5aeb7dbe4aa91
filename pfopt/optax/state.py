"""What the transformation remembers: a named tuple of arrays of fixed shape, dtype and sharding."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jax.core import Tracer

from pfopt.core import controller, preconditioned
from pfopt.core import run as runs
from pfopt.core.config import Config
from pfopt.core.preconditioned import Metric
from pfopt.core.records import Run, Slot, State
from pfopt.optax import leaves
from pfopt.optax.leaves import Leaves

T = TypeVar("T")


class Options(NamedTuple):
    """What the caller chose; numbers are traced under ``optax.inject_hyperparams``."""

    config: Config
    base: optax.GradientTransformationExtraArgs | None  # None: the direction is the gradient itself
    momentum: Any
    nesterov: bool
    weight_decay: Any
    by_leaf: bool  # a leaf has a step size of its own
    by_whole: bool  # it moves by that of all leaves together, where there is none or it is smaller
    by_coordinate: bool  # likewise every coordinate


class ParameterFreeState(NamedTuple):
    """State of ``parameter_free_sgd`` and ``parameter_free``.

    Trees have the structure of the parameters, and their leaves the form in which they are computed (see ``leaves``).
    "Real" is float64 where a parameter holds float64 or complex128, float32 otherwise.
    """

    controller: State  # shape=() or (1 + leaves,); int32, bool or real
    run: Run  # likewise
    metric: Metric | None  # likewise; None without a base
    unit: (
        jax.Array
    )  # shape=(), real; what gradients are multiplied by, see ``core.scale``; 0 until the first one
    anchor_sq: jax.Array  # shape=(), real; ‖x_0‖²
    step_size: jax.Array  # shape=(), real; the last one taken
    probes: jax.Array  # shape=(), int32; finished
    idle: jax.Array  # shape=(), int32; updates after the returned point was delivered
    total_steps: jax.Array  # shape=(), int32; 0 where the horizon is unknown
    deployed: jax.Array  # shape=(), int32; Slot, where the point to deploy is; LAST until there is an anchor
    still: jax.Array  # shape=(leaves,), bool; those that the newest gradient of the main run does not move
    base: Any  # state of the base; None without one
    anchor: Any  # tree; x_0, zeros until the first gradient
    average: Any  # tree; None where none is returned
    lo: Any  # tree; outputs of the probes at lo and hi, certified plan only, else None
    hi: Any
    grad_sum: Any  # tree; Σ g of a probe, certified plan with output "last" only, else None
    velocity: Any  # tree; None without momentum
    mean_square: Any  # tree; m_i, where coordinates have steps of their own, else None
    iterate: Any  # tree; the float32 iterate behind half-precision parameters, None for others


class Turn(NamedTuple):
    """What one gradient has done."""

    state: ParameterFreeState  # with lists of leaves for trees
    moves: Leaves  # what to add to the points
    restart: jax.Array  # shape=(), bool; the next gradient is the first one from the anchor


Carried = tuple[ParameterFreeState, Leaves]  # the first two of these, on the way

TREES = ("anchor", "average", "lo", "hi", "grad_sum", "velocity", "mean_square", "iterate")


def init(options: Options, params: Any) -> ParameterFreeState:
    """The state before the first gradient; ``params`` may be abstract, only shapes and dtypes are used."""
    config, all_params = options.config, jax.tree.leaves(params)
    dtype, scopes = leaves.statistics_dtype(all_params), len(all_params) if options.by_leaf else 0

    def number(value: Any = 0, kind: Any = jnp.int32) -> jax.Array:
        return jnp.array(value, kind)

    def tree(wanted: bool) -> Any:
        return jax.tree.map(leaves.zeros, params) if wanted else None

    return ParameterFreeState(
        controller=_as_arrays(controller.init(config, scopes, jnp), dtype),
        run=_as_arrays(runs.begin(scopes, jnp, dtype=dtype), dtype),
        metric=_as_arrays(preconditioned.begin(scopes, jnp, dtype=dtype), dtype) if options.base else None,
        unit=number(any(config.betas), dtype),  # 1: a bound that the caller gave is in the gradients' own
        anchor_sq=number(0, dtype),
        step_size=number(0, dtype),
        probes=number(),
        idle=number(),
        total_steps=number(0 if config.unknown_horizon else config.total_steps),
        deployed=number(Slot.LAST),
        still=jnp.zeros(len(all_params), bool),
        base=options.base.init(params) if options.base else None,
        anchor=tree(True),
        average=tree(config.returns_average),
        lo=tree(config.certified),
        hi=tree(config.certified),
        grad_sum=tree(config.certified and not config.returns_average),
        velocity=tree(not is_zero(options.momentum)),
        mean_square=tree(options.by_coordinate),
        iterate=jax.tree.map(lambda param: leaves.zeros(param) if leaves.is_half(param) else None, params),
    )


def is_traced(value: Any) -> bool:
    """Whether a number has no value to look at yet."""
    return isinstance(value, Tracer)


def is_zero(value: Any) -> bool:
    """Whether a number is known to be 0, so that what it multiplies can be left out."""
    return not is_traced(value) and value == 0


def flatten(state: ParameterFreeState) -> ParameterFreeState:
    """The same state with a list of leaves for every tree."""
    return state._replace(**{name: jax.tree.leaves(getattr(state, name)) for name in TREES})


def unflatten(flat: ParameterFreeState, like: ParameterFreeState) -> ParameterFreeState:
    """The inverse of ``flatten``; ``like`` has the structure."""
    structures = {name: jax.tree.structure(getattr(like, name)) for name in TREES}
    return flat._replace(
        **{name: structure.unflatten(getattr(flat, name)) for name, structure in structures.items()}
    )


def when(condition: jax.Array, change: Callable[[T], T], carried: T) -> T:
    """``change(carried)`` where ``condition`` holds, else ``carried``.

    ``lax.cond`` written as a ``while_loop`` of at most one iteration: XLA then updates the carried buffers in place,
    and a leaf that does not change is not copied.
    """

    def body(carry: tuple[Any, T]) -> tuple[Any, T]:
        new = jax.tree.map(lambda a, b: lax.convert_element_type(a, b.dtype), change(carry[1]), carry[1])
        return jnp.zeros_like(condition), new

    return lax.while_loop(lambda carry: carry[0], body, (condition, carried))[1]


def _as_arrays(record: Any, dtype: Any) -> Any:
    """Copies as arrays, bool, int32 or ``dtype``: no buffer may be donated twice."""

    def convert(value: Any) -> jax.Array:
        kind = jnp.result_type(value)
        if not jnp.issubdtype(kind, jnp.bool_):
            kind = jnp.int32 if jnp.issubdtype(kind, jnp.integer) else dtype
        return jnp.array(value, kind)

    return jax.tree.map(convert, record)
