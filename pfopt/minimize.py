"""The numpy front end: ``minimize`` feeds an oracle's gradients to the algorithm and moves one array."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pfopt import options
from pfopt.core import controller, probe, progress, scale, step, update
from pfopt.core import run as runs
from pfopt.core.arrays import clip, on_host
from pfopt.core.config import Config
from pfopt.core.main_run import Decision
from pfopt.core.records import Outcome, Phase, Run, Slot, State
from pfopt.core.step import Measured, Moved
from pfopt.core.step_size import CoordinateRule
from pfopt.core.update import Arithmetic, Block, Rule
from pfopt.options import Certified, PlanLike, Practical
from pfopt.status import ProbeRecord, in_plain_units, probe_record

Oracle = Callable[[NDArray[Any]], Any]
FIRST_RESTART = 3  # the first stage of doubling restarts has 2³ gradients, the fewest that a search takes


class Result(NamedTuple):
    """What ``minimize`` found."""

    x: NDArray[Any]  # the returned point, shape and dtype of x0
    step_size: float  # the certified one; practical plan: the one that the search selected
    lipschitz: float  # root mean square of the gradient norms of the run that x comes from
    distance: float  # largest displacement from the anchor in that run
    gradients: int  # oracle calls
    outcome: Outcome  # ``outcome.message`` is a sentence
    probes: list[ProbeRecord]  # every finished one


def minimize(
    oracle: Oracle,
    x0: ArrayLike,
    total_steps: int,
    *,
    plan: PlanLike = "practical",
    initial_step: float | None = None,
    callback: Callable[[ProbeRecord], Any] | None = None,
) -> Result:
    """Minimise a function from its (stochastic) gradients, without a step size.

    Plan "practical" spends a few per cent on the search and the rest on one main run; it is what converges fastest, and
    carries no theorem. Plan "certified" is Algorithm 1 of Carmon & Hinder, "Making SGD Parameter-Free" (COLT 2022), for
    convex functions. With exact gradients, alpha=3 and beta=0 its result satisfies f(x) − f* <= sqrt(27) ‖x0 − x*‖
    sqrt(G)/T and ‖x − x*‖ <= 4 ‖x0 − x*‖ (Theorem 7), T being at least total_steps/16 for every range of step sizes
    up to 2^256 · initial_step.

    Args:
        oracle: ``oracle(x) -> grad`` or ``(value, grad)``, with ``grad`` of the shape of ``x0``.
        x0: the anchor, a real array of any shape with finite entries; it is not changed.
        total_steps: number of oracle calls that may be spent, at least 16 (plan "certified": 8).
        plan: "practical", "certified", or a ``pfopt.Practical`` or ``pfopt.Certified`` with options.
        initial_step: smallest step size to consider, > 0 (plan "practical": the first one to test). By default a
            tiny multiple of ‖x0‖/‖g0‖, or of 1/‖g0‖ from the origin.
        callback: called with the ``ProbeRecord`` of every finished probe.

    Returns:
        A ``Result``. Its point is finite, whatever the oracle returned. It is x0, after one call, where the gradient
        there is exactly zero.

    Raises:
        TypeError: an argument or an oracle's answer has the wrong type.
        ValueError: an argument or an oracle's answer has the wrong value or shape.
    """
    options.function("oracle", oracle)
    if callback is not None:
        options.function("callback", callback)
    anchor = _checked_anchor(x0)
    chosen = options.plan(plan)
    total = options.total_steps(total_steps, chosen)
    if initial_step is not None:
        options.positive("initial_step", initial_step)
    if isinstance(chosen, Practical) and chosen.scope not in ("auto", "global"):
        raise ValueError(f'scope must be "auto" or "global" where x0 is one array, got {chosen.scope!r}')
    by_coordinate = isinstance(chosen, Practical) and chosen.scope == "auto"
    driver = _Driver(oracle, anchor, callback, by_coordinate=by_coordinate)
    if not (isinstance(chosen, Certified) and chosen.restarts):
        return driver.result(driver.search(options.configure(chosen, total), initial_step))
    state, stage = None, FIRST_RESTART
    while driver.gradients + 2**stage <= total:
        delta = None if chosen.delta is None else chosen.delta / (stage * (stage + 1))
        first = None if initial_step is None else initial_step / 2**stage
        state = driver.search(options.configure(chosen, 2**stage, delta=delta), first)
        driver.anchor = driver.output(state)
        stage += 1
    assert state is not None  # the smallest total_steps is one stage
    return driver.result(state)


class _Driver:
    """Owns the arrays: anchor, iterate, average, and the outputs kept at lo and hi."""

    def __init__(
        self,
        oracle: Oracle,
        anchor: NDArray[Any],
        callback: Callable[[ProbeRecord], Any] | None,
        *,
        by_coordinate: bool,
    ):
        self.oracle, self.anchor, self.callback, self.by_coordinate = oracle, anchor, callback, by_coordinate
        dot = np.vdot if anchor.dtype == np.float64 else _dot
        self.arithmetic = Arithmetic(dot, _lerp, move=lambda a, b, c: a - b * c, clip=clip)
        self.kept: dict[Slot, _Output] = {}
        self.probes: list[ProbeRecord] = []
        self.gradients, self.unit = 0, 0.0  # see ``core.scale``; 0 until the first gradient

    def search(self, config: Config, initial_step: float | None) -> State:
        """Run the whole plan; the points that may be returned are in ``kept`` afterwards."""
        state = controller.init(config, 0, np, initial_step)
        if initial_step is not None or any(config.betas):
            self.unit = 1.0  # what the caller has told is in the gradients' own
        self.may_wait = not config.certified  # a probe of which ends at a gradient that is left out
        self.kept, self.anchor_sq = {}, _sum_sq(self.anchor)
        while state.phase != Phase.DONE:
            searching = state.phase == Phase.SEARCH
            try:
                with np.errstate(all="ignore"):
                    before, run, point = (self._probe if searching else self._main_run)(config, state)
                    state, transition = map(on_host, controller.finish(config, before, run))
            except _ZeroGradientError:
                return state._replace(phase=Phase.DONE, outcome=Outcome.ZERO_GRADIENT, output=Slot.ANCHOR)
            slot = Slot(transition.keep if searching else state.output)
            if slot != Slot.ANCHOR:
                self.kept[slot] = _Output(point, run, before)
            if searching:
                self._report(probe_record(before, run, transition.accepted))
        return state

    def output(self, state: State) -> NDArray[Any]:
        """The point that ``state`` says to return."""
        return self.kept[Slot(state.output)].point if state.output in self.kept else self.anchor

    def result(self, state: State) -> Result:
        """The estimates of the run that the returned point comes from."""
        step_size = lipschitz = distance = 0.0
        outcome = Outcome(state.outcome)
        if state.output in self.kept:
            _, run, before = self.kept[Slot(state.output)]
            exponent = before.bracket.exponent if before.phase == Phase.SEARCH else before.bracket.lo
            step_size = float(np.ldexp(before.initial_step, exponent))
            lipschitz, distance = runs.estimates(run)
            outcome = progress.outcome(state, run)
        x = self.output(state).copy()
        told = Result(x, step_size, lipschitz, distance, self.gradients, outcome, self.probes)
        return in_plain_units(told, self.unit or 1.0)

    def _probe(self, config: Config, state: State) -> tuple[State, Run, NDArray[Any]]:
        """One run of fixed step size, and its output: the average of its points, or the last one."""
        x, grad_sum = self.anchor.copy(), np.zeros_like(self.anchor)
        average, run, by_last = x.copy(), runs.begin(0, np, dtype=np.float64), probe.returns_last(config)
        for _ in range(state.run_length):
            grad, measured = self._measure(x)
            state, run, decision = step.decide(config, state, run, measured)
            average = _lerp(average, x, x.dtype.type(decision.average_weight))
            block = Block(x, self.anchor, grad)
            block, sums = update.move_probe_block(
                block, decision, x.dtype.type(decision.step_sizes), self.arithmetic
            )
            distance_sq = sums.distance_sq
            if by_last:
                grad_sum = grad_sum + grad
                distance_sq = _sum_sq(x.dtype.type(step.probe_step_size(state)) * grad_sum)
            run, kept = step.record(run, decision, measured, Moved(distance_sq))
            x = self.anchor if decision.restart else np.where(kept, block.iterate, x)
        return state, run, x if by_last else average

    def _main_run(self, config: Config, state: State) -> tuple[State, Run, NDArray[Any]]:
        """The main run, and its output: the average of its iterates, or the last one."""
        start, run = self.anchor, runs.begin(0, np, dtype=np.float64)
        mean_square = np.zeros_like(start) if self.by_coordinate else None
        block = Block(start, start, start, average=start, mean_square=mean_square)
        rule = Rule(size=start.size if self.by_coordinate else 0)
        beta = start.dtype.type(config.constants.beta if config.interpolates else 0)
        for _ in range(state.run_length):
            grad, measured = self._measure(block.iterate + beta * (block.average - block.iterate))
            state, run, decision = step.decide(config, state, run, measured)
            step_size = start.dtype.type(max(decision.step_sizes, np.finfo(start.dtype).tiny))
            move = rule, _cast(decision, start.dtype), step_size, self.arithmetic
            block, grad_sq = update.move_block(block._replace(gradient=grad), *move)
            moved = Moved(None, _told(grad_sq))
            if decision.measured:
                distance_sq, *others = map(_told, update.measure_block(block, *move))
                moved = Moved(distance_sq, moved.grad_sq, *others)
            run, _ = step.record(run, decision, measured, moved)
            beta = start.dtype.type(decision.next_beta)
        output = block.average if config.returns_average else block.iterate
        return state, run, np.asarray(output)

    def _measure(self, x: NDArray[Any]) -> tuple[NDArray[Any], Measured]:
        """Ask the oracle at a copy of ``x``."""
        self.gradients += 1
        grad, loss = _checked_answer(self.oracle(x.copy()), x)
        if self.gradients == 1 and not grad.any():
            raise _ZeroGradientError
        if not self.unit:
            largest = float(np.max(np.abs(grad)))
            waits = self.may_wait and self.gradients == 1 and scale.overflows(largest, grad.dtype)
            if 0 < largest < np.inf and not waits:
                self.unit = 2.0 ** scale.exponent(largest, grad.dtype)
        if self.unit not in (0.0, 1.0):
            grad = grad * grad.dtype.type(self.unit)
        grad_sq = _sum_sq(grad)
        if grad.itemsize < 8 and not np.isfinite(np.square(np.max(np.abs(grad)))):
            grad_sq = np.float64(np.inf)  # g_i² is kept in the dtype of the array
        measured = Measured(grad_sq, loss, signal=True, anchor_sq=self.anchor_sq)
        return grad, measured

    def _report(self, record: ProbeRecord) -> None:
        record = in_plain_units(record, self.unit or 1.0)
        self.probes.append(record)
        if self.callback is not None:
            self.callback(record)


class _Output(NamedTuple):
    """What a run may return."""

    point: NDArray[Any]
    run: Run
    state: State  # during the run


class _ZeroGradientError(Exception):
    """The first gradient of all is exactly zero: the anchor is a minimiser."""


def _lerp(a: NDArray[Any], b: NDArray[Any], weight: Any) -> NDArray[Any]:
    return a + weight * (b - a)


def _dot(a: NDArray[Any], b: NDArray[Any]) -> np.float64:
    """⟨a, b⟩ of arrays that are narrower than the statistics."""
    return np.sum(np.multiply(a, b, dtype=np.float64))


def _told(number: Any) -> np.float64 | None:
    """A sum as the core computes with it."""
    return None if number is None else np.float64(number)


def _sum_sq(x: NDArray[Any]) -> np.float64:
    return np.sum(np.square(x, dtype=np.float64))


def _cast(decision: Decision, dtype: np.dtype[Any]) -> Decision:
    """The numbers of a decision that are multiplied with arrays, in the arrays' dtype: float64 would win."""
    rule = (
        None
        if decision.coordinate_rule is None
        else CoordinateRule(*map(dtype.type, decision.coordinate_rule))
    )
    return decision._replace(average_weight=dtype.type(decision.average_weight), coordinate_rule=rule)


def _checked_anchor(x0: ArrayLike) -> NDArray[Any]:
    """A finite floating-point copy of ``x0``; integers become float64."""
    try:
        x = np.array(x0)
    except ValueError as error:
        raise ValueError(f"x0 must be an array of real numbers, got {x0!r}") from error
    if np.issubdtype(x.dtype, np.integer):
        x = x.astype(np.float64)
    if not np.issubdtype(x.dtype, np.floating):
        raise TypeError(f"x0 must be an array of real numbers, got dtype {x.dtype}")
    if x.size == 0:
        raise ValueError(f"x0 must have at least one entry, got shape {x.shape}")
    bad = np.count_nonzero(~np.isfinite(x))
    if bad:
        raise ValueError(f"x0 must be finite, got {bad} entries that are NaN or infinite")
    return x


def _checked_answer(returned: Any, x: NDArray[Any]) -> tuple[NDArray[Any], np.float64 | None]:
    """The gradient and the value, if any, that an oracle returned for ``x``."""
    value = None
    if isinstance(returned, tuple):
        if len(returned) != 2:
            raise TypeError(f"oracle must return grad or (value, grad), got a tuple of {len(returned)}")
        value, returned = returned
        scalar = np.asarray(value)
        if scalar.ndim != 0 or scalar.dtype.kind not in "fiu":
            raise TypeError(
                f"oracle must return a real scalar as value, got {value!r} of shape {scalar.shape}"
            )
        value = np.float64(scalar.item())
    grad = np.asarray(returned)
    if grad.dtype.kind not in "fiu":
        raise TypeError(f"oracle must return a gradient of real numbers, got dtype {grad.dtype}")
    if grad.shape != x.shape:
        raise ValueError(f"oracle must return a gradient of shape {x.shape}, got {grad.shape}")
    return grad.astype(x.dtype, copy=False), value
