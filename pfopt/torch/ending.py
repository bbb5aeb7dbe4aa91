"""What the end of a run does: the one place that reads the device."""

import numpy as np
import torch

from pfopt.search import plan as plans
from pfopt.search import tracking
from pfopt.search.state import ANCHOR, AVERAGE, HI, LAST, LO, Config, Phase, State, Verdict, on_host
from pfopt.torch import kernels, memory
from pfopt.torch.kernels import Bundle
from pfopt.torch.runs import Work

SLOTS = {ANCHOR: "anchor", LO: "lo", HI: "hi", AVERAGE: "average"}


def finish(work: Work) -> None:
    """Read what the run measured, decide, and lay out the parameters for what comes next.

    Zeros before the first gradient spent nothing: then there are some left to take.
    """
    search = work.search
    run, initial_step = memory.read_run(search)
    state = memory.load_state(search)._replace(initial_step=initial_step)
    if run.step < state.run_length:
        search["due"] = search["calls"] + state.run_length - run.step
        return
    with np.errstate(all="ignore"):
        following, verdict = map(on_host, plans.finish(work.config, state, run))
        start_sq = plans.start_sq(work.config, following)
        if state.phase == Phase.SEARCH:
            search["history"].append(list(plans.record(state, run, verdict.accepted)))
        search["estimates"] = [*tracking.estimates(run), int(run.cuts)]
    memory.store_state(search, following)
    search["initial_step"].fill_(following.initial_step)
    search["start_sq"].copy_(torch.from_numpy(start_sq))
    for bundle in work.bundles:
        _lay_out(bundle, work.config, following, verdict)
    _lay_out_buffers(work, state, following, verdict)
    if following.phase != Phase.DONE:
        memory.begin_run(search, work.groups)


def deploy_slot(config: Config, state: State) -> str:
    """The slot that holds the iterate to deploy, or "" where the parameters hold it."""
    if state.phase == Phase.DONE:
        return ""
    if state.phase == Phase.TRAIN:
        return SLOTS[AVERAGE] if config.output == AVERAGE else ""
    return SLOTS[state.output] if config.plan == "certified" else SLOTS[ANCHOR]


def _lay_out(bundle: Bundle, config: Config, following: State, verdict: Verdict) -> None:
    """Put the point that the next run starts from, or the returned one, into the parameters."""
    if config.plan == "certified" and verdict.keep in (LO, HI):
        output = bundle.points if config.schedule == "linear" else bundle.slot("average")
        kernels.copy(output, bundle.slot(SLOTS[verdict.keep]))
    delivered = following.phase == Phase.DONE or verdict.reanchor
    if not delivered:
        kernels.copy(bundle.slot("anchor"), bundle.points)
    elif following.output != LAST:
        kernels.copy(bundle.slot(SLOTS[following.output]), bundle.points)
    if verdict.reanchor:
        kernels.copy(bundle.points, bundle.slot("anchor"))
    if plans.averages(config) and following.phase == Phase.TRAIN:
        kernels.copy(bundle.points, bundle.slot("average"))
    if config.plan == "certified" and config.schedule == "linear":
        kernels.zero(bundle.slot("grad_sum"))
    kernels.write_back(bundle)


def _lay_out_buffers(work: Work, state: State, following: State, verdict: Verdict) -> None:
    """Put the caller's buffers back where a run restarts; keep them where a new anchor is set."""
    if verdict.reanchor:
        kernels.copy(work.buffers, work.search["buffers"])
    elif state.phase == Phase.SEARCH:
        kernels.copy(work.search["buffers"], work.buffers)
