"""One gradient of the main run of the practical plan.

In: the step size η* that the search selected, or the smallest one that it rejected where it certified none; r₀ = the
distance that its probe travelled, N = the gradients of that probe, cap = 4 η* (η* around a base), T = the gradients
that are left. n counts gradients since the last restart, and w_γ(n) = (1 + γ)/(n + γ). For each gradient g = ∇f(y),
y = z + β (x̄ − z):

 1 faults      Not finite: skip it. Four in a row, or ‖g‖² > 2000 × its mean: restart (z = x₀, n = 0,
               cap /= 4, r₀ /= 2).
 2 moments     S += ‖g‖²;   m += w₃(n) (‖g‖² − m);   l += w₈(n) (‖g‖² − l);   per coordinate m_i += w₃(n) (g_i² − m_i).
 3 distance    r = max(r₀, max ‖z − x₀‖).
 4 step        η = min(c r/√(n m), max(cap, min(r/√(α max(n m, 0.3 S)), cap (n−1)/N))), with c = 1.25 for the whole,
               2 around a base, 1 for a group or tensor.
 5 coordinate  η_i = ½ r_i/√(n k m_i) with k = max(1, 0.3 S/(n m)) and r_i² = max(d_i², 4 min(Σd², Σd² m/m_i)/size,
               r₀²/size), d = z − x₀; z moves by the largest of the whole's, the tensor's and the coordinate's step.
               Around a base, which has scaled coordinates already, there is none, a tensor's step is rounded to the
              whole's times a power of two, and η is that of the gradient before.
 6 anneal      δ = 1, or 1 − (n−1)/T where steps decay: around a base, and at a kink, where l was never below the
               noise of the gradients.
 7 move        z −= δ η g; where weights decay, z = exp(−κ/T) z − δ η g, so that those that no gradient holds are
               exp(−κ) of what they were at the end. Without an end T is n, and 1024 at least.
 8 average     a = r² n^(γ−1)/(δ l);   x̄ += max(a/Σa, γ/(n−1+γ)) (z − x̄);   β = 2/3, rising to 0.9 in the last fifth.
 9 record      ‖g‖ in the metric η_i/η in which the coordinates moved; and at n <= 32, then at one in 16 (around a base
               at all), ‖z − x₀‖ in it, Σd² and Σd² m. Where there are losses, their means, for ``progress`` only.

Steps 1 to 6 and the weight of 8 are decided here, from norms alone; 5 (for each coordinate), 7, 8 and the sums of 9 are
``update.move_block``; 9 is ``record``. For convex f, exact gradients and any β in [0, 1], whatever the step sizes,

    f(x̄_T) − f* <= (‖x_0 − x*‖² + Σ η_t² ‖g_t‖²) / (2 Σ η_t)

where x_t has as its weight the step that leaves it (Theorem 2 of Defazio et al., "The Road Less Scheduled", 2024,
and the distances' telescoping sum); weights that outgrow the steps cost the largest ‖x_t − x*‖ in place of ‖x_0 − x*‖.
"""

from typing import NamedTuple

from pfopt.core import averaging, faults, progress, step_size
from pfopt.core.arrays import (
    Flag,
    Real,
    Vector,
    at_least,
    isfinite,
    maximum,
    minimum,
    negated,
    ones_like,
    positive,
    real,
    where,
    whole,
    zeros_like,
)
from pfopt.core.averaging import mean_weight
from pfopt.core.budget import FIRST_STAGE
from pfopt.core.config import Config, Constants
from pfopt.core.records import Run, State
from pfopt.core.run import age, has_moved
from pfopt.core.step_size import CoordinateRule


class Decision(NamedTuple):
    """What the back end does with one gradient."""

    taken: Flag  # move; otherwise the gradient is not finite, does not count, or the run is over
    restart: Flag  # go back to the anchor instead; in a probe, for the rest of it
    measured: Flag  # measure the displacement after the move
    moving: Flag  # the run has moved before; momentum begins anew where it has not
    step_sizes: Vector  # of the whole, and of each group or tensor
    average_weight: Real  # of the new iterate in x̄; in a probe, of the point at which the gradient was taken
    beta: Real  # share of x̄ in the point at which the gradient was taken
    next_beta: Real  # in that of the next one
    share_of_run: Real  # that this gradient is, by which weights decay; 0 in a probe
    coordinate_rule: CoordinateRule | None  # None in a probe


def take_gradient(
    config: Config, state: State, run: Run, grad_sq: Vector, loss: Real | None, counts: Flag
) -> tuple[Run, Decision]:
    """Measure one gradient and decide on the move; the numbers are those of the listing above.

    Args:
        config: what the caller chose.
        state: after the search.
        run: what the run has measured so far.
        grad_sq: ‖g‖² of this gradient.
        loss: the loss at this point, or None.
        counts: False for what spends nothing, exact zeros before the first other gradient.
    """
    constants, gamma = config.constants, config.constants.average_gamma
    fault = faults.examine(run, grad_sq, loss, counts, constants.burst)  # 1
    before, n = age(run), age(run) + 1
    moments = averaging.add_gradient(constants, run, grad_sq, fault.taken, n)  # 2
    sum_sq = positive(n * moments.mean_grad_sq)
    forgotten = moments.grad_sq_sum / sum_sq

    quartered = 0.25 ** (run.restarts + zeros_like(n))
    initial_sq = quartered * _initial_distance_sq(config, state, grad_sq, fault.taken)  # 3
    distance_sq = maximum(initial_sq, run.distance_sq)

    tracks, tracked = step_size.tracking(constants, distance_sq, sum_sq)  # 4
    cap = step_size.cap(state) * quartered
    bound = step_size.bound(constants, tracks, constants.memory * forgotten, cap, before, state.probe_length)

    decayed = averaging.linear_decay(before, state.run_length - run.restart_step)  # 6
    latest = moments.latest_grad_sq
    at_kink = run.at_kink & state.noise_known & (latest > state.noise_sq)
    kink_decay = where(at_kink, decayed, ones_like(decayed))
    decay = decayed if config.decays else kink_decay

    weight = averaging.unnormalised_weight(whole(distance_sq), latest, kink_decay, n, gamma)  # 8
    weight_sum = where(fault.taken, run.weight_sum + weight, run.weight_sum)
    share = averaging.share_of_newest(weight, weight_sum, n, gamma) * fault.taken

    following = run._replace(
        **moments._asdict(), step=run.step + counts, at_kink=at_kink, weight_sum=weight_sum
    )
    following = following._replace(nonfinite_in_a_row=fault.nonfinite_in_a_row)
    if loss is not None:
        following = progress.record_loss(following, loss, fault.taken, progress.LATE_GAMMA)
    step_sizes = decay * minimum(tracked, bound)
    if config.lags:
        following, step_sizes = _lagged(following, step_size.in_doublings(step_sizes), fault.taken)
    following = faults.restarted(following, fault.restart)
    square_weight = mean_weight(constants.mean_gamma, n) * fault.taken  # 5
    growth = n * at_least(constants.memory * whole(forgotten), 1.0)
    rule = step_size.coordinate_rule(constants, square_weight, growth, whole(initial_sq), following, decay)
    decision = Decision(
        taken=fault.taken,
        restart=fault.restart,
        measured=_is_measured(constants, before) | negated(has_moved(run)),
        moving=has_moved(run),
        step_sizes=step_sizes,
        average_weight=where(fault.restart, ones_like(share), share),
        beta=beta(config, state, run),
        next_beta=beta(config, state, following),
        share_of_run=1 / (at_least(n, FIRST_STAGE) if config.endless else real(state.run_length, n)),
        coordinate_rule=rule,
    )
    return following, decision


def record(run: Run, decision: Decision, grad_sq: Vector, metric_sq: Vector) -> Run:
    """The run with the newest gradient counted in the metric in which it moved, known after the move only (listing, 9).

    Where coordinates move by ratio_i = η_i/η >= 1 times the whole's step, that is SGD in another metric, and there they
    are measured: ‖d‖² is Σ d_i²/ratio_i and ‖g‖² is Σ ratio_i g_i². In the plain norm a few flat coordinates that have
    come far would certify a step at which the steep ones diverge.

    Args:
        run: what ``take_gradient`` returned.
        decision: likewise.
        grad_sq: ‖g‖² as ``take_gradient`` counted it.
        metric_sq: ‖g‖² in the metric of the move; one that is not finite changes nothing.
    """
    assert decision.coordinate_rule is not None
    weight = decision.coordinate_rule.square_weight
    change = metric_sq - grad_sq
    change = where(isfinite(metric_sq) & (weight > 0), change, zeros_like(change))
    return run._replace(mean_grad_sq=run.mean_grad_sq + weight * change)


def _lagged(run: Run, step_sizes: Vector, taken: Flag) -> tuple[Run, Vector]:
    """The run with these step sizes for the next move, and those that it had for this one, if there were any."""
    known = run.next_step_sizes
    run = run._replace(next_step_sizes=where(taken, step_sizes, known))
    return run, where(whole(known) > 0, known, step_sizes)


def _is_measured(constants: Constants, before: Real) -> Flag:
    """Whether the displacement is measured after the move that follows ``before`` gradients (listing, 9).

    No move is longer than c r or, of a coordinate, than half of what counts as its distance, since w₃(n) ‖g‖² <= m:
    what was finite when it was measured is finite when it is measured again.
    """
    return (before < constants.measured_first) | (before % constants.measured_every == 0)


def _initial_distance_sq(config: Config, state: State, grad_sq: Vector, taken: Flag) -> Vector:
    """r₀² before restarts; where no probe measured any, that of one step of the initial step size."""
    known = step_size.initial_distance_sq(config, state)
    first = state.initial_step * (state.initial_step * where(taken, grad_sq, zeros_like(grad_sq)))
    return where(whole(known) > 0, known, first)


def beta(config: Config, state: State, run: Run) -> Real:
    """Share of x̄ in the point at which the next gradient is taken (listing, 8)."""
    step = real(run.step, run.weight_sum)
    return averaging.beta(config.constants, step, state.run_length) if config.interpolates else 0.0 * step
