"""What one gradient does: kernels and search put together, without reading the device."""
# pyright: reportPrivateImportUsage=false

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pfopt.search import plan as plans
from pfopt.search import schedule as schedules
from pfopt.search import tracking
from pfopt.search.state import Config, Phase, Run, State
from pfopt.search.tracking import Move, Single
from pfopt.torch import kernels, memory, pairing, scopes
from pfopt.torch.kernels import Bundle
from pfopt.torch.pairing import Pairing


class Work(NamedTuple):
    """What a step works on."""

    config: Config
    groups: list[dict[str, Any]]
    search: dict[str, Any]  # see memory.py
    bundles: list[Bundle]
    buffers: list[Tensor]  # the caller's
    coordinates: int = 0  # how many there are, where each has a step size of its own
    pairing: Pairing | None = None  # where p.grad holds a base's direction

    @property
    def options(self) -> dict[str, Any]:
        """The options that all groups share."""
        return self.groups[0]

    def by_scope(self, squares: list[Tensor], power: int) -> Tensor:
        """Weighted sums, shape=(1 + scopes,), of the squares of each bundle's tensors."""
        return scopes.by_scope(
            self.groups, self.bundles, memory.rho(self.search, self.groups), squares, power
        )

    def reach_sq(self, reaches: list[Tensor], steps: Sequence[Tensor | list[Tensor]], move: Move) -> Tensor:
        """r̄² after a move, shape=(1 + scopes,), from ‖x − x_0‖² and the step size of each tensor."""
        moved_sq = self.by_scope(reaches, -1)
        if self.pairing is None:
            return moved_sq
        gain = self.by_scope(pairing.gained(self.pairing, steps), -1)
        return pairing.reach_sq(self.search, gain, moved_sq, move.go)

    def minimised(self, bundle: Bundle) -> Bundle:
        """The bundle with the gradients of the objective that is minimised, weight decay included."""
        decay = self.groups[bundle.group]["weight_decay"]
        return kernels.minimised(bundle, decay, self.options["maximize"])


class Gradient(NamedTuple):
    """What is known of a gradient before it is taken."""

    sq: Tensor  # shape=(1 + scopes,), ‖g‖², weight decay included
    value: Tensor | None  # shape=(), the loss that is minimised
    counts: Tensor  # shape=(), bool; False for an exact zero before the first signal, and after the run's end


def paired(work: Work, gradients: dict[Tensor, Tensor]) -> Work:
    """The same work on a base's directions, which p.grad holds, and on the gradients that they come from."""
    sums = None
    if work.config.plan == "certified" and work.config.schedule == "linear":
        rho = memory.rho(work.search, work.groups)
        sums = [_full_step(work.search) * rho[bundle.group] for bundle in work.bundles]
    products = pairing.pair(work.bundles, gradients, sums, work.search["initial_step"])
    return work._replace(pairing=products)


def take(work: Work, loss: Tensor | float | None) -> None:
    """Take one gradient; its end is for ``ending.finish`` to see."""
    search, like = work.search, work.search["initial_step"]
    state, run = memory.load_state(search), Run(**search["run"])
    sq = raw_sq = work.by_scope([kernels.grads_sq(kernels.minimised(b), like) for b in work.bundles], 1)
    if any(group["weight_decay"] for group in work.groups):
        sq = work.by_scope([kernels.grads_sq(work.minimised(b), like) for b in work.bundles], 1)
    if work.pairing is not None:
        sq = pairing.grads_sq(search, work.by_scope(work.pairing.inner, 1), sq)
    begun = like != 0
    counts = (begun | (raw_sq[0] != 0)) & (run.step < state.run_length)
    value = None
    if loss is not None:
        value = loss.to(like) if isinstance(loss, Tensor) else like.new_full((), loss)
        value = -value if work.options["maximize"] else value
    gradient = Gradient(sq, value, counts)

    if state.phase == Phase.ARBITRATE:
        run = tracking.stand(run, like.new_full((), torch.nan) if value is None else value, torch)
    elif state.phase == Phase.SEARCH:
        run = _probe(work, gradient, state, run)
    else:
        run = _train(work, gradient, state, run)
    memory.store_run(search, run)
    search["calls"] += 1


def _probe(work: Work, gradient: Gradient, state: State, run: Run) -> Run:
    """One gradient of a probe: a fixed step size from the anchor, without momentum."""
    search, like = work.search, work.search["initial_step"]
    certified = work.config.plan == "certified"
    schedule = work.config.schedule if certified else "constant"
    if state.initial_step == 0:
        _latch(work, gradient)
    full_step = _full_step(search)
    taken = tracking.real(run.step, run, torch)
    step_size = full_step * schedules.dual_factor(schedule, taken, state.run_length)
    patience = 1 if certified else tracking.PATIENCE
    run, move = tracking.probe(run, *gradient, step_size=step_size, patience=patience, xp=torch)
    search["step_size"].copy_(step_size)
    rho = memory.rho(search, work.groups)

    def moved(bundle: Bundle) -> list[Tensor]:
        return kernels.moved(work.minimised(bundle), bundle.points, step_size * rho[bundle.group])

    reaches = []
    for bundle in work.bundles:
        if certified and memory.averages(work.config):
            kernels.lerp(bundle.slot("average"), bundle.points, move.weight)
        if schedule == "linear":
            sums = kernels.accumulate(work.minimised(bundle), move.go)
            reaches.append(kernels.scaled_norms_sq(sums, full_step * rho[bundle.group], like))
        else:
            reaches.append(kernels.displacements_sq(moved(bundle), bundle.slot("anchor"), like))
    measured = full_step if schedule == "linear" else step_size
    steps = [measured * rho[bundle.group] for bundle in work.bundles]
    run, keep = tracking.moved(run, move, work.reach_sq(reaches, steps, move), torch)
    for bundle in work.bundles:
        kernels.select(keep, moved(bundle), bundle.points)
        kernels.write_back(bundle)
    return run


def _full_step(search: dict[str, Any]) -> Tensor:
    """The step size of the probe, shape=()."""
    return search["initial_step"] * 2.0 ** search["state"]["bracket"]["exponent"]


def _latch(work: Work, gradient: Gradient) -> None:
    """At the first finite gradient: fix anchor, buffers and, from ‖x_0‖ and ‖g_0‖, the initial step."""
    first = work.search["initial_step"]
    waiting = first == 0
    for bundle in work.bundles:
        kernels.select(waiting, bundle.points, bundle.slot("anchor"))
    kernels.select(waiting, work.buffers, work.search["buffers"])
    anchor_sq = work.by_scope([kernels.norms_sq(bundle.points, first) for bundle in work.bundles], 1)[0]
    found = plans.first_step(work.config, anchor_sq, gradient.sq[0], torch)
    good = waiting & gradient.counts & torch.isfinite(gradient.sq[0])
    kernels.select(good, [found], [first])


def _train(work: Work, gradient: Gradient, state: State, run: Run) -> Run:
    """One gradient of the long run, or of a candidate of it."""
    options, search = work.options, work.search
    age = tracking.real(run.step - run.origin, run, torch)
    run, move, single = tracking.track(
        run,
        *gradient,
        cap=search["initial_step"] * 2.0**state.cap,
        vouched=state.probe_length,
        alpha=work.config.alphas[0],
        root_distance_sq=search["root_distance_sq"],
        length=state.run_length,
        tail=plans.tail(work.config, state),
        schedule=plans.step_schedule(work.config),
        gamma=schedules.GAMMA[work.config.primal]
        if isinstance(options["average"], str)
        else options["average"],
        xp=torch,
    )
    search["step_size"].copy_(move.steps[0])
    share = plans.interpolation(work.config)
    places = itertools.accumulate((len(bundle.params) for bundle in work.bundles), initial=1)
    steps = [
        scopes.step_sizes(options["scope"], move.steps * work.groups[bundle.group]["lr"], bundle, place)
        for bundle, place in zip(work.bundles, places, strict=False)
    ]

    reaches, squares = [], []
    for bundle, step in zip(work.bundles, steps, strict=True):
        momentum, nesterov = (work.groups[bundle.group][name] for name in ("momentum", "nesterov"))
        iterates = kernels.extrapolated(bundle, share)
        direction = work.minimised(bundle)
        ratios = None
        if work.coordinates:
            kernels.update_squares(direction, single.share)
            ratios = _coordinate_ratios(work, bundle, iterates, single, step)
            squares.append(kernels.grads_sq(direction, run.grad_sq, ratios))
            step = kernels.scaled(ratios, step)
        if momentum:
            kernels.update_momentum(direction, move.go, momentum * (age > 0).to(age), momentum)
            direction = kernels.momentum_direction(direction, momentum, nesterov)
        new = kernels.moved(direction, iterates, step)
        reach_sq = kernels.displacements_sq(new, bundle.slot("anchor"), run.grad_sq, ratios)
        reaches.append(reach_sq)
        kernels.select(move.go & torch.isfinite(reach_sq.sum()), new, iterates)
        kernels.lerp(iterates, bundle.slot("anchor"), move.explode)
        if memory.averages(work.config):
            kernels.lerp(bundle.slot("average"), iterates, move.weight)
        kernels.interpolate(bundle, iterates, share, move.go | move.explode)
        kernels.write_back(bundle)
    kernels.select(move.explode, search["buffers"], work.buffers)
    if work.coordinates:
        run = tracking.remeasured(run, single, gradient.sq, work.by_scope(squares, 1), torch)
    return tracking.moved(run, move, work.reach_sq(reaches, steps, move), torch)[0]


def _coordinate_ratios(
    work: Work, bundle: Bundle, iterates: list[Tensor], single: Single, steps: Tensor | list[Tensor]
) -> list[Tensor]:
    """By how much each coordinate's step size exceeds its tensor's; 1 where its own is smaller."""
    rate = work.groups[bundle.group]["lr"]
    gap = kernels.joined(torch._foreach_sub(iterates, bundle.slot("anchor")))
    recent_sq = kernels.joined(bundle.slot("recent_sq"))
    own = rate * tracking.coordinate_steps(single, gap, recent_sq, work.coordinates, torch)
    parts = kernels.parted(own, iterates)
    return [
        torch.where(step > 0, part / step, 1).clamp(min=1) for part, step in zip(parts, steps, strict=True)
    ]
