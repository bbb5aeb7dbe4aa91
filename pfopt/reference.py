"""The practical plan in literal numpy: documentation to read beside ``core``, and an oracle that tests compare with.

Slow and without options: one array, gradients alone, a known horizon. The numbers are those of ``core.main_run``.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np


class Probe(NamedTuple):
    """A probe that has ended: step size eta·2^j, G = Σ‖g‖², r2 = max ‖x − x_0‖²; clean if all of it was finite."""

    j: int
    G: float
    r2: float
    clean: bool


def practical(gradient: Callable[[np.ndarray], Any], x0: np.ndarray, total_steps: int) -> np.ndarray:
    """Spend ``total_steps`` gradients from x0 and return the average, as ``pfopt.minimize(…).x``; float64, unchecked."""
    x0 = np.array(x0, float)
    pending = [np.asarray(gradient(x0.copy()))]
    if not pending[0].any():
        return x0

    def ask(x: np.ndarray) -> np.ndarray:
        return pending.pop() if pending else np.asarray(gradient(x.copy()))

    with np.errstate(all="ignore"):
        return _main_run(ask, x0, total_steps, *_search(ask, x0, total_steps))


def _search(ask: Any, x0: np.ndarray, B: int) -> tuple[Any, ...]:
    shortest = T = int(np.clip(B // 200, np.clip(B // 16, 4, 16), 64))
    eta = lo = hi = sigma2 = None
    stage, k, j, spent = "start", 2, 0, 0
    while True:
        eta, probe = _probe(ask, x0, eta, j, T)
        spent, N, selected, ended = spent + T, T, (eta, lo, hi), False
        accepted = probe.clean and 0 < probe.G and (2.0**j * eta) ** 2 * 1.5 * probe.G <= probe.r2
        noise = stage == "lower" and not accepted and probe.clean and hi.clean and 2 * probe.G >= hi.G
        if probe.G > 0 and stage == "start":
            variance = (T * probe.G - probe.r2 / (2.0**j * eta) ** 2) / (T * (T - 1))
            exact = probe.clean and variance <= 0.01 * probe.G / T
            sigma2 = max(variance, 1e-6 * probe.G / T) if exact else None
        if probe.G > 0 and noise:  # longer probes; from the guess, or from the middle of what is left
            T, restart = 4 * T, j == -4
            k, j, hi = (k // 2 if j == -(2**k) else k), (j + hi.j) // 2, hi._replace(G=4 * hi.G)
            if restart:
                stage, k, j, lo, hi = "start", 2, 0, None, None
        elif probe.G > 0:
            lo, hi = (probe, hi) if accepted else (lo, probe)
            selected = eta, lo, hi
            if stage == "start":
                stage, j = ("raise", 4) if accepted else ("lower", -4)
            elif (stage == "raise" and accepted) or (stage == "lower" and not accepted):
                if k < 8:
                    k, j = 2 * k, (1 if accepted else -1) * 2 ** (2 * k)
                elif accepted:
                    ended = True
                else:
                    stage, k, j, eta, lo, hi = "start", 2, 0, 2.0**j * eta, None, None
            elif hi.j - lo.j > 1:
                stage, j = "bisect", (lo.j + hi.j) // 2
            else:
                ended = True
        if ended or spent + T > B * (0.25 if T == shortest else 0.125):
            return *selected, sigma2, N, B - spent


def _probe(ask: Any, x0: np.ndarray, eta: float | None, j: int, T: int) -> tuple[Any, Probe]:
    x, G, r2, bad, frozen = x0, 0.0, 0.0, 0, False
    for _ in range(T):
        g = ask(x)
        sq = np.sum(g**2)
        if eta is None and 0 < sq < np.inf:
            eta = 2.0**-8 * np.sqrt((np.sum(x0**2) or 1.0) / sq)
        bad = 0 if np.isfinite(sq) else bad + 1
        frozen = frozen or bad >= 2
        if not (frozen or bad):
            new, G = x - 2.0**j * eta * g, G + sq
            frozen = not np.isfinite(np.sum((new - x0) ** 2))
            x, r2 = (x, r2) if frozen else (new, max(r2, np.sum((new - x0) ** 2)))
    return eta, Probe(j, G, r2, not (frozen or bad))


def _main_run(
    ask: Any, x0: np.ndarray, B: int, eta: Any, lo: Any, hi: Any, sigma2: Any, N: int, T: int
) -> Any:
    eta, gamma, bad, kink, overflow = eta or 0.0, 0.5, 0, sigma2 is not None, False
    cap = eta * 2.0 ** (lo.j + (2 if hi else 64) if lo else (hi.j if hi else 0) + 64)
    r0_sq = lo.r2 if lo else hi.r2 if hi else 0.0
    z = average = x0
    n, S, m, latest, m_i, r2, A, d2, d2m, halved, start = 0, 0.0, 0.0, 0.0, 0 * x0, 0.0, 0.0, 0.0, 0.0, 1.0, 0
    for t in range(T):
        beta = 2 / 3 + (0.9 - 2 / 3) * np.clip((t / T - 1) / 0.2 + 1, 0, 1)  # 8
        g = ask(z + beta * (average - z))
        sq = np.sum(g**2)
        burst = np.isfinite(sq) and n >= 20 and sq > 2000 * S / n and r2 > 0  # 1
        bad = 0 if np.isfinite(sq) else bad + (r2 > 0)
        if burst or overflow or bad >= 4:
            z = average = x0
            n, S, m, latest, r2, A, d2, d2m, halved, start = (
                0,
                0.0,
                0.0,
                0.0,
                0.0,
                0.0,
                0.0,
                0.0,
                halved / 2,
                t + 1,
            )
            bad, overflow, kink = 0, False, sigma2 is not None
            continue
        if not np.isfinite(sq):
            n += 1
            continue
        if not eta:  # no probe met a gradient that fixes it
            eta = 2.0**-8 * np.sqrt((np.sum(x0**2) or 1.0) / sq)
            cap = eta * 2.0**64
        n += 1
        w3, w8 = 4 / (n + 3), 9 / (n + 8)  # 2
        S, m, latest, m_i = S + sq, m + w3 * (sq - m), latest + w8 * (sq - latest), m_i + w3 * (g**2 - m_i)
        forgotten = S / (n * m or 1.0)
        first_sq = halved**2 * (r0_sq or eta**2 * sq)  # 3
        r_sq = max(first_sq, r2)
        track = np.sqrt(r_sq / (n * m or 1.0))  # 4
        certified = track / np.sqrt(1.5 * max(0.3 * forgotten, 1.0))
        c = cap * halved**2
        step = min(1.25 * track, max(min(certified, c * (n - 1) / N), c))
        kink = kink and latest > sigma2  # 6
        delta = 1 - (n - 1) / (T - start) if kink else 1.0
        m_safe = np.maximum(m_i, np.finfo(float).tiny)  # 5
        r_i_sq = np.maximum((z - x0) ** 2, np.maximum(first_sq, 4 * np.minimum(d2, d2m / m_safe)) / x0.size)
        own = delta * 0.5 / np.sqrt(n) * np.sqrt(r_i_sq / (max(0.3 * forgotten, 1.0) * m_safe))
        step = max(delta * step, np.finfo(float).tiny)
        steps = np.clip(own, step, 2.0**40 * step)
        new = z - steps * g  # 7
        d = new - x0
        overflow = not np.isfinite(np.sum(d**2 / steps) * step)
        z = np.where(d**2 / steps < np.inf, new, z)
        if not overflow:  # 9
            r2, d2, d2m = max(r2, np.sum(d**2 / steps) * step), np.sum(d**2), np.sum(d**2 * m_i)
        metric_sq = np.sum(steps * g**2) / step
        m += w3 * (metric_sq - sq) if np.isfinite(metric_sq) else 0.0
        a = min(r_sq / (delta * latest or 1.0) * n ** (gamma - 1), 2.0**-32 * np.finfo(float).max)  # 8
        A += a
        average = average + max(a / A if A > 0 else 1.0, gamma / (n - 1 + gamma)) * (z - average)
    return average
