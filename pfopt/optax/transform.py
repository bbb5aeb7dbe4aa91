"""The transformations: thin shells around ``runs.take``, built as optax builds its own."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from pfopt.optax import checks, kernels, memory, runs
from pfopt.optax.memory import ParameterFreeState
from pfopt.search.state import Phase


class _Made(NamedTuple):
    """What an update got, and what the base made of it."""

    grads: Any
    directions: Any
    base: Any  # the base's next state
    loss: jax.Array | None


def scale_by_parameter_free(
    base: optax.GradientTransformation,
    total_steps: int | None,
    *,
    plan: str = "train",
    schedule: str = "linear",
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    average: str | float = "auto",
    scope: str = "auto",
) -> optax.GradientTransformationExtraArgs:
    """Scale a base direction by the step size that the search finds, at every restart from the anchor.

    The form of ``parameter_free`` that, like every ``scale_by_*``, leaves the sign to a later link:
    ``parameter_free(base, total_steps) == chain(scale_by_parameter_free(base, total_steps), scale(-1.0))``.
    See there for arguments and errors.
    """
    return _scaled(
        checks.base(base),
        total_steps,
        plan=plan,
        schedule=schedule,
        momentum=momentum,
        nesterov=nesterov,
        weight_decay=weight_decay,
        average=average,
        scope=scope,
    )


def scale_by_parameter_free_sgd(
    total_steps: int | None,
    *,
    plan: str = "train",
    schedule: str = "linear",
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    average: str | float = "auto",
    scope: str = "auto",
) -> optax.GradientTransformationExtraArgs:
    """The form of ``parameter_free_sgd`` that leaves the sign to a later link; see there."""
    return _scaled(
        None,
        total_steps,
        plan=plan,
        schedule=schedule,
        momentum=momentum,
        nesterov=nesterov,
        weight_decay=weight_decay,
        average=average,
        scope=scope,
    )


def _scaled(
    given: optax.GradientTransformationExtraArgs | None, total_steps: int | None, **choices: Any
) -> optax.GradientTransformationExtraArgs:
    """Both of the above; without a base the direction is the gradient, and its norm needs no pairing."""
    options = checks.options(total_steps, based=given is not None, **choices)
    base = given or optax.with_extra_args_support(optax.identity())

    def init(params: Any) -> ParameterFreeState:
        checks.params(params)
        momentum = not checks.is_absent(options.momentum)
        return memory.fresh(options, base, params, momentum=momentum, paired=given is not None)

    def update(
        updates: Any, state: Any, params: Any = None, *, value: Any = None, **extra_args: Any
    ) -> tuple[Any, ParameterFreeState]:
        if params is None:
            raise ValueError(checks.PARAMS_MISSING)
        extra_args = extra_args if value is None else {"value": value, **extra_args}
        made, base_state = base.update(updates, state.base, params, **extra_args)
        loss = checks.loss(value, state.anchor_sq.dtype)
        return _update(options, base, state, params, _Made(updates, made, base_state, loss))

    return optax.GradientTransformationExtraArgs(init, update)


def _update(
    options: memory.Options,
    base: optax.GradientTransformation,
    state: ParameterFreeState,
    params: Any,
    made: _Made,
) -> tuple[Any, ParameterFreeState]:
    """Trees to lists of leaves, ``runs.take``, and back."""
    leaves, structure = jax.tree.flatten(params)
    flat = memory.flatten(state)
    points, dtype = kernels.iterates(leaves, flat.iterate), flat.anchor_sq.dtype

    def wide(tree: Any) -> list[jax.Array]:
        found = structure.flatten_up_to(tree)
        return [kernels.widen(leaf, like) for leaf, like in zip(found, leaves, strict=True)]

    def renew(anchor: list[jax.Array]) -> Any:
        cast = [x.astype(leaf.dtype) for x, leaf in zip(anchor, leaves, strict=True)]
        return base.init(structure.unflatten(cast))

    grads, directions = wide(made.grads), wide(made.directions)
    raw_sq = kernels.norms_sq(grads, "global", dtype)[0]
    if not checks.is_absent(options.weight_decay):
        directions = kernels.add(directions, kernels.scale(points, options.weight_decay))
    sq = kernels.norms_sq(directions, options.scope, dtype)
    gradient = runs.Gradient(
        params=leaves,
        points=points,
        grads=grads,
        directions=directions,
        base=made.base,
        raw_sq=raw_sq,
        sq=jnp.where(jnp.isfinite(raw_sq), sq, jnp.nan),  # whatever the base made of it
        value=made.loss,
    )
    flat, moves = runs.take(options, flat, gradient, renew)
    flat = flat._replace(iterate=kernels.kept(leaves, kernels.add(points, moves)))
    scaled = kernels.updates(leaves, points, moves, done=state.search.phase == Phase.DONE)
    negated = kernels.scale(scaled, -1.0)  # a scale(-1.0) behind it cancels that, but not a minus
    return structure.unflatten(negated), memory.unflatten(flat, state)


def parameter_free(
    base: optax.GradientTransformation,
    total_steps: int | None,
    *,
    plan: str = "train",
    schedule: str = "linear",
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    average: str | float = "auto",
    scope: str = "auto",
) -> optax.GradientTransformationExtraArgs:
    """Any base direction with a step size that is searched: no learning rate to tune, one run.

    The base turns gradients g into directions d, for example ``optax.scale_by_adam()``. In the search d takes
    the place of g, measured by its products with g (``pfopt/torch/pairing.py`` says why), and the base's state
    begins anew at every restart from the anchor. The long run takes its gradients at the iterates, its step
    decays linearly, and the last iterate is returned; where the horizon is unknown, the average with gamma = 3.
    See ``parameter_free_sgd`` for what is done with the budget.

    Args:
        base: a transformation that leaves the sign alone: a ``scale_by_*`` or a chain that ends before the
            learning rate.
        total_steps: number of gradients that the whole method may use; ``None`` where it is unknown: budgets
            double, each from the last returned point.
        plan: "train" or "certified".
        schedule: "linear" or "constant": of the long run, or of the probes of plan "certified".
        momentum: m in [0, 1), normalised, v = m v + (1 − m) d; in the long run only.
        nesterov: Nesterov momentum; needs ``momentum > 0``.
        weight_decay: weight_decay · x is added to the direction: decoupled where the base rescales gradients.
        average: "auto", "last" or a number gamma >= 0, see ``parameter_free_sgd``.
        scope: "global", "tensor" or "auto", the larger step size of the two; see ``parameter_free_sgd``.

    Returns:
        A ``GradientTransformationExtraArgs``, the last link of a chain.

    Raises:
        TypeError, ValueError: an argument is wrong; the message names it, what is allowed and what came.

    Examples:
        >>> import optax, pfopt.optax
        >>> tx = pfopt.optax.parameter_free(optax.scale_by_adam(), total_steps=1000)

    References:
        Carmon and Hinder, `Making SGD Parameter-Free <https://arxiv.org/abs/2205.02160>`_, COLT 2022
    """
    scaled = scale_by_parameter_free(
        base,
        total_steps,
        plan=plan,
        schedule=schedule,
        momentum=momentum,
        nesterov=nesterov,
        weight_decay=weight_decay,
        average=average,
        scope=scope,
    )
    return optax.chain(scaled, optax.scale(-1.0))


def parameter_free_sgd(
    total_steps: int | None,
    *,
    plan: str = "train",
    schedule: str = "linear",
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    average: str | float = "auto",
    scope: str = "auto",
) -> optax.GradientTransformationExtraArgs:
    r"""SGD that finds its step size: no learning rate to tune, one run of ``total_steps`` gradients.

    Plan "train" spends a few per cent of the budget on short probes that bisect the largest certified step
    size, and the rest on one long run

    .. math::
        v_t = m v_{t-1} + (1-m) g_t, \qquad
        z_{t+1} = z_t - \min\Big(\tfrac{c \max(r^*,\, \bar r_t)}{\sqrt{t\, m_t}},\, \eta_{\max}\Big) v_t

    with :math:`\bar r_t` the largest displacement from the anchor, :math:`m_t` the mean of the recent
    :math:`\|g\|^2`, and :math:`\eta_{\max}` four times the step size found, or more where the run certifies
    more (``pfopt.search.tracking``). A leaf or a single coordinate moves by a step size of its own where
    that is larger (``scope``). Gradients are taken at :math:`y_t = z_t + \beta_t (\bar x_t - z_t)`,
    which the parameters hold, with :math:`\beta_t = \tfrac23`, and up to 0.9 in the end; the average
    :math:`\bar x_t` of the iterates is returned. The update of the last gradient lands on the returned point;
    later ones are zero. Plan "certified" is Algorithm 1 of Carmon and Hinder, as it
    stands with schedule "constant".

    ``update(grads, state, params)`` is all it takes. Where ``value=loss`` is passed as well, one that is not finite
    counts as a gradient that is not. No step size depends on it.

    Args:
        total_steps: number of gradients that the whole method may use, at least 16 (plan "certified": 8);
            ``None`` where it is unknown: the long run goes on without end, and ``eval_params`` has the point to
            deploy. A long run that decays has budgets that double instead, each from the last returned point.
        plan: "train" or "certified".
        schedule: of plan "certified", the probes' schedule: "constant" returns their average, which the paper's
            theorems are about, and "linear" the last iterate of a linear decay. In the long run "linear" is
            primal averaging as above, or a linear decay where the last iterate is returned; "constant" takes the
            gradients at the iterates themselves and does not decay.
        momentum: m in [0, 1), normalised, so that a step size means the same with and without it. The long
            run uses it, the probes do not.
        nesterov: Nesterov momentum; needs ``momentum > 0``.
        weight_decay: L2 penalty, >= 0: weight_decay · x is added to the gradient.
        average: what is returned: a number gamma >= 0, the average with weights t^gamma times the square of
            the certificate's step size (``pfopt.search.tracking``); "last", the last iterate; "auto", the
            average with gamma = 1/2 or, with schedule "constant", with gamma = 3.
        scope: over what displacement and gradients are estimated in the long run: "global", "tensor" or
            "auto", the largest step size of the whole, the leaf and the single coordinate. Plan "certified"
            is always global. For groups, give ``optax.partition`` one transformation per label.

    Returns:
        A ``GradientTransformationExtraArgs``. Its state holds three copies of the parameters (scopes "global"
        and "tensor": two; plan "certified": four), one more with momentum, and a float32 copy of half-precision
        parameters; statistics are float32, or float64 where parameters are.

    Raises:
        TypeError, ValueError: an argument is wrong; the message names it, what is allowed and what came.
            Inside a traced program nothing raises: gradients and losses that are not finite are not taken, several in
            a row end a probe or bring the long run back to the anchor, and ``status`` says so.

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
        Carmon and Hinder, `Making SGD Parameter-Free <https://arxiv.org/abs/2205.02160>`_, COLT 2022

    Note:
        Displacements are measured from ``params`` as ``update`` sees them. Make it the last link of a chain:
        what rescales its updates changes the run. Gradients that are exactly zero before the first one
        that is not spend nothing.
    """
    scaled = scale_by_parameter_free_sgd(
        total_steps,
        plan=plan,
        schedule=schedule,
        momentum=momentum,
        nesterov=nesterov,
        weight_decay=weight_decay,
        average=average,
        scope=scope,
    )
    return optax.chain(scaled, optax.scale(-1.0))
