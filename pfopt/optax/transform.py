"""The transformations: trees come in and go out, and ``step.take_gradient`` does what lies between."""

from functools import partial
from typing import Any

import jax
import optax

from pfopt.core.records import Phase
from pfopt.optax import leaves, rounding, step, validation
from pfopt.optax import state as states
from pfopt.optax.gradient import Gradient, find_unit, scaled
from pfopt.optax.leaves import Leaves
from pfopt.optax.state import Options, ParameterFreeState, Turn, when
from pfopt.options import PlanLike


def parameter_free_sgd(
    total_steps: int | None = None,
    *,
    plan: PlanLike = "practical",
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
) -> optax.GradientTransformationExtraArgs:
    """SGD that finds its step size: no learning rate to tune, one run of ``total_steps`` gradients.

    Plan "practical" spends a few per cent of the budget on short probes that bisect the largest certified step size,
    and the rest on one main run, whose step sizes follow the distance travelled and the gradients met:

        z_{t+1} = z_t − η_t v_t,        η_t ∝ r̄_t/√(t m_t),        y_t = z_t + β_t (x̄_t − z_t)

    with v_t the gradient, or its average with momentum, r̄_t the largest displacement from the anchor, and m_t the mean
    of the recent ‖g‖². The parameters hold y_t, where gradients are taken; x̄_t, the average of the iterates, is
    returned. ``pfopt.core.main_run`` lists the whole rule.
    Plan "certified" is Algorithm 1 of Carmon and Hinder as it stands.

    ``update(grads, state, params)`` is all it takes. Where ``value=loss`` is passed as well, one that is not finite
    counts as a gradient that is not; no step size depends on it. The update of the last gradient lands on the returned
    point, and later ones are zero; ``eval_params`` has the point to deploy before that.

    Args:
        total_steps: number of gradients that the whole method may use, at least 16 (plan "certified": 8); None where
            it is unknown: the main run goes on without end or, where its steps decay, budgets double, each from the
            point last returned.
        plan: "practical", "certified", or a ``pfopt.Practical`` or ``pfopt.Certified`` with options. A tensor is a
            leaf; for groups, give ``optax.partition`` one transformation per label.
        momentum: m in [0, 1), normalised, v = m v + (1 − m) g, so that a step size means the same with and without it.
            The main run uses it, the probes do not.
        nesterov: Nesterov momentum; needs ``momentum > 0``.
        weight_decay: κ >= 0, decoupled: in the main run weights that no gradient holds shrink to exp(−κ) of what they
            were, by equal factors, whatever step size is found; where the horizon is unknown, at every step as fast as
            at the end of a run that ends there, of 1024 steps at least. An L2 penalty is
            ``optax.add_decayed_weights`` before this link of the chain.

    Returns:
        A ``GradientTransformationExtraArgs``. Its state holds three copies of the parameters (scopes "global" and
        "tensor": two; plan "certified": four), one more with momentum, and a float32 copy of half-precision
        parameters; statistics are float32, or float64 where parameters are.

    Raises:
        TypeError, ValueError: an argument is wrong; the message names it, what is allowed and what came. Inside a
            traced program nothing raises: gradients and losses that are not finite are not taken, several in a row end
            a probe or bring the main run back to the anchor, and ``status`` says so.

    Examples:
        >>> import jax, jax.numpy as jnp, optax, pfopt.optax
        >>> tx = pfopt.optax.parameter_free_sgd(total_steps=200)
        >>> params = jnp.zeros(3)
        >>> state = tx.init(params)
        >>> @jax.jit
        ... def step(params, state):
        ...     grads = jax.grad(lambda x: jnp.sum(jnp.abs(x - 1.0)))(params)
        ...     updates, state = tx.update(grads, state, params)
        ...     return optax.apply_updates(params, updates), state
        >>> for _ in range(200):
        ...     params, state = step(params, state)
        >>> pfopt.optax.status(state).phase
        'done'

    References:
        Carmon and Hinder, [Making SGD Parameter-Free](https://arxiv.org/abs/2205.02160), COLT 2022

    Note:
        Displacements are measured from ``params`` as ``update`` sees them. Make it the last link of a chain: what
        rescales its updates changes the run. Gradients that are exactly zero before the first one that is not spend
        nothing. A complex parameter counts as two real ones.
    """
    return _transformation(
        validation.options(total_steps, plan, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay)
    )


def parameter_free(
    base: optax.GradientTransformation, total_steps: int | None = None, *, plan: PlanLike = "practical"
) -> optax.GradientTransformationExtraArgs:
    """Any base direction with a step size that is found: no learning rate to tune, one run.

    The base turns gradients g into directions d, for example ``optax.scale_by_adam()``. They take the place of
    gradients, with norms and distances in their own metric, known from ⟨g, d⟩ and ⟨g, x_0 − x⟩ as in D-Adaptation and
    Prodigy (``pfopt.core.preconditioned``). The base's state begins anew at every restart from the anchor. The steps of
    the main run decay linearly and its last iterate is returned or, where the horizon is unknown, an average; ``plan``
    can say otherwise. See ``parameter_free_sgd`` for what is done with the budget, and for how to use it.

    Args:
        base: a transformation that leaves the sign alone: a ``scale_by_*``, or a chain that ends before the learning
            rate, such as ``optax.chain(optax.scale_by_adam(), optax.add_decayed_weights(1e-2))``.
        total_steps: number of gradients that the whole method may use; None where it is unknown.
        plan: "practical", "certified", or a ``pfopt.Practical`` or ``pfopt.Certified`` with options.

    Returns:
        A ``GradientTransformationExtraArgs``, the last link of a chain. Its state holds one copy of the parameters
        beside the base's own.

    Raises:
        TypeError, ValueError: an argument is wrong; the message names it, what is allowed and what came.

    Examples:
        >>> import optax, pfopt.optax
        >>> tx = pfopt.optax.parameter_free(optax.scale_by_adam(), total_steps=1000)

    References:
        Carmon and Hinder, [Making SGD Parameter-Free](https://arxiv.org/abs/2205.02160), COLT 2022
    """
    return _transformation(validation.options(total_steps, plan, base=validation.base(base)))


def _transformation(options: Options) -> optax.GradientTransformationExtraArgs:
    def init(params: Any) -> Any:
        validation.params(params)
        return states.init(options, params)

    def update(
        updates: Any, state: Any, params: Any = None, *, value: Any = None, **extra_args: Any
    ) -> tuple[Any, Any]:
        if params is None:
            raise ValueError(validation.PARAMS_MISSING)
        state, gradient = _gradient(options, state, params, updates, {"value": value, **extra_args})
        turn = step.take_gradient(options, states.flatten(state), gradient)
        done = state.controller.phase == Phase.DONE
        moves, iterates = rounding.updates(gradient.params, gradient.points, turn.moves, done)
        new = states.unflatten(turn.state._replace(iterate=iterates), state)
        if options.base is not None:
            new = new._replace(base=_next_base(options.base, params, turn))
        return jax.tree.unflatten(jax.tree.structure(params), moves), new

    return optax.GradientTransformationExtraArgs(init, update)


def _gradient(
    options: Options, state: ParameterFreeState, params: Any, grads: Any, extra_args: dict[str, Any]
) -> tuple[ParameterFreeState, Gradient]:
    """What came, and what the base makes of it, as lists of leaves; the state with the unit of the run."""
    param_leaves, structure = jax.tree.flatten(params)

    def as_leaves(tree: Any) -> Leaves:
        return list(map(leaves.as_real, structure.flatten_up_to(tree), param_leaves))

    points, gradients = rounding.points(param_leaves, jax.tree.leaves(state.iterate)), as_leaves(grads)
    state, unit = find_unit(options.config, state, gradients)
    base = options.base
    if base is None:
        gradients = when(unit != 1, partial(scaled, unit), gradients)
    directions = gradients
    given = {name: value for name, value in extra_args.items() if name != "value" or value is not None}
    if base is not None:
        directions = as_leaves(base.update(grads, state.base, params, **given)[0])

    def advance(held: tuple[Any, Any, Any]) -> tuple[Any, Any, Any]:
        grads, before, params = held
        return grads, base.update(grads, before, params, **given)[1] if base is not None else None, params

    def next_base(taken: jax.Array) -> Any:
        """The base once more: with nothing but its state to make, XLA writes that in place."""
        return when(taken, advance, (grads, state.base, params))[1] if base is not None else None

    loss = validation.loss(extra_args["value"], state.anchor_sq.dtype)
    return state, Gradient(param_leaves, points, gradients, directions, unit, next_base, loss)


def _next_base(base: optax.GradientTransformationExtraArgs, params: Any, turn: Turn) -> Any:
    """The base's state, which begins anew where the next gradient is the first one from the anchor."""
    param_leaves, structure = jax.tree.flatten(params)
    anchor = structure.unflatten(map(leaves.as_param, turn.state.anchor, param_leaves))
    held = anchor, turn.state.base
    return when(turn.restart, lambda held: (held[0], base.init(held[0])), held)[1]
