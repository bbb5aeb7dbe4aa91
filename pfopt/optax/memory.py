"""What the transformation remembers: a named tuple of arrays of fixed shape, dtype and sharding."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from pfopt.optax import kernels, pairing
from pfopt.search import plan as plans
from pfopt.search import tracking
from pfopt.search.state import LAST, Config, Run, State


class Options(NamedTuple):
    """What the caller fixed; numbers may be traced, under ``optax.inject_hyperparams``."""

    config: Config
    momentum: Any
    nesterov: bool
    weight_decay: Any
    gamma: Any  # of the polynomial average
    scope: str  # "auto" | "global" | "tensor"


class ParameterFreeState(NamedTuple):
    """State of ``scale_by_parameter_free``.

    "Real" is float64 where the parameters hold float64 or complex128, float32 otherwise. Trees have the
    structure and shapes of the parameters, in their dtype, but float32 for half precision.
    """

    search: State  # the controller; shape=() int32, bool or real, lo_distance_sq shape=(1 + scopes,)
    run: Run  # what the current run has measured; shape=() or (1 + scopes,), int32 or real
    finished: Run  # what the last finished one had
    start_sq: Any  # shape=(1 + scopes,), real; least squared displacement that counts in the long run
    anchor_sq: Any  # shape=(), real; ‖x_0‖², −1 until the first gradient latches x_0
    pairing: Any  # pairing.Memory; None where the gradient itself is the direction
    step_size: Any  # shape=(), real; the last one taken
    probes: Any  # shape=(), int32; finished probes
    idle: Any  # shape=(), int32; updates after the returned point was delivered
    budget: Any  # shape=(), int32; total_steps, 0 where the horizon is unknown
    deploy: (
        Any  # shape=(), int32; where the iterate to deploy is: ANCHOR, LO, HI, AVERAGE, LAST = the parameters
    )
    base: Any  # state of the base direction
    anchor: Any  # tree; x_0, zeros until latched
    average: Any  # tree; None where none is returned
    lo: Any  # tree; outputs of the probes at lo and hi, None in plan "train"
    hi: Any  # tree
    grad_sum: Any  # tree; plan "certified" with schedule "linear" only, else None
    velocity: Any  # tree; None without momentum
    recent_sq: Any  # tree, real; mean of each coordinate's g², scope "auto" without a base only, else None
    iterate: Any  # tree; the float32 iterate behind half-precision parameters, None for others


TREES = ("anchor", "average", "lo", "hi", "grad_sum", "velocity", "recent_sq", "iterate")


def fresh(
    options: Options, base: optax.GradientTransformation, params: Any, *, momentum: bool, paired: bool
) -> ParameterFreeState:
    """The state before the first gradient; ``params`` may be abstract, only shapes and dtypes are used."""
    leaves, config = jax.tree.leaves(params), options.config
    dtype, scopes = kernels.real_dtype(leaves), kernels.count_scopes(options.scope, leaves)

    def tree(wanted: bool = True) -> Any:
        return jax.tree.map(kernels.zeros, params) if wanted else None

    def zero(kind: Any = dtype) -> jax.Array:
        return jnp.zeros((), kind)

    certified, linear = config.plan == "certified", config.schedule == "linear"
    return ParameterFreeState(
        search=as_arrays(plans.init(config, scopes, jnp), dtype),
        run=as_arrays(tracking.begin(scopes, dtype, jnp), dtype),
        finished=as_arrays(tracking.begin(scopes, dtype, jnp), dtype),
        start_sq=jnp.zeros(1 + scopes, dtype),
        anchor_sq=zero() - 1,
        pairing=pairing.begin(1 + scopes, dtype) if paired else None,
        step_size=zero(),
        probes=zero(jnp.int32),
        idle=zero(jnp.int32),
        budget=lax.convert_element_type(0 if config.endless else config.total_steps, jnp.int32),
        deploy=zero(jnp.int32) + LAST,
        base=base.init(params),
        anchor=tree(),
        average=tree(plans.averages(config)),
        lo=tree(certified),
        hi=tree(certified),
        grad_sum=tree(certified and linear),
        velocity=tree(momentum),
        recent_sq=jax.tree.map(kernels.real_zeros, params) if by_coordinate(options, paired) else None,
        iterate=jax.tree.map(lambda leaf: kernels.zeros(leaf) if kernels.is_half(leaf) else None, params),
    )


def by_coordinate(options: Options, paired: bool) -> bool:
    """Whether every coordinate has a step size of its own; a base's directions have its scale already."""
    return options.config.plan == "train" and options.scope == "auto" and not paired


def flatten(state: ParameterFreeState) -> ParameterFreeState:
    """The same state with a list of leaves for every tree."""
    return state._replace(**{name: jax.tree.leaves(getattr(state, name)) for name in TREES})


def unflatten(flat: ParameterFreeState, like: ParameterFreeState) -> ParameterFreeState:
    """The inverse of ``flatten``; ``like`` has the structure."""
    trees = {
        name: jax.tree.unflatten(jax.tree.structure(getattr(like, name)), getattr(flat, name))
        for name in TREES
    }
    return flat._replace(**trees)


def as_arrays(record: Any, dtype: Any) -> Any:
    """Copies as arrays of the state's dtypes, bool, int32 and ``dtype``: no buffer may be donated twice."""

    def convert(value: Any) -> jax.Array:
        kind = jnp.result_type(value)
        if not jnp.issubdtype(kind, jnp.bool_):
            kind = jnp.int32 if jnp.issubdtype(kind, jnp.integer) else dtype
        return jnp.array(value, kind)

    return jax.tree.map(convert, record)


def like(new: Any, old: Any) -> Any:
    """``new`` with the dtypes of ``old``, none of them weak."""
    return jax.tree.map(lambda a, b: lax.convert_element_type(a, b.dtype), new, old)


def when(condition: jax.Array, change: Callable[[Any], Any], held: Any) -> Any:
    """``change(held)`` where ``condition`` holds, else ``held``.

    A loop of no or one turn: what is not changed stays in its buffer, where a branch of ``lax.cond`` copies.
    """

    def body(carry: tuple[Any, Any]) -> tuple[Any, Any]:
        return jnp.zeros_like(condition), like(change(carry[1]), carry[1])

    return lax.while_loop(lambda carry: carry[0], body, (condition, held))[1]
