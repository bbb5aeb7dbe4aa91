"""The numpy driver: ``minimize`` feeds an oracle's gradients to the search and moves one array."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pfopt.search import plan as plans
from pfopt.search import schedule as schedules
from pfopt.search import tracking, validate
from pfopt.search.certificate import theorem_constants
from pfopt.search.state import (
    ANCHOR,
    AVERAGE,
    Config,
    Outcome,
    Phase,
    ProbeRecord,
    Run,
    State,
    on_host,
)

Oracle = Callable[[NDArray[Any]], Any]


class Result(NamedTuple):
    """What ``minimize`` found."""

    x: NDArray[Any]  # the returned point, shape and dtype of x0
    step_size: float  # the certified step size; plan "train": the root of the bisection
    lipschitz: float  # root mean square of the gradient norms of the run that x comes from
    distance: float  # largest displacement from the anchor in that run
    num_grad_evals: int  # oracle calls
    status: Outcome  # ``status.message`` is a sentence
    probes: list[ProbeRecord]


def minimize(
    oracle: Oracle,
    x0: ArrayLike,
    budget: int,
    *,
    plan: str = "certified",
    schedule: str = "constant",
    initial_step: float | None = None,
    alpha: float = 3.0,
    beta: float = 0.0,
    lipschitz: float | None = None,
    delta: float | None = None,
    restarts: str | None = None,
    callback: Callable[[ProbeRecord], Any] | None = None,
) -> Result:
    """Minimise a convex function from its (stochastic) gradients, without a step size.

    Plan "certified" is Algorithm 1 of Carmon & Hinder, "Making SGD Parameter-Free" (COLT 2022). With exact
    gradients, alpha=3 and beta=0 its result satisfies f(x) − f* <= sqrt(27) ‖x0 − x*‖ sqrt(G)/T and
    ‖x − x*‖ <= 4 ‖x0 − x*‖ (Theorem 7), T being at least budget/16 for every range of step sizes up to
    2^256 · initial_step. Plan "train" spends a few per cent on the search and the rest on one run; it is what
    converges fastest in practice and carries no theorem.

    Args:
        oracle: ``oracle(x) -> grad`` or ``(value, grad)``, with ``grad`` of the shape of ``x0``.
        x0: the anchor, a real array of any shape with finite entries; it is not changed.
        budget: number of oracle calls that may be spent, at least 8 (plan "train": 16).
        plan: "certified" or "train".
        schedule: "constant" (uniform average of the probe) or "linear" (steps decay to zero, the last iterate
            is returned; its certificate is that of the dual sequence, deterministic theory only). In plan
            "train", "linear" takes the long run's gradients between its iterate and the average that is returned
            (primal averaging), "constant" at the iterate.
        initial_step: smallest step size to consider, > 0 (plan "train": the first one to test). By default a
            tiny multiple of ‖x0‖/‖g0‖, or of 1/‖g0‖ from the origin.
        alpha: > 1; the damping of the certificate. Plan "certified" only: "train" has its own.
        beta: >= 0; plan "certified" only.
        lipschitz: almost sure bound on the gradient norms; with ``delta`` it replaces alpha and beta by
            Theorem 14's alpha^(k), beta^(k), plan "certified" only.
        delta: probability in (0, 1) with which Theorem 14 may fail.
        restarts: "doubling" for strongly convex functions (Theorem 16): stages of 8, 16, 32, … calls, each
            from the last returned point, stage m starting from ``initial_step / 2**m``; plan "certified" only.
        callback: called with the ``ProbeRecord`` of every finished probe.

    Returns:
        A ``Result``. Its point is finite, whatever the oracle returned. It is x0, after one call, where the gradient
        there is exactly zero.

    Raises:
        TypeError: an argument or an oracle's answer has the wrong type.
        ValueError: an argument or an oracle's answer has the wrong value or shape.
    """
    validate.function("oracle", oracle)
    if callback is not None:
        validate.function("callback", callback)
    anchor = validate.anchor(x0)
    budget = validate.budget(budget, plan)
    validate.one_of("plan", plan, ("certified", "train"))
    validate.one_of("schedule", schedule, ("constant", "linear"))
    validate.one_of("restarts", restarts, (None, "doubling"))
    validate.constants(alpha, beta, lipschitz, delta, plan)
    if initial_step is not None:
        validate.positive("initial_step", initial_step)
    if restarts is not None and plan != "certified":
        raise ValueError(f'restarts="doubling" needs plan="certified", got plan={plan!r}')
    driver = _Driver(oracle, anchor, callback)

    def config(stage_budget: int, stage_delta: float | None) -> Config:
        if plan != "certified":
            return plans.configure(stage_budget, plan, schedule)
        alphas, betas = (alpha,) * 3, (beta,) * 3
        if lipschitz is not None and stage_delta is not None:
            alphas, betas = theorem_constants(stage_budget, lipschitz, stage_delta)
        return Config(stage_budget, plan, schedule, alphas, betas)

    if restarts is None:
        return driver.result(driver.search(config(budget, delta), initial_step))
    state, m = None, 3
    while driver.calls + 2**m <= budget:
        stage_delta = None if delta is None else delta / (m * (m + 1))
        first = None if initial_step is None else initial_step / 2**m
        state = driver.search(config(2**m, stage_delta), first)
        driver.anchor = driver.output(state)
        m += 1
    assert state is not None  # the smallest budget is one stage
    return driver.result(state)


class _Driver:
    """Owns the arrays: anchor, iterate, average, and the outputs kept at lo and hi."""

    def __init__(self, oracle: Oracle, anchor: NDArray[Any], callback: Callable[[ProbeRecord], Any] | None):
        self.oracle, self.anchor, self.callback = oracle, anchor, callback
        self.kept: dict[int, tuple[NDArray[Any], Run, State]] = {}
        self.probes: list[ProbeRecord] = []
        self.calls = 0

    def search(self, config: Config, initial_step: float | None) -> State:
        """Run the whole plan; the points that may be returned are in ``kept`` afterwards."""
        state = plans.init(config)._replace(initial_step=initial_step or 0.0)
        self.kept = {}
        while state.phase != Phase.DONE:
            runner = self._probe if state.phase == Phase.SEARCH else self._train
            with np.errstate(all="ignore"):
                before, run, outputs = runner(config, state)
                if before is None:
                    return state._replace(phase=Phase.DONE, outcome=Outcome.ZERO_GRADIENT, output=ANCHOR)
                state, verdict = map(on_host, plans.finish(config, before, run))
            for slot, point in outputs.items():
                self.kept[verdict.keep if slot == ANCHOR else slot] = (point, run, before)
            self.kept.pop(ANCHOR, None)  # a probe that nothing was kept of
            if before.phase == Phase.SEARCH:
                self._report(before, run, verdict.accepted)
        return state

    def output(self, state: State) -> NDArray[Any]:
        """The point that ``state`` says to return."""
        return self.kept[state.output][0] if state.output in self.kept else self.anchor

    def result(self, state: State) -> Result:
        """The estimates of the run that the returned point comes from."""
        point, run, before = self.kept.get(state.output, (self.anchor, None, None))
        lipschitz = distance = step_size = 0.0
        if run is not None and before is not None:
            exponent = before.bracket.exponent if before.phase == Phase.SEARCH else before.bracket.lo
            step_size = float(np.ldexp(before.initial_step, exponent))
            lipschitz, distance = tracking.estimates(run)
        return Result(
            point.copy(), step_size, lipschitz, distance, self.calls, Outcome(state.outcome), self.probes
        )

    def _ask(self, x: NDArray[Any]) -> tuple[NDArray[Any], Any]:
        self.calls += 1
        return validate.answer(self.oracle(x.copy()), x)

    def _latched(self, config: Config, state: State, grad_sq: np.float64) -> State:
        """With the first step size, once a gradient fixes it."""
        if state.initial_step == 0 and np.isfinite(grad_sq) and grad_sq > 0:
            found = plans.first_step(config, _sum_sq(self.anchor), grad_sq)
            return state._replace(initial_step=found)
        return state

    def _probe(self, config: Config, state: State) -> tuple[State | None, Run, dict[int, NDArray[Any]]]:
        """One run of fixed step size; its output has the key ANCHOR until the verdict says where to keep it."""
        x, length, dual = self.anchor.copy(), state.run_length, np.zeros_like(self.anchor)
        average, run = x.copy(), tracking.begin(0, np.float64, np)
        patience = 1 if config.plan == "certified" else tracking.PATIENCE
        schedule = config.schedule if config.plan == "certified" else "constant"
        for step in range(length):
            grad, value = self._ask(x)
            grad_sq = np.asarray([_sum_sq(grad)])
            if self.calls == 1 and not grad.any():
                return None, run, {}
            state = self._latched(config, state, grad_sq[0])
            step_size = plans.step_size(state) * schedules.dual_factor(schedule, step, length)
            run, move = tracking.probe(
                run, grad_sq, value, np.True_, step_size=step_size, patience=patience, xp=np
            )
            average += x.dtype.type(move.weight) * (x - average)
            dual = dual + grad
            new = x - x.dtype.type(step_size) * grad
            reach = (
                new - self.anchor if schedule == "constant" else x.dtype.type(plans.step_size(state)) * dual
            )
            run, keep = tracking.moved(run, move, np.asarray([_sum_sq(reach)]), np)
            x = np.where(keep, new, x)
        return state, run, {ANCHOR: average if schedule == "constant" else x}

    def _train(self, config: Config, state: State) -> tuple[State, Run, dict[int, NDArray[Any]]]:
        """The long run: capped certificate tracking, coordinate by coordinate, averaged."""
        x, average, mean_sq = self.anchor.copy(), self.anchor.copy(), np.zeros_like(self.anchor)
        run, length = tracking.begin(0, np.float64, np), state.run_length
        for _ in range(length):
            share = x.dtype.type(plans.interpolation(config, state, run))
            grad, value = self._ask(x + share * (average - x))
            grad_sq = np.asarray([_sum_sq(grad)])
            state = self._latched(config, state, grad_sq[0])
            run, move, single = tracking.track(
                run,
                grad_sq,
                value,
                np.True_,
                cap=plans.cap_size(state),
                vouched=state.probe_length,
                alpha=config.alphas[0],
                start_sq=plans.start_sq(config, state),
                guess=state.initial_step,
                length=length,
                noise_sq=state.noise_sq,
                schedule=plans.step_schedule(config),
                gamma=schedules.GAMMA[config.primal],
                xp=np,
            )
            square = np.square(grad)
            if single.share > 0:
                mean_sq = mean_sq + x.dtype.type(single.share) * (square - mean_sq)
            step = max(x.dtype.type(move.steps[0]), np.finfo(x.dtype).tiny)
            own = tracking.coordinate_steps(single, np.abs(x - self.anchor), mean_sq, x.size, np)
            steps = np.clip(own.astype(x.dtype), step, tracking.COORDINATE_RANGE * step)
            new = x - steps * grad
            metric_sq = np.asarray([np.sum(steps * square, dtype=np.float64) / step])
            gap_sq = np.square(new - self.anchor)
            reach_sq = np.asarray([np.sum(gap_sq / steps, dtype=np.float64) * step])
            away = np.sum(gap_sq, dtype=np.float64), np.sum(gap_sq * mean_sq, dtype=np.float64)
            run = tracking.remeasured(run, single, grad_sq, metric_sq, np)
            run, keep = tracking.moved(run, move, reach_sq, np, *away)
            x = self.anchor if move.explode else np.where(keep, new, x)
            average = average + x.dtype.type(move.weight) * (x - average)
        return state, run, {AVERAGE: average}

    def _report(self, state: State, run: Run, accepted: bool) -> None:
        record = plans.record(state, run, accepted)
        self.probes.append(record)
        if self.callback is not None:
            self.callback(record)


def _sum_sq(x: NDArray[Any]) -> np.float64:
    return np.sum(np.square(np.abs(x), dtype=np.float64))
