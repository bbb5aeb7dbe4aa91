"""The end of a run: read what it measured, let ``pfopt.core`` decide what comes next, and place the parameters.

The only place that reads a device.
"""

from collections.abc import Collection, Sequence

import numpy as np

from pfopt.core import controller
from pfopt.core.arrays import on_host
from pfopt.core.config import Config
from pfopt.core.records import Phase, Slot, State, Transition
from pfopt.status import in_plain_units, probe_record
from pfopt.torch import ops
from pfopt.torch.bundles import Bundle
from pfopt.torch.step import Work

SLOTS = {  # the state tensors that hold a point; "" where the parameters do
    Slot.ANCHOR: "anchor",
    Slot.LO: "lo",
    Slot.HI: "hi",
    Slot.AVERAGE: "average",
    Slot.LAST: "",
}


def finish(work: Work) -> Transition | None:
    """End the current run, where it has taken all of its gradients.

    Zeros before the first gradient with signal spent nothing: then there are some left to take.

    Returns:
        What the end of the run means for the parameters; None where there are gradients left.
    """
    memory = work.memory
    state, run, _, _ = memory.read()
    if run.step < state.run_length:
        memory.due = state.run_length - run.step
        return None
    with np.errstate(all="ignore"):
        following, transition = map(on_host, controller.finish(work.config, state, run))
        if state.phase == Phase.SEARCH:
            record = probe_record(state, run, transition.accepted)
            memory.history.append(in_plain_units(record, memory.gradient_unit))
    for bundle in work.bundles:
        _place(bundle, work, following, transition)
    if transition.reanchor:
        ops.copy(work.buffers, memory.buffers)
    elif state.phase == Phase.SEARCH:
        ops.copy(memory.buffers, work.buffers)
    if following.phase == Phase.DONE:
        memory.end(following)
    else:
        memory.begin_run(following, work.groups)
    return transition


def deployed(config: Config, state: State) -> str:
    """The name of the state tensors that hold the point to deploy, or "" where the parameters hold it."""
    return SLOTS[Slot(controller.deployed_slot(config, state))]


def swap(bundles: Sequence[Bundle], still: Collection[int], slot: str) -> None:
    """Exchange the parameters with the state tensors of a name, but for those that stand still."""
    for part in (part for bundle in bundles for part in bundle.apart_from(still)):
        held = part.points().clone()
        part.place(part.state[slot])
        part.state[slot].copy_(held)


def _place(bundle: Bundle, work: Work, following: State, transition: Transition) -> None:
    """Put the point that the next run starts from, or the returned one, into the parameters.

    What the last gradient of the main run did not move stays where it is, and so does a group whose rate is 0, of which
    the anchor is where it stands: the rate may have become 0 after the probe began.
    """
    state, config = bundle.state, work.config
    if config.certified and transition.keep != Slot.ANCHOR:
        state[SLOTS[Slot(transition.keep)]].copy_(
            state["average"] if config.returns_average else bundle.points()
        )
    returned = following.phase == Phase.DONE or transition.reanchor
    if not work.groups[bundle.group]["lr"]:
        state["anchor"].copy_(bundle.points())
    source = SLOTS[Slot(following.output)] if returned else "anchor"
    for part in bundle.apart_from(work.memory.still if returned else ()) if source else ():
        part.place(part.state[source])
    if transition.reanchor:
        state["anchor"].copy_(bundle.points())
    if "average" in state and following.phase == Phase.MAIN:
        state["average"].copy_(bundle.points())
    if "grad_sum" in state:
        state["grad_sum"].zero_()
