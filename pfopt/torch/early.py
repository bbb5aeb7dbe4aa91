"""A gradient that moves the parameters before ``step()``, tensor by tensor, and is taken there; see ``in_backward``.

What ``step`` does in one go for all tensors is done for each as it comes, with the decision that ``core.step.foresee``
has made, and put together by the same functions.
"""

from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from pfopt.core import step as core_step
from pfopt.core.arrays import Flag, is_of_host, where, whole
from pfopt.core.main_run import Decision
from pfopt.core.records import Phase
from pfopt.core.step import Moved
from pfopt.core.update import Sums
from pfopt.torch import moves, ops, step
from pfopt.torch.bundles import Bundle
from pfopt.torch.state import Controller
from pfopt.torch.step import Work


class Early(NamedTuple):
    """A tensor that was moved before its optimizer's ``step``."""

    bundle: Bundle  # of this tensor alone, without its gradient
    norm_sq: Any  # ‖g‖²; infinite where it is no number of the tensor's dtype
    largest: Tensor | None  # the largest |g_i|, as long as the run has no unit
    told: Any  # what ``_move_early`` of the optimizer has returned


def move(work: Work, decision: Decision, finite: Flag) -> moves.Result | None:
    """Move the one bundle of ``work`` if its gradient can be squared; None where nothing is to be done."""
    weight, (bundle,) = decision.average_weight * finite, work.bundles
    decision = decision._replace(taken=decision.taken & finite, average_weight=weight)
    state = work.memory.controller.state
    if state.phase == Phase.SEARCH:
        return moves.Result(None, Sums(step.move_bundle_in_probe(work, state, decision, bundle)))
    if work.is_still(bundle) or moves.stays(decision):
        return None
    return step.move_one_by_one(work, decision)[0]


@np.errstate(all="ignore")
def take_gradient(work: Work, tensors: list[Early], foreseen: Decision, loss: Tensor | float | None) -> None:
    """Take one gradient that has moved the parameters already; the end of the run is for ``transition`` to see."""
    memory, old = work.memory, work.memory.controller
    measured = step.measured_from(work, old.state, loss, [each.norm_sq for each in tensors])
    state, run, decision = core_step.decide(work.config, old.state, old.run, measured)
    moved = add_up(work, [(each.bundle, each.told) for each in tensors])
    if moved.grad_sq is not None:
        moved = moved._replace(grad_sq=where(foreseen.taken, moved.grad_sq, measured.grad_sq))
    run, _ = core_step.record(run, decision, measured, moved)
    go_back(work, decision.restart | run.frozen)
    memory.keep(Controller(state, run, None, whole(foreseen.step_sizes)))
    memory.due -= 1


def add_up(work: Work, results: list[tuple[Bundle, moves.Result | None]]) -> Moved:
    """What the bundles that have moved measured together."""
    found = [(bundle, *result) for bundle, result in results if result is not None]
    if not found:
        return Moved(None)
    bundles, grad_sqs, sums = zip(*found, strict=True)
    return step.add_up(work._replace(bundles=list(bundles)), grad_sqs, sums)


def go_back(work: Work, flag: Flag) -> None:
    """Where the flag holds go back to the anchor, with average and buffers; what stands still in the main run stays."""
    if is_of_host(flag) and not flag:
        return
    main = work.memory.phase == Phase.MAIN
    for bundle in work.bundles:
        if main and not work.groups[bundle.group]["lr"]:
            continue
        points, anchor = bundle.points(), bundle.state["anchor"]
        targets = [points, *(bundle.state[name] for name in ("average",) if main and name in bundle.state)]
        ops.copy_where(flag, [anchor] * len(targets), targets)
        bundle.place(points)
    ops.copy_where(flag, work.memory.buffers, work.buffers)
