"""What one gradient does, and what the end of a run does: kernels and search put together.

Nothing here reads the device but ``finish``, at the last step of a run.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from pfopt.search import plan as plans
from pfopt.search import schedule as schedules
from pfopt.search import tracking
from pfopt.search.state import (
    ANCHOR,
    AVERAGE,
    HI,
    LAST,
    LO,
    Config,
    Phase,
    Run,
    State,
    Verdict,
    on_host,
)
from pfopt.torch import kernels, memory
from pfopt.torch.kernels import Bundle

SLOTS = {ANCHOR: "anchor", LO: "lo", HI: "hi", AVERAGE: "average"}


class Step(NamedTuple):
    """Everything that one gradient brings."""

    config: Config
    groups: list[dict[str, Any]]
    search: dict[str, Any]  # see memory.py
    bundles: list[Bundle]  # with the gradients of the objective that is minimised
    buffers: list[Tensor]  # the caller's
    grad_sq: Tensor  # shape=(1 + scopes,)
    value: Tensor | None  # shape=(), the loss that is minimised
    counts: Tensor  # shape=(), bool; False for a gradient that is exactly zero

    @property
    def options(self) -> dict[str, Any]:
        """The options that all groups share."""
        return self.groups[0]


def take(
    config: Config,
    groups: list[dict[str, Any]],
    search: dict[str, Any],
    bundles: list[Bundle],
    buffers: list[Tensor],
    loss: Any,
) -> None:
    """Take one gradient, and finish the run if it was its last."""
    like = search["initial_step"]
    state, run = memory.load_state(search), Run(**search["run"])
    raw = by_scope(groups, search, bundles, [kernels.grads_sq(b, like) for b in bundles])
    counts = (raw[0] != 0) & (run.step < state.run_length)
    maximize = groups[0]["maximize"]
    bundles = [kernels.regularised(b, groups[b.group]["weight_decay"], maximize) for b in bundles]
    if any(group["weight_decay"] for group in groups):
        raw = by_scope(groups, search, bundles, [kernels.grads_sq(b, like) for b in bundles])
    value = None if loss is None else torch.as_tensor(-loss if maximize else loss).to(like)
    step = Step(config, groups, search, bundles, buffers, raw, value, counts)

    if state.phase == Phase.ARBITRATE:
        run = tracking.stand(run, like.new_full((), torch.nan) if value is None else value, torch)
    elif state.phase == Phase.SEARCH:
        run = _probe(step, state, run)
    else:
        run = _train(step, state, run)
    memory.store_run(search, run)
    search["calls"] += 1
    if search["calls"] >= search["due"]:
        _finish(step, state)


def deploy_slot(config: Config, state: State) -> str:
    """The slot that holds the iterate to deploy, or "" where the parameters hold it."""
    if state.phase in (Phase.ARBITRATE, Phase.DONE):
        return ""
    if state.phase == Phase.TRAIN:
        return SLOTS[AVERAGE] if config.output == AVERAGE else ""
    return SLOTS[state.output] if config.plan == "certified" else SLOTS[ANCHOR]


def by_scope(
    groups: list[dict[str, Any]],
    search: dict[str, Any],
    bundles: list[Bundle],
    squares: list[Tensor],
    power: int = 1,
) -> Tensor:
    """Sums of the squares of each tensor, shape=(1 + scopes,): of all of them, then of each scope.

    A group whose lr is a multiple rho of the largest moves in the metric ‖x‖²/rho, in which its gradient has the
    norm rho ‖g‖²: ``power`` is 1 for gradients and −1 for points. A group with rho = 0 does not count.
    """
    ratios = [search["ratios"][b.group] for b in bundles]
    weighted = [s * (rho**power if rho > 0 else 0.0) for s, rho in zip(squares, ratios, strict=True)]
    sums = [s.sum() for s in weighted]
    total = torch.stack(sums).sum().reshape(1)
    scopes = search["run"]["grad_sq"].numel() - 1
    if scopes == 0:
        return total
    if groups[0]["scope"] == "group":
        per_group = [
            torch.stack([s for s, b in zip(sums, bundles, strict=True) if b.group == index]).sum()
            for index in range(len(groups))
        ]
        return torch.cat([total, torch.stack(per_group)])
    return torch.cat([total, *weighted])


def _probe(step: Step, state: State, run: Run) -> Run:
    """One gradient of a probe: a fixed step size from the anchor, without momentum."""
    config, search = step.config, step.search
    certified = config.plan == "certified"
    schedule = config.schedule if certified else "constant"
    if state.initial_step == 0:
        _latch(step)
    full_step = search["initial_step"] * 2.0**state.bracket.exponent
    step_size = full_step * schedules.dual_factor(schedule, run.step, state.run_length)
    weight = schedules.average_weight(0.0, run.step + 1) * step.counts
    patience = 1 if certified else tracking.PATIENCE
    run, move = tracking.probe(
        run, step.grad_sq, step.value, step.counts, step_size=step_size, patience=patience, xp=torch
    )
    search["step_size"] = step_size
    news, reaches = [], []
    for bundle in step.bundles:
        ratio = search["ratios"][bundle.group]
        if certified:
            kernels.lerp(bundle.slot("average"), bundle.points, weight)
        new = kernels.moved(bundle, step_size * ratio)
        if schedule == "linear":
            squares = kernels.norms_sq(kernels.accumulate(bundle, move.go), run.grad_sq)
            reaches.append(squares * (full_step * ratio) ** 2)
        else:
            reaches.append(kernels.displacements_sq(new, bundle.slot("anchor"), run.grad_sq))
        news.append(new)
    run, keep = tracking.moved(run, move, by_scope(step.groups, search, step.bundles, reaches, -1), torch)
    for bundle, new in zip(step.bundles, news, strict=True):
        kernels.select(keep, new, bundle.points)
        kernels.write_back(bundle)
    return run


def _latch(step: Step) -> None:
    """At the first finite gradient: fix the anchor, the buffers and, from ‖x_0‖ and ‖g_0‖, the initial step."""
    search = step.search
    waiting = search["initial_step"] == 0
    for bundle in step.bundles:
        kernels.select(waiting, bundle.points, bundle.slot("anchor"))
    kernels.select(waiting, step.buffers, search["buffers"])
    squares = [kernels.norms_sq(bundle.points, step.grad_sq) for bundle in step.bundles]
    anchor_sq = by_scope(step.groups, search, step.bundles, squares, -1)[0]
    first = plans.first_step(step.config, anchor_sq, step.grad_sq[0], torch)
    good = waiting & step.counts & torch.isfinite(step.grad_sq[0])
    search["initial_step"] = torch.where(good, first, search["initial_step"])


def _train(step: Step, state: State, run: Run) -> Run:
    """One gradient of the long run, or of a candidate of it."""
    options, search = step.options, step.search
    stretch = run.step > run.origin
    count = run.step - run.origin + 1
    run, move = tracking.track(
        run,
        step.grad_sq,
        step.value,
        step.counts,
        cap=search["initial_step"] * 2.0**state.cap,
        root_distance_sq=search["root_distance_sq"],
        length=state.run_length,
        tail=plans.tail(step.config, state),
        schedule=step.config.schedule,
        xp=torch,
    )
    search["step_size"] = move.steps[0]
    gamma = plans.GAMMA if isinstance(options["average"], str) else options["average"]
    weight = torch.where(move.explode, 1.0, schedules.average_weight(gamma, count) * move.go)
    decay = stretch * options["momentum"]
    news, reaches, place = [], [], 1
    for bundle in step.bundles:
        group = step.groups[bundle.group]
        if options["momentum"]:
            bundle = kernels.momentum_direction(bundle, move.go, decay, group["momentum"], group["nesterov"])
        steps = _step_sizes(options["scope"], move.steps * group["lr"], bundle, place)
        place += len(bundle.params)
        new = kernels.moved(bundle, steps)
        reaches.append(kernels.displacements_sq(new, bundle.slot("anchor"), run.grad_sq))
        news.append(new)
    run, keep = tracking.moved(run, move, by_scope(step.groups, search, step.bundles, reaches, -1), torch)
    for bundle, new in zip(step.bundles, news, strict=True):
        kernels.select(keep, new, bundle.points)
        kernels.select(move.explode, bundle.slot("anchor"), bundle.points)
        kernels.lerp(bundle.slot("average"), bundle.points, weight)
        kernels.write_back(bundle)
    return run


def _step_sizes(scope: str, steps: Tensor, bundle: Bundle, place: int) -> Tensor | list[Tensor]:
    """The entries of ``steps`` that move the tensors of ``bundle``; its first tensor has entry ``place``."""
    if scope == "group":
        return steps[1 + bundle.group]
    if len(steps) == 1:
        return steps[0]
    own = list(steps[place : place + len(bundle.params)])
    return own if scope == "tensor" else [torch.maximum(steps[0], each) for each in own]


def _finish(step: Step, state: State) -> None:
    """Read what the run measured, decide, and lay out the parameters for what comes next."""
    config, search = step.config, step.search
    run, initial_step = memory.read_run(search)
    if run.step < state.run_length and state.phase != Phase.ARBITRATE:
        search["due"] += state.run_length - run.step  # zero gradients spent nothing
        return
    state = state._replace(initial_step=initial_step)
    following, verdict = map(on_host, plans.finish(config, state, run))
    if state.phase == Phase.SEARCH:
        search["history"].append(list(plans.record(state, run, verdict.accepted)))
    if state.phase != Phase.ARBITRATE:
        search["estimates"] = list(tracking.estimates(run))
    memory.store_state(search, following)
    _lay_out(step, state, following, verdict)
    root = plans.root_distance_sq(following)
    search["root_distance_sq"] = torch.as_tensor(root).to(search["root_distance_sq"])
    if following.phase != Phase.DONE:
        search["ratios"] = memory.ratios(step.groups)
        memory.begin_run(search, len(run.grad_sq) - 1)


def _lay_out(step: Step, state: State, following: State, verdict: Verdict) -> None:
    """Put the point that the next run starts from, or the returned one, into the parameters."""
    done = following.phase == Phase.DONE or verdict.reanchor
    linear = step.config.schedule == "linear"
    for bundle in step.bundles:
        if step.config.plan == "certified" and verdict.keep in (LO, HI):
            kernels.copy(
                bundle.points if linear else bundle.slot("average"), bundle.slot(SLOTS[verdict.keep])
            )
        if following.phase == Phase.ARBITRATE or (
            state.phase == Phase.ARBITRATE and following.output == LAST
        ):
            kernels.swap(bundle, "average")  # the other one of the average and the last iterate
        elif not done:
            kernels.copy(bundle.slot("anchor"), bundle.points)
        elif state.phase != Phase.ARBITRATE and following.output != LAST:
            kernels.copy(bundle.slot(SLOTS[following.output]), bundle.points)
        if verdict.reanchor:
            kernels.copy(bundle.points, bundle.slot("anchor"))
        if following.phase in (Phase.SELECT, Phase.TRAIN):
            kernels.copy(bundle.points, bundle.slot("average"))
        if "grad_sum" in bundle.states[0]:
            torch._foreach_zero_(bundle.slot("grad_sum"))
        kernels.write_back(bundle)
    restarts = following.phase in (Phase.SEARCH, Phase.SELECT) or state.phase in (Phase.SEARCH, Phase.SELECT)
    if restarts and step.buffers:
        new, old = (
            (step.buffers, step.search["buffers"])
            if verdict.reanchor
            else (step.search["buffers"], step.buffers)
        )
        for source, target in zip(new, old, strict=True):
            target.copy_(source)
