"""The certificate of Carmon & Hinder, "Making SGD Parameter-Free" (COLT 2022), eq. (4).

A run of T steps of size eta from x_0 has G = sum ‖g_i‖² and r̄ = max ‖x_i − x_0‖. The step size may go up iff

    eta <= phi(eta) = r̄ / sqrt(alpha G + beta)        i.e.        eta² (alpha G + beta) <= r̄².

What the constants guarantee:

* alpha = 3, beta = 0, noiseless gradients: f(x̄) − f* <= sqrt(27) ‖x_0 − x*‖ sqrt(G) / T (Theorem 7). Any alpha > 1
  bounds the displacement (Lemma 3); 3 minimises the constant of Proposition 1.
* alpha^(k), beta^(k) of eq. (13), stochastic gradients bounded by L almost surely: the same up to constants
  with probability 1 − delta (Theorem 14). No budget below 2 k alpha^(k), about 9e4, lets it choose anything.
"""

from math import log2

from pfopt.core.arrays import Count, Flag, Real, where

RANGES = (2, 4, 8)  # k; 2^(2^16) overflows float64, so the search ends at k = 8


def certified(step_size: Real, grad_sq_sum: Real, distance_sq: Real, alpha: Real, beta: Real) -> Flag:
    """Whether ``step_size`` may go up. Ties count as "may"; NaN never does.

    Written as a product, without root or logarithm, and in this order so that step_size² cannot underflow
    on its own: the same scalars give the same answer on the host and under ``jit``.
    """
    return step_size * (step_size * (alpha * grad_sq_sum + beta)) <= distance_sq


def theorem_constants(total_steps: int, lipschitz: float, delta: float) -> tuple[tuple[float, ...], ...]:
    """alpha^(k) and beta^(k) of eq. (13) for k = 2, 4, 8.

    C_k = 2k + log2(60 log2²(6B) / delta), alpha^(k) = 32² C_k, beta^(k) = (32 C_k L)².
    """
    constants = [2 * k + log2(60 * log2(6 * total_steps) ** 2 / delta) for k in RANGES]
    return tuple(32**2 * c for c in constants), tuple((32 * c * lipschitz) ** 2 for c in constants)


def at_range(values: tuple[float, ...], k: Count) -> Real:
    """The entry of ``values`` that belongs to range k = 2, 4 or 8."""
    return where(k <= 2, values[0], where(k <= 4, values[1], values[2]))
