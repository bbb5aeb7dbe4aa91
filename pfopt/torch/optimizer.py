"""``ParameterFreeSGD``: the search, driven by ``step()``.

The class owns state and order; ``kernels`` owns the mathematics, ``pfopt.search`` every decision.
Per-parameter tensors live in ``state[p]``, the controller in one dictionary of numbers and 0-dim tensors,
``param_groups[0]["search"]``: that is what saves, loads, pickles and copies without further code.
"""
# pyright: reportPrivateImportUsage=false

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from pfopt.search import plan as plans
from pfopt.search import tracking, validate
from pfopt.search.state import Config, Outcome, Phase, ProbeRecord, Status, sentence
from pfopt.torch import checks, ending, kernels, memory, runs


def _grad(param: Tensor) -> Tensor | None:
    return param.grad


class ParameterFreeSGD(Optimizer):
    r"""SGD that finds its step size: no learning rate to tune, one run of ``total_steps`` gradients.

    Plan ``"train"`` spends a few per cent of the budget on short probes that bisect the largest certified
    step size (Carmon & Hinder, "Making SGD Parameter-Free", COLT 2022), and the rest on one long run

    .. math::
        v_t = m v_{t-1} + (1-m) g_t, \qquad
        z_{t+1} = z_t - \min\Big(\tfrac{c \max(r^*,\, \bar r_t)}{\sqrt{t\, m_t}},\, \eta_{\max}\Big) v_t

    with :math:`\bar r_t` the largest displacement from the anchor, :math:`m_t` the mean of the recent
    :math:`\|g\|^2`, and :math:`\eta_{\max}` four times the step size found, or more where the run certifies
    more (``pfopt.search.tracking``). A tensor or a single coordinate moves by a step size of its own where
    that is larger (``scope``). Gradients are taken at :math:`y_t = z_t + \beta_t (\bar x_t - z_t)`,
    which the parameters hold, with :math:`\beta_t = \tfrac23`, and up to 0.9 in the end; the average
    :math:`\bar x_t` of the iterates is returned: when the budget ends the parameters hold it. Plan
    ``"certified"`` is the paper's Algorithm 1, as it stands with ``schedule="constant"``.

    ``zero_grad(); loss.backward(); step()`` is all it takes. Where the loss is passed as well,
    ``step(loss=loss)`` or ``step(closure)``, one that is not finite counts as a gradient that is not, and
    ``history()`` has the probes' mean losses. No step size depends on them.

    Args:
        params: iterable of parameters, of ``(name, parameter)`` pairs or of dicts defining parameter groups.
        total_steps: number of gradients that the whole method may use, at least 16 (plan "certified": 8);
            ``None`` where it is unknown: the long run goes on without end, and ``averaged()`` has the point to
            deploy. A long run that decays has budgets that double instead, each from the last returned point.
        plan: "train" or "certified".
        schedule: of plan "certified", the probes' schedule: "constant" returns their average, which the paper's
            theorems are about, and "linear" the last iterate of a linear decay. In the long run "linear" is
            primal averaging as above, or a linear decay where the last iterate is returned; "constant" takes the
            gradients at the iterates themselves and does not decay.
        lr: multiplier of the step size, >= 0, per group and schedulable. In the probes only the ratio of the
            groups' values counts; leave it at 1 unless a group should move more slowly.
        momentum: m in [0, 1), normalised, so that a step size means the same with and without it. The long
            run uses it, the probes do not.
        nesterov: Nesterov momentum; needs ``momentum > 0``.
        weight_decay: L2 penalty, added to the gradient as in ``torch.optim.SGD``.
        maximize: maximise the objective (and the loss) instead.
        average: what is returned: a number gamma >= 0, the average with weights t^gamma times the square of
            the certificate's step size (``pfopt.search.tracking``); "last", the last iterate; "auto", the
            average with gamma = 1/2 or, with schedule "constant", with gamma = 3.
        scope: over what displacement and gradients are estimated in the long run: "global", "group",
            "tensor", or "auto", the largest step size of the whole, the tensor and the single coordinate.
            Plan "certified" is always global.
        foreach: ``False`` handles tensors one by one; otherwise a group is handled at once.
        fused: ``True`` moves large tensors of the long run by a kernel that ``torch.compile`` makes of the same
            code, at its first step, which a CUDA graph must not capture; up to rounding the run is the same.
        capturable: allow ``step()`` inside a CUDA graph during the long run; status() or eval() after the
            replays brings the host up to date.
        buffers: tensors such as ``model.buffers()`` that are put back whenever a probe restarts.

    Raises:
        TypeError, ValueError: an argument is wrong; the message names it, what is allowed and what came.
        RuntimeError: ``fused=True``, and ``torch.compile`` does not work here.

    Note:
        The probes of the search try step sizes that are too large, and the losses and parameters that they meet can
        be astronomical: averages of weights or losses, early stopping and the like begin with the long run, once
        ``status().phase`` is no longer "search".

        Gradients that are absent, or exactly zero before the first one that is not, spend nothing. A probe
        that meets a non-finite number stands still for the rest of its steps, so that ``step()`` reads the
        device only at the last step of a run.
    """

    _based = False  # whether a base makes the directions

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
        fused: bool | None = None,
        capturable: bool = False,
        buffers: Iterable[Tensor] | None = None,
    ) -> None:
        if total_steps is not None:
            total_steps = validate.budget(total_steps, plan, "total_steps")
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
            "fused": fused,
            "capturable": capturable,
            "differentiable": False,
        }
        checks.options(defaults)
        checks.hyperparameters(defaults)
        self._buffers = checks.buffers(buffers)
        super().__init__(params, defaults)
        if fused:
            for device in {param.device for group in self.param_groups for param in group["params"]}:
                checks.compiles(device)

    # ---------------------------------------------------------------- torch's own contract

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group; after steps its anchor is where its parameters stand at the next step."""
        super().add_param_group(param_group)
        try:
            checks.group(self.param_groups[-1], self.defaults)
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

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state, ``total_steps`` and the other options included.

        Float32 accumulators of half-precision parameters keep their precision.

        Raises:
            ValueError: it is that of another optimizer, or the groups, or the shapes of parameters or buffers, are not
                those that were saved.
        """
        if not self._optimizer_load_state_dict_pre_hooks:  # they may yet adapt it
            checks.saved_state(state_dict, self.param_groups)
        with memory.precision_kept(self):
            super().load_state_dict(state_dict)
        search = self._search()
        if search is not None:
            checks.saved_buffers(search["buffers"], self._buffers)

    @torch._disable_dynamo  # traced, it would be unrolled over all tensors: minutes; see ``fused``
    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None, *, loss: Any = None) -> Any:  # type: ignore[override]
        """Take one gradient.

        Args:
            closure: reevaluates the model and returns the loss; called once, with gradients enabled.
            loss: the loss at which the gradients were taken, a scalar tensor or a number.

        Returns:
            The loss, if there is one.

        Raises:
            TypeError, ValueError: the loss is not a real scalar.
        """
        self.train()
        if closure is not None:
            checks.closure(closure)
            with torch.enable_grad():
                loss = closure()
        value = checks.loss(loss)
        if all(param.grad is None for group in self.param_groups for param in group["params"]):
            return loss
        search = self._settled_search()
        if search["state"]["phase"] == Phase.DONE:
            self._count_idle_step(search)
            return loss
        self._take(search, value)
        return loss

    # ---------------------------------------------------------------- what a user reads

    def status(self) -> Status:
        """Where the optimizer stands; waits for the device."""
        self._catch_up()
        search, config = self._search(), self._config()
        if search is None:
            left = None if config.endless else config.total_steps
            return Status("search", 0, 0, left, 0.0, 0.0, 0.0, Outcome.RUNNING.message)
        state = memory.load_state(search)
        run, _ = memory.read_run(search)
        before = config.total_steps * (2**state.stage - 1) + state.spent
        done = state.phase == Phase.DONE
        lipschitz, distance, cuts = search["estimates"] if done else (*tracking.estimates(run), int(run.cuts))
        step = before if done else before + run.step
        return Status(
            phase=Phase(state.phase).label,
            probe=len(search["history"]),
            step=step,
            steps_left=None if config.endless else max(config.total_steps - step - search["idle"], 0),
            step_size=float(search["step_size"]),
            lipschitz=lipschitz,
            distance=distance,
            message=sentence(Outcome(state.outcome), cuts),
        )

    def history(self) -> list[ProbeRecord]:
        """Every finished probe."""
        search = self._search()
        return [] if search is None else [ProbeRecord(*record) for record in search["history"]]

    @torch.no_grad()
    def eval(self) -> None:
        """Put the iterate to deploy into the parameters; a no-op where it is already there.

        Before the long run that is the anchor, the best point known; in the long run, the average.
        """
        self._catch_up()
        search = self._search()
        if search is not None and not search["deployed"]:
            search["deployed"] = ending.deploy_slot(self._config(), memory.load_state(search))
            self._swap(search["deployed"])

    @torch.no_grad()
    def train(self) -> None:
        """Put the training iterate back into the parameters; a no-op where it is already there."""
        search = self._search()
        if search is not None and search["deployed"]:
            self._swap(search["deployed"])
            search["deployed"] = ""

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """``with opt.averaged():`` the parameters hold the iterate to deploy; afterwards what they held before."""
        search = self._search()
        deployed = search is not None and search["deployed"]
        self.eval()
        try:
            yield
        finally:
            if not deployed:
                self.train()

    # ---------------------------------------------------------------- inside

    def _search(self) -> dict[str, Any] | None:
        return self.param_groups[0].get("search")

    def _settled_search(self) -> dict[str, Any]:
        """The controller's dictionary, made at the first step, on the parameters' device."""
        search = self._search()
        if search is None:
            search = memory.fresh(self._config(), self.param_groups, self._buffers)
            self.param_groups[0]["search"] = search
        memory.settle(search, self.param_groups, self._buffers)
        return search

    def _config(self) -> Config:
        group = self.param_groups[0]
        return plans.configure(
            total_steps=plans.FIRST_STAGE if group["total_steps"] is None else group["total_steps"],
            plan=group["plan"],
            schedule=group["schedule"],
            average=group["average"],
            based=self._based,
            endless=group["total_steps"] is None,
        )

    def _take(self, search: dict[str, Any], value: Tensor | float | None) -> None:
        """One gradient, and the end of a run where it was its last one."""
        work = self._work(search)
        runs.take(work, value)
        if search["calls"] >= search["due"]:
            ending.finish(work)

    def _work(self, search: dict[str, Any]) -> runs.Work:
        bundles, coordinates = self._bundles(), 0
        if self._by_coordinate():
            coordinates = sum(point.numel() for bundle in bundles for point in bundle.points)
        return runs.Work(self._config(), self.param_groups, search, bundles, self._buffers, coordinates)

    def _by_coordinate(self) -> bool:
        """Whether every coordinate has a step size of its own; a base's directions have its scale already."""
        options = self.param_groups[0]
        return options["plan"] == "train" and options["scope"] == "auto" and not self._based

    def _bundles(self, grad_of: Callable[[Tensor], Tensor | None] = _grad) -> list[kernels.Bundle]:
        config, options, search = self._config(), self.param_groups[0], self._search()
        momentum, coordinates = any(group["momentum"] for group in self.param_groups), self._by_coordinate()

        def state_of(param: Tensor) -> dict[str, Tensor]:
            state = self.state[param]
            return memory.fill_param_state(state, param, config, momentum=momentum, coordinates=coordinates)

        training = search is not None and search["state"]["phase"] == Phase.TRAIN
        return kernels.gather(
            self.param_groups,
            state_of,
            grad_of,
            together=options["foreach"] is not False,
            large_apart=bool(options["fused"]) and training,
        )

    def _swap(self, slot: str) -> None:
        if slot:
            for bundle in self._bundles():
                kernels.swap(bundle, slot)

    @torch.no_grad()
    def _catch_up(self) -> None:
        """See whether the run has ended; replays of a CUDA graph are no calls of ``step()``."""
        search = self._search()
        if not self.param_groups[0]["capturable"] or search is None or search["deployed"]:
            return
        if search["state"]["phase"] != Phase.DONE:
            ending.finish(self._work(search))

    def _count_idle_step(self, search: dict[str, Any]) -> None:
        """Count a step after the returned point was delivered; the first one beyond the budget warns."""
        config, state = self._config(), memory.load_state(search)
        search["idle"] += 1
        if state.spent + search["idle"] == config.total_steps + 1:
            warnings.warn(
                f"{type(self).__name__}: the budget of total_steps={config.total_steps} gradients is spent and "
                "the parameters hold the returned point; this step and later ones change nothing",
                stacklevel=7,  # the line that called step(), past torch's decorators
            )
