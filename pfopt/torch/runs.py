"""What one gradient does: kernels and search put together, without reading the device."""
# pyright: reportPrivateImportUsage=false

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pfopt.search import plan as plans
from pfopt.search import schedule as schedules
from pfopt.search import tracking
from pfopt.search.state import Config, Phase, Run, State
from pfopt.search.tracking import Move
from pfopt.torch import kernels, memory, pairing, scopes
from pfopt.torch.glide import Measured, Moment, Rule, compiled, glide
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

    def reach_sq(self, reaches: list[Tensor], steps: Sequence[Tensor], move: Move) -> Tensor:
        """r̄² after a move, shape=(1 + scopes,), from ‖x − x_0‖² and the step size of each bundle's tensors."""
        moved_sq = self.by_scope(reaches, -1)
        if self.pairing is None:
            return moved_sq
        gain = self.by_scope(pairing.gained(self.pairing, steps), -1)
        return pairing.reach_sq(self.search, gain, moved_sq, move.go)

    def direction(self, bundle: Bundle, points: Tensor) -> Tensor:
        """The gradient of the objective that is minimised, weight decay included, as one vector."""
        decay = self.groups[bundle.group]["weight_decay"]
        return kernels.direction(bundle, points, decay, self.options["maximize"])


class Gradient(NamedTuple):
    """What is known of a gradient before it is taken."""

    sq: Tensor  # shape=(1 + scopes,), ‖g‖², weight decay included
    value: Tensor | None  # shape=(), the loss that is minimised
    counts: Tensor  # shape=(), bool; False for an exact zero before the first signal, and after the run's end


def paired(work: Work, gradients: list[Bundle]) -> Work:
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
    sq = raw_sq = work.by_scope([kernels.raw_norms_sq(bundle, like) for bundle in work.bundles], 1)
    if any(group["weight_decay"] for group in work.groups):
        sq = work.by_scope([_norms_sq(work, bundle) for bundle in work.bundles], 1)
    if work.pairing is not None:
        sq = pairing.grads_sq(search, work.by_scope(work.pairing.inner, 1), sq)
    begun = like != 0
    counts = (begun | (raw_sq[0] != 0)) & (run.step < state.run_length)
    value = None
    if loss is not None:
        value = loss.to(like) if isinstance(loss, Tensor) else like.new_full((), loss)
        value = -value if work.options["maximize"] else value
    gradient = Gradient(sq, value, counts)

    if state.phase == Phase.SEARCH:
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
    reaches = []
    for bundle in work.bundles:
        points, rate = kernels.joined(bundle.points), rho[bundle.group]
        direction, here = work.direction(bundle, points), _beside(points, move)
        if certified and plans.averages(work.config):
            average = kernels.lerp(bundle.whole("average"), points, here.weight)
            kernels.store(average, bundle.slot("average"))
        new = kernels.stepped(points, direction * step_size.to(points), rate)
        if schedule == "linear":
            grad_sum = bundle.whole("grad_sum")
            grad_sum = torch.where(here.go, grad_sum + direction, grad_sum)
            kernels.store(grad_sum, bundle.slot("grad_sum"))
            reach = grad_sum * (full_step * rate).to(points)
        else:
            reach = new - bundle.whole("anchor")
        reach_sq = kernels.norms_sq(reach, bundle.points, like)
        reaches.append(reach_sq)
        keep = here.go & torch.isfinite(reach_sq.sum()).to(points.device)
        kernels.store(torch.where(keep, new, points), bundle.points)
        kernels.write_back(bundle)
    measured = full_step if schedule == "linear" else step_size
    steps = [measured * rho[bundle.group] for bundle in work.bundles]
    return tracking.moved(run, move, work.reach_sq(reaches, steps, move), torch)[0]


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
    squares = [kernels.norms_sq(kernels.joined(b.points), b.points, first) for b in work.bundles]
    anchor_sq = work.by_scope(squares, 1)[0]
    found = plans.first_step(work.config, anchor_sq, gradient.sq[0], torch)
    good = waiting & gradient.counts & torch.isfinite(gradient.sq[0]) & (gradient.sq[0] > 0)
    kernels.select(good, [found], [first])


def _train(work: Work, gradient: Gradient, state: State, run: Run) -> Run:
    """One gradient of the long run."""
    options, search = work.options, work.search
    if state.initial_step == 0:  # no probe has met a gradient that fixes it
        _latch(work, gradient)
    stands = tracking.stands(run)
    share = plans.interpolation(work.config, state, run, torch)
    run, move, single = tracking.track(
        run,
        *gradient,
        cap=search["initial_step"] * 2.0**state.cap,
        vouched=state.probe_length,
        alpha=work.config.alphas[0],
        start_sq=search["start_sq"],
        guess=search["initial_step"],
        length=state.run_length,
        noise_sq=state.noise_sq,
        schedule=plans.step_schedule(work.config),
        gamma=schedules.GAMMA[work.config.primal]
        if isinstance(options["average"], str)
        else options["average"],
        xp=torch,
    )
    search["step_size"].copy_(move.steps[0])
    moment = Moment(move, single, stands, share, plans.interpolation(work.config, state, run, torch))
    points = {bundle.kind: bundle.points[0] for bundle in work.bundles}
    moments = {kind: _beside(some, moment) for kind, some in points.items()}
    steps = scopes.step_sizes(options["scope"], move.steps, work.bundles)
    measured = [
        _glide(work, bundle, step, moments[bundle.kind], move.weight)
        for bundle, step in zip(work.bundles, steps, strict=True)
    ]
    reaches, squares, gaps, products = map(list, zip(*measured, strict=True))
    kernels.select(move.explode, search["buffers"], work.buffers)
    away: tuple[Tensor, ...] = ()
    if work.coordinates:
        run = tracking.remeasured(run, single, gradient.sq, work.by_scope(squares, 1), torch)
        away = torch.stack(gaps).sum(), torch.stack(products).sum()
    rates = [work.groups[bundle.group]["lr"] for bundle in work.bundles]
    steps = [step * rate for step, rate in zip(steps, rates, strict=True)]
    return tracking.moved(run, move, work.reach_sq(reaches, steps, move), torch, *away)[0]


def _glide(work: Work, bundle: Bundle, steps: Tensor, moment: Moment, scalar: Tensor) -> Measured:
    """Move a bundle: compiled, where that is wanted and worth while."""
    group, config = work.groups[bundle.group], work.config
    own = {name: group[name] for name in ("lr", "momentum", "nesterov", "weight_decay", "maximize")}
    averages = plans.averages(config)
    rule = Rule(**own, averages=averages, primal=config.primal, coordinates=work.coordinates)
    alone = kernels.alone(bundle) if group["fused"] else None
    if alone is None:
        return glide(bundle, rule, steps, moment, scalar)
    return compiled()(alone, rule, steps, moment, scalar)


def _beside(points: Tensor, record: Any) -> Any:
    """The record's tensors on the device of ``points``, numbers in their dtype: float64 would win over a 0-dim x."""

    def moved(value: Any) -> Any:
        if isinstance(value, tuple):
            return _beside(points, value)
        if not isinstance(value, Tensor):
            return value
        return value.to(points) if value.is_floating_point() else value.to(points.device)

    return type(record)(*map(moved, record))


def _norms_sq(work: Work, bundle: Bundle) -> Tensor:
    """‖g‖² of each tensor of a bundle, weight decay included; 0 where there is no gradient."""
    like = work.search["initial_step"]
    if not bundle.grads:
        return like.new_zeros(len(bundle.params))
    direction = work.direction(bundle, kernels.joined(bundle.points))
    return kernels.norms_sq(direction, bundle.points, like)
