"""One gradient: what a back end asks before it moves, and what it tells afterwards. The only door to the algorithm.

A back end makes five calls for every gradient: it measures norms, ``decide``, ``update.move_block`` on each block of
coordinates, ``record``, and stores what came back. At the end of a run it makes two more: ``controller.finish``, and it
places the parameters. Neither ``decide`` nor ``record`` sees a parameter.
"""

from typing import NamedTuple

from pfopt.core import main_run, probe
from pfopt.core.arrays import (
    Flag,
    Real,
    Vector,
    choose,
    doublings,
    isfinite,
    negated,
    ones_like,
    positive,
    real,
    sqrt,
    where,
    whole,
    zeros_like,
)
from pfopt.core.config import Config
from pfopt.core.main_run import Decision
from pfopt.core.records import Phase, Run, State
from pfopt.core.run import has_moved, record_distance


class Measured(NamedTuple):
    """A gradient, before the move."""

    grad_sq: Vector  # ‖g‖², weight decay included; ⟨g, d⟩ around a base, see ``preconditioned``
    loss: Real | None  # at the point where it was taken; only whether it is finite matters
    signal: Flag  # False for a gradient that is exactly zero: it spends nothing before the first other one
    anchor_sq: Real  # ‖x_0‖²; not looked at once the initial step is fixed


class Moved(NamedTuple):
    """The same gradient, after the move; None for what was not measured."""

    distance_sq: Vector | None  # ‖x − x_0‖² in the metric of the move
    grad_sq: Vector | None = None  # ‖g‖² in that metric, where coordinates have steps of their own
    displacement_sq: Real | None = None  # ‖x − x_0‖² itself, likewise
    displacement_product: Real | None = None  # Σ (x − x_0)² m_i, likewise


def decide(config: Config, state: State, run: Run, measured: Measured) -> tuple[State, Run, Decision]:
    """What to do with a gradient.

    The state changes at the first gradient with signal, which fixes the initial step size. Where the state is that of
    host numbers only the current kind of run is computed, otherwise both, and one is chosen.
    """
    begun = state.has_initial_step | measured.signal
    counts = begun & (state.phase != Phase.DONE) & (run.step < state.run_length)
    state = _with_initial_step(config, state, measured, counts)
    if config.certified:
        return state, *_probe(config, state, run, measured, counts)
    if isinstance(state.phase, int):
        take = _probe if state.phase == Phase.SEARCH else _main
        return state, *take(config, state, run, measured, counts)
    searched, search_decision = _probe(config, state, run, measured, counts)
    followed, main_decision = _main(config, state, run, measured, counts)
    search_decision = search_decision._replace(coordinate_rule=main_decision.coordinate_rule)
    both = (searched, search_decision), (followed, main_decision)
    searching = state.phase == Phase.SEARCH
    return state, *(choose(searching, *each) for each in zip(*both, strict=True))


def record(run: Run, decision: Decision, measured: Measured, moved: Moved) -> tuple[Run, Flag]:
    """The run after a move, and whether it was made and measured: not where it overflows."""
    if moved.grad_sq is not None:
        run = main_run.record(run, decision, measured.grad_sq, moved.grad_sq)
    if moved.distance_sq is None:
        return run, zeros_like(decision.taken)
    run, kept = record_distance(run, decision.taken & decision.measured, moved.distance_sq)
    if moved.displacement_sq is not None:
        run = run._replace(
            displacement_sq=where(kept, moved.displacement_sq, run.displacement_sq),
            displacement_product=where(kept, moved.displacement_product, run.displacement_product),
        )
    return run, kept


def known_step_sizes(config: Config, state: State, run: Run) -> Vector | None:
    """The step sizes of the next move, where they are known before its gradient; None where that decides on them.

    Around a base they are known but at the first gradient of all and of the main run, so that it can step in place. On
    host numbers only.
    """
    if not state.has_initial_step:
        return None
    if state.phase == Phase.SEARCH:
        return _probe_step_sizes(config, state, run)
    return run.next_step_sizes if whole(run.next_step_sizes) > 0 else None


def foresee(config: Config, state: State, run: Run) -> Decision:
    """The decision about the next gradient from what is known before it, so that tensors can move as gradients come.

    It is the one about a gradient whose ‖g‖² is the mean of those before; of a group or tensor that has had none that
    of the whole, whose step size is the smaller one. A probe's step size does not hang on its gradients. Where
    nothing is known yet, at the first gradient of all and of the main run, it is not taken, with step sizes of 0.
    """
    mean = run.mean_grad_sq
    expected = where(mean > 0, mean, whole(mean) + zeros_like(mean))
    _, _, decision = decide(config, state, run, Measured(expected, None, signal=True, anchor_sq=0.0))
    is_known = state.has_initial_step & ((state.phase == Phase.SEARCH) | (whole(mean) > 0))
    return decision._replace(taken=decision.taken & is_known, step_sizes=decision.step_sizes * is_known)


def probe_step_size(state: State) -> Real:
    """The step size under test, before the decay of a probe that has one."""
    return doublings(state.initial_step, state.bracket.exponent)


def _with_initial_step(config: Config, state: State, measured: Measured, counts: Flag) -> State:
    """The step size of exponent 0 from ‖x_0‖² and ‖g_0‖²: a lower bound in Algorithm 1, a guess in the practical plan.

    A step of that size goes the stated fraction of ‖x_0‖, or of 1 from the origin. One that an earlier search has found
    is kept.
    """
    if state.has_initial_step is True:
        return state
    grad_sq, anchor_sq = whole(measured.grad_sq), measured.anchor_sq
    size_sq = where(anchor_sq > 0, anchor_sq, 1.0)
    first = config.constants.first_step * sqrt(size_sq / positive(grad_sq))
    first = where(state.initial_step > 0, state.initial_step, first)
    usable = negated(state.has_initial_step) & counts & (grad_sq > 0) & isfinite(grad_sq)
    return state._replace(
        initial_step=where(usable, first, state.initial_step),
        has_initial_step=state.has_initial_step | usable,
    )


def _probe(config: Config, state: State, run: Run, measured: Measured, counts: Flag) -> tuple[Run, Decision]:
    step_sizes = _probe_step_sizes(config, state, run)
    run, taken, weight = probe.take_gradient(config, state, run, measured.grad_sq, measured.loss, counts)
    return run, Decision(
        taken=taken,
        restart=zeros_like(taken) if config.certified else run.frozen,
        measured=ones_like(taken),
        moving=has_moved(run),
        step_sizes=step_sizes,
        average_weight=weight,
        beta=zeros_like(weight),
        next_beta=zeros_like(weight),
        share_of_run=zeros_like(weight),
        coordinate_rule=None,
    )


def _probe_step_sizes(config: Config, state: State, run: Run) -> Vector:
    decay = probe.decay(config, real(run.step, run.weight_sum), state.run_length)
    return probe_step_size(state) * decay + zeros_like(run.grad_sq_sum)


def _main(config: Config, state: State, run: Run, measured: Measured, counts: Flag) -> tuple[Run, Decision]:
    return main_run.take_gradient(config, state, run, measured.grad_sq, measured.loss, counts)
