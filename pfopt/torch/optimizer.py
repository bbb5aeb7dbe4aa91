"""``ParameterFreeSGD``: the search, driven by ``step()``.

The class owns state and order; ``kernels`` owns the mathematics, ``pfopt.search`` every decision. Per-parameter
tensors live in ``state[p]``, the controller in one dictionary of numbers and 0-dim tensors,
``param_groups[0]["search"]``: that is what saves, loads, pickles and copies without further code.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.optim import Optimizer

from pfopt.search import plan as plans
from pfopt.search import schedule as schedules
from pfopt.search import tracking, validate
from pfopt.search.state import (
    ANCHOR,
    AVERAGE,
    HI,
    LAST,
    LO,
    Config,
    Outcome,
    Phase,
    ProbeRecord,
    Run,
    State,
    Status,
    Verdict,
    on_host,
)
from pfopt.torch import kernels, memory
from pfopt.torch.kernels import Bundle

SLOTS = {ANCHOR: "anchor", LO: "lo", HI: "hi", AVERAGE: "average"}
SCOPES = ("auto", "global", "group", "tensor")


class ParameterFreeSGD(Optimizer):
    r"""SGD that finds its step size: no learning rate to tune, one run of ``total_steps`` gradients.

    Plan ``"train"`` spends a few per cent of the budget on short probes that bisect the largest certified step
    size (Carmon & Hinder, "Making SGD Parameter-Free", COLT 2022), and the rest on one annealed run

    .. math::
        v_t = m v_{t-1} + (1-m) g_t, \qquad
        x_{t+1} = x_t - \min\Big(\tfrac{c \max(r^*/10,\, \bar r_t)}{\sqrt{G_t}},\, \eta_{\max}\Big)
        \tfrac{T-t}{T}\, v_t

    with :math:`\bar r_t` the largest displacement from the anchor and :math:`G_t=\sum\|g_i\|^2`. When the budget
    ends the parameters hold the returned point. Plan ``"certified"`` is the paper's Algorithm 1 as it stands.

    ``zero_grad(); loss.backward(); step()`` is all it takes. Where the loss is passed as well, ``step(loss=loss)``
    or ``step(closure)``, it chooses between caps of the step size, and between the average and the last iterate.

    Args:
        params: iterable of parameters, of ``(name, parameter)`` pairs or of dicts defining parameter groups.
        total_steps: number of gradients that the whole method may use; ``None`` where it is unknown: budgets
            double, each from the last returned point.
        plan: "train" or "certified".
        schedule: of the long run, "linear" or "constant"; in plan "certified" the one whose step is certified.
        lr: multiplier of the step size, >= 0, per group and schedulable. In the probes only the ratio of the
            groups' values counts; leave it at 1 unless a group should move more slowly.
        momentum: m in [0, 1), normalised, so that a step size means the same with and without it. The long run
            uses it, the probes do not.
        nesterov: Nesterov momentum; needs ``momentum > 0``.
        weight_decay: L2 penalty, added to the gradient as in ``torch.optim.SGD``.
        maximize: maximise the objective (and the loss) instead.
        average: what is returned: a number gamma >= 0, the polynomial average with that weight; "last", the
            last iterate; "auto", the average with gamma = 2 or, where losses are given, the better of the two.
        scope: over what displacement and gradients are estimated in the long run: "global", "group",
            "tensor", or "auto". Plan "certified" is always global.
        foreach: ``False`` handles tensors one by one; otherwise a group is handled at once.
        capturable: allow ``step()`` inside a CUDA graph during the long run; status() or eval() after the
            replays brings the host up to date.
        buffers: tensors such as ``model.buffers()`` that are put back whenever a probe restarts.

    Raises:
        TypeError, ValueError: an argument is wrong; the message names it, what is allowed and what came.

    Note:
        A gradient that is exactly zero (or absent) everywhere changes nothing and spends nothing. A probe that
        meets a non-finite number stands still for the rest of its steps, so that ``step()`` reads the device only at
        the last step of a run.
    """

    def __init__(
        self,
        params: Any,
        total_steps: int | None,
        *,
        plan: str = "train",
        schedule: str = "linear",
        lr: float = 1.0,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
        maximize: bool = False,
        average: str | float = "auto",
        scope: str = "auto",
        foreach: bool | None = None,
        capturable: bool = False,
        buffers: Iterable[Tensor] | None = None,
    ) -> None:
        if total_steps is not None:
            total_steps = validate.budget(total_steps, plan, "total_steps")
        validate.one_of("plan", plan, ("train", "certified"))
        validate.one_of("schedule", schedule, ("linear", "constant"))
        validate.one_of("scope", scope, SCOPES)
        if average not in ("auto", "last"):
            if isinstance(average, str):
                raise ValueError(f"average must be 'auto', 'last' or a number gamma >= 0, got {average!r}")
            validate.at_least_zero("average", average)
        if plan == "certified" and total_steps is None:
            raise ValueError('total_steps must be an integer where plan="certified", got None')
        if plan == "certified" and (momentum or scope not in ("auto", "global") or average != "auto"):
            raise ValueError(
                'plan="certified" is plain SGD: momentum must be 0, scope "auto" or "global", average "auto"; '
                f"got momentum={momentum!r}, scope={scope!r}, average={average!r}"
            )
        defaults: dict[str, Any] = {
            "lr": lr,
            "momentum": momentum,
            "nesterov": nesterov,
            "weight_decay": weight_decay,
            "maximize": maximize,
            "total_steps": total_steps,
            "plan": plan,
            "schedule": schedule,
            "average": average,
            "scope": scope,
            "foreach": foreach,
            "capturable": capturable,
        }
        _check_group(defaults)
        self._buffers = memory.checked_buffers(buffers)
        super().__init__(params, defaults)

    # ---------------------------------------------------------------- torch's own contract

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group; after steps its anchor is where its parameters stand at the next step."""
        super().add_param_group(param_group)
        try:
            _check_group(self.param_groups[-1])
            memory.check_params(self.param_groups[-1]["params"])
        except (TypeError, ValueError):
            self.param_groups.pop()
            raise

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_buffers": self._buffers}  # type: ignore[misc]

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            for name, default in self.defaults.items():
                group.setdefault(name, default)

    def __repr__(self) -> str:
        hidden = [group.pop("search") if "search" in group else None for group in self.param_groups]
        try:
            return super().__repr__()
        finally:
            for group, search in zip(self.param_groups, hidden, strict=True):
                if search is not None:
                    group["search"] = search

    @torch._disable_dynamo
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state; float32 accumulators of half-precision parameters keep their precision."""
        with memory.precision_kept(self):
            super().load_state_dict(state_dict)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None, *, loss: Any = None) -> Any:  # type: ignore[override]
        """Take one gradient.

        Args:
            closure: reevaluates the model and returns the loss; called once, with gradients enabled.
            loss: the loss at which the gradients were taken, a scalar tensor or a number.

        Returns:
            The loss, if any.
        """
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        value = memory.checked_loss(loss)
        if all(param.grad is None for group in self.param_groups for param in group["params"]):
            return loss
        search = self._search()
        if search["phase"] == Phase.DONE:
            memory.count_late_step(search)
            return loss
        self.train()
        self._take(search, value)
        return loss

    # ---------------------------------------------------------------- what a user reads

    def status(self) -> Status:
        """Where the optimizer stands; waits for the device."""
        return memory.status(self._config(), self.param_groups[0].get("search"))

    def history(self) -> list[ProbeRecord]:
        """Every finished probe."""
        search = self.param_groups[0].get("search")
        return [] if search is None else [ProbeRecord(*record) for record in search["history"]]

    @torch.no_grad()
    def eval(self) -> None:
        """Put the iterate to deploy into the parameters; a no-op where it is already there."""
        search = self.param_groups[0].get("search")
        if search is None or search["deployed"] or search["phase"] in (Phase.ARBITRATE, Phase.DONE):
            return
        slot = SLOTS[ANCHOR]
        if search["phase"] == Phase.TRAIN:
            slot = "" if self._config().output == LAST else SLOTS[AVERAGE]
        elif search["output"] in (LO, HI):
            slot = SLOTS[search["output"]]
        if slot:
            self._swap(slot)
            search["deployed"] = slot

    @torch.no_grad()
    def train(self) -> None:
        """Put the training iterate back into the parameters; a no-op where it is already there."""
        search = self.param_groups[0].get("search")
        if search is not None and search["deployed"]:
            self._swap(search["deployed"])
            search["deployed"] = ""

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """``with opt.averaged():`` the parameters hold the iterate to deploy."""
        self.eval()
        try:
            yield
        finally:
            self.train()

    # ---------------------------------------------------------------- one gradient

    def _config(self) -> Config:
        group = self.param_groups[0]
        return Config(
            total_steps=plans.FIRST_STAGE if group["total_steps"] is None else group["total_steps"],
            plan=group["plan"],
            schedule=group["schedule"],
            output=LAST if group["average"] == "last" else AVERAGE,
            arbitrate=group["average"] == "auto",
            endless=group["total_steps"] is None,
        )

    def _num_scopes(self) -> int:
        group = self.param_groups[0]
        if group["plan"] == "certified" or group["scope"] == "global":
            return 0
        if group["scope"] == "group":
            return len(self.param_groups)
        return sum(len(group["params"]) for group in self.param_groups)

    def _search(self) -> dict[str, Any]:
        """The controller's dictionary, made at the first step; grown where groups were added."""
        group = self.param_groups[0]
        if "search" not in group:
            scalar = memory.scalar_like(self.param_groups)
            group["search"] = memory.fresh(self._config(), self._num_scopes(), scalar, self._buffers)
            self._latch_ratios(group["search"])
        memory.grow(group["search"], self._num_scopes(), len(self.param_groups))
        return group["search"]

    def _param_state(self, param: Tensor) -> dict[str, Any]:
        state = self.state[param]
        if "anchor" not in state:
            group = self.param_groups[0]
            state.update(memory.param_state(param, self._config(), bool(group["momentum"])))
        return state

    def _take(self, search: dict[str, Any], value: Any) -> None:
        config, state = self._config(), memory.load_state(search)
        like = search["initial_step"]
        run = memory.load_run(search, like.device)
        foreach = self.param_groups[0]["foreach"] is not False
        bundles = kernels.gather(self.param_groups, self._param_state, foreach=foreach)
        raw = self._by_scope(search, [kernels.grads_sq(b, like) for b in bundles], bundles, power=1)
        counts = (raw[0] != 0) & (run.step < search["run_length"])
        regular = [
            kernels.regularised(b, self.param_groups[b.group]["weight_decay"], self.param_groups[b.group]["maximize"])
            for b in bundles
        ]
        grad_sq = raw
        if any(group["weight_decay"] for group in self.param_groups):
            grad_sq = self._by_scope(search, [kernels.grads_sq(b, like) for b in regular], bundles, power=1)
        value = memory.loss_on(value, like, self.param_groups[0]["maximize"])

        if state.phase == Phase.ARBITRATE:
            stood = tracking.stand(run, like.new_full((), torch.nan) if value is None else value, torch)
            run = stood
        elif state.phase == Phase.SEARCH:
            run = self._probe(config, state, search, run, regular, grad_sq, value, counts)
        else:
            run = self._train(config, state, search, run, regular, grad_sq, value, counts)
        memory.store_run(search, run)
        search["calls"] += 1
        if search["calls"] >= search["due"]:
            self._finish(config, state, search, run)

    def _probe(
        self,
        config: Config,
        state: State,
        search: dict[str, Any],
        run: Run,
        bundles: list[Bundle],
        grad_sq: Tensor,
        value: Any,
        counts: Tensor,
    ) -> Run:
        certified = config.plan == "certified"
        first = search["initial_step"]
        if search["history"] == [] and state.stage == 0:
            first = self._latch(config, search, run, bundles, grad_sq, counts)
        full_step = first * 2.0**state.bracket.exponent
        schedule = config.schedule if certified else "constant"
        step_size = full_step * schedules.dual_factor(schedule, run.step, state.run_length)
        before = run
        run, move = tracking.probe(
            run,
            grad_sq,
            value,
            counts,
            step_size=step_size,
            patience=1 if certified else tracking.PATIENCE,
            xp=torch,
        )
        search["step_size"] = step_size
        reaches, news = [], []
        weight = schedules.average_weight(0.0, before.step + 1, torch) * counts
        for bundle in bundles:
            ratio = search["ratios"][bundle.group]
            if certified:
                kernels.lerp(bundle.slot("average"), bundle.points, weight)
            new = _moved(bundle, [g for g in bundle.grads], move.steps[0] * ratio)
            if certified and schedule == "linear":
                duals = _moved(bundle._replace(points=bundle.slot("grad_sum")), bundle.grads, -move.steps[0].new_ones(()))
                kernels.select(move.go, duals, bundle.slot("grad_sum"))
                reaches.append(kernels.norms_sq(bundle.slot("grad_sum"), first) * (full_step * ratio) ** 2)
            else:
                reaches.append(kernels.displacements_sq(new, bundle.slot("anchor"), first))
            news.append(new)
        distance_sq = self._by_scope(search, reaches, bundles, power=-1)
        run, keep = tracking.moved(run, move, distance_sq, torch)
        for bundle, new in zip(bundles, news, strict=True):
            kernels.select(keep, new, bundle.points)
            kernels.write_back(bundle)
        return run

    def _train(
        self,
        config: Config,
        state: State,
        search: dict[str, Any],
        run: Run,
        bundles: list[Bundle],
        grad_sq: Tensor,
        value: Any,
        counts: Tensor,
    ) -> Run:
        """One gradient of the long run, or of a candidate of it."""
        group = self.param_groups[0]
        count = run.step - run.origin + 1
        run, move = tracking.track(
            run,
            grad_sq,
            value,
            counts,
            cap=search["initial_step"] * 2.0**state.cap,
            root_distance_sq=search["root_distance_sq"],
            length=state.run_length,
            tail=int(plans.tail(config, state)),
            schedule=config.schedule,
            xp=torch,
        )
        search["step_size"] = move.steps[0]
        gamma = plans.GAMMA if isinstance(group["average"], str) else group["average"]
        weight = torch.where(move.explode, 1.0, schedules.average_weight(gamma, count, torch) * move.go)
        news, scope = [], 1
        for bundle in bundles:
            directions = bundle.grads
            if group["momentum"]:
                directions = _momentum(bundle, move.go, self.param_groups[bundle.group])
            steps, scope = self._steps(bundle, move.steps, scope)
            news.append(_moved(bundle, directions, steps, self.param_groups[bundle.group]["lr"]))
        reaches = [
            kernels.displacements_sq(new, b.slot("anchor"), grad_sq) for b, new in zip(bundles, news, strict=True)
        ]
        run, keep = tracking.moved(run, move, self._by_scope(search, reaches, bundles, power=-1), torch)
        for bundle, new in zip(bundles, news, strict=True):
            kernels.select(keep, new, bundle.points)
            kernels.select(move.explode, bundle.slot("anchor"), bundle.points)
            if group["momentum"]:
                kernels.lerp_to_zero(bundle.slot("momentum_buffer"), move.explode)
            kernels.lerp(bundle.slot("average"), bundle.points, weight)
            kernels.write_back(bundle)
        return run
