"""What a user reads from a state, wherever in an optimizer's state it lies."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pfopt.core.arrays import on_host
from pfopt.core.budget import FIRST_STAGE
from pfopt.core.records import Phase, Slot
from pfopt.core.run import estimates
from pfopt.optax import leaves, validation
from pfopt.optax.state import ParameterFreeState, is_traced
from pfopt.status import Status, in_plain_units, message


def eval_params(state: Any, params: Any) -> Any:
    """The point to deploy: the anchor before the main run, the average in it, then the returned point.

    Args:
        state: an optimizer's state that holds that of ``parameter_free_sgd`` or ``parameter_free`` anywhere
            inside; under ``optax.partition`` it may hold several, each with its part of the parameters.
        params: the parameters that belong to it, as ``init`` got them.

    Returns:
        A tree like ``params``, equal to them where they hold that point already. Works under ``jit``, too.

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
    if any(map(is_traced, jax.tree.leaves(states[0].controller))):
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
    for shape in (np.shape(node.anchor_sq) for node in found):
        if shape:
            raise ValueError(
                f"state must hold the state of one run, got a batch of shape {shape}: index it first"
            )
    return found


def _deployed(state: ParameterFreeState, params: Any) -> Any:
    validation.same_params(state.anchor, params)
    slots = {Slot.ANCHOR: state.anchor, Slot.LO: state.lo, Slot.HI: state.hi, Slot.AVERAGE: state.average}
    kept = {slot: tree for slot, tree in slots.items() if tree is not None}
    stills = iter(state.still)

    def pick(anchor: Any, param: Any, *others: Any) -> Any:
        if validation.is_masked(anchor):
            return param  # another transformation's
        deployed = jnp.where(next(stills), Slot.LAST, state.deployed)
        for slot, point in zip(kept, (anchor, *others), strict=True):
            param = jnp.where(deployed == slot, leaves.as_param(point, param), param)
        return param

    anchor, *others = kept.values()
    return jax.tree.map(pick, anchor, params, *others, is_leaf=validation.is_masked)


def _status(state: ParameterFreeState) -> Status:
    records = state.controller, state.run, state.total_steps, state.idle, state.probes
    controller, run, total_steps, idle, probes = map(on_host, records)
    step_size, unit = map(on_host, (state.step_size, state.unit))
    done = controller.phase == Phase.DONE
    lipschitz, distance = estimates(run)
    stages = (total_steps or FIRST_STAGE) * (2**controller.budget_doublings - 1)
    step = stages + controller.spent + (0 if done else run.step)
    told = Status(
        phase=Phase(controller.phase).label,
        probe=probes,
        step=step,
        steps_left=max(total_steps - step - idle, 0) if total_steps else None,
        step_size=step_size,
        lipschitz=lipschitz,
        distance=distance,
        message=message(controller, run),
    )
    return told if state.metric is not None else in_plain_units(told, unit or 1.0)
