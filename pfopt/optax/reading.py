"""What a user reads from a state, wherever in an optimizer's state it lies."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from pfopt.optax import checks
from pfopt.optax.memory import ParameterFreeState
from pfopt.search import tracking
from pfopt.search.plan import FIRST_STAGE
from pfopt.search.state import ANCHOR, AVERAGE, HI, LO, Outcome, Phase, Status, on_host, sentence


def eval_params(state: Any, params: Any) -> Any:
    """The iterate to deploy: the anchor before the long run, the average in it, then the returned point.

    Args:
        state: an optimizer's state that holds that of ``parameter_free_sgd`` or ``parameter_free`` anywhere
            inside; under ``optax.partition`` it may hold several, each with its part of the parameters.
        params: the parameters that belong to it, as ``init`` got them.

    Returns:
        A tree like ``params``, equal to them where they hold the iterate already. Works under ``jit``, too.

    Raises:
        ValueError: there is no such state inside, it is a batch of them, or its parameters are others.
    """
    for found in _find(state):
        params = _deployed(found, params)
    return params


def status(state: Any) -> Status:
    """Where the optimizer stands; waits for the device.

    Args:
        state: an optimizer's state that holds that of ``parameter_free_sgd`` or ``parameter_free`` anywhere
            inside, once; of several (``optax.partition``, ``jax.vmap``), pass one at a time.

    Returns:
        Phase, probes and gradients so far, what is left, the last step size, and a sentence.

    Raises:
        ValueError: there is none, there are several, it is a batch of them, or it is traced.
    """
    states = _find(state)
    if len(states) > 1:
        raise ValueError(f"state must hold one parameter-free state, got {len(states)}: pass one of them")
    if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(states[0].search)):
        raise ValueError("state must hold values, got traced arrays: call status outside of jit")
    return _status(states[0])


def _find(state: Any) -> list[ParameterFreeState]:
    def is_ours(node: Any) -> bool:
        return isinstance(node, ParameterFreeState)

    found = [node for node in jax.tree.leaves(state, is_leaf=is_ours) if is_ours(node)]
    if not found:
        raise ValueError(
            "state must hold the state of pfopt.optax.parameter_free_sgd or parameter_free, got "
            f"{type(state).__name__} without one"
        )
    for many in (np.shape(node.anchor_sq) for node in found):
        if many:
            raise ValueError(
                f"state must hold the state of one run, got a batch of shape {many}: index it first"
            )
    return found


def _deployed(state: ParameterFreeState, params: Any) -> Any:
    checks.same_params(state.anchor, params)
    slots = {ANCHOR: state.anchor, LO: state.lo, HI: state.hi, AVERAGE: state.average}

    def pick(anchor: Any, param: Any, *others: Any) -> Any:
        if checks.is_masked(anchor):
            return param  # another transformation's
        for slot, point in zip(held, (anchor, *others), strict=True):
            param = jnp.where(state.deploy == slot, point.astype(param.dtype), param)
        return param

    held = [slot for slot, tree in slots.items() if tree is not None]
    trees = [slots[slot] for slot in held]
    return jax.tree.map(pick, trees[0], params, *trees[1:], is_leaf=checks.is_masked)


def _status(state: ParameterFreeState) -> Status:
    search, run, finished = (on_host(record) for record in (state.search, state.run, state.finished))
    budget, idle, probes, step_size = (
        value.item() for value in map(np.asarray, (state.budget, state.idle, state.probes, state.step_size))
    )
    done = search.phase == Phase.DONE
    last = finished if done else run
    lipschitz, distance = tracking.estimates(last)
    first_stage = budget or FIRST_STAGE
    step = first_stage * (2**search.stage - 1) + search.spent + (0 if done else run.step)
    return Status(
        phase=Phase(search.phase).label,
        probe=probes,
        step=step,
        steps_left=None if budget == 0 else max(budget - step - idle, 0),
        step_size=step_size,
        lipschitz=lipschitz,
        distance=distance,
        message=sentence(Outcome(search.outcome), last.cuts),
    )
