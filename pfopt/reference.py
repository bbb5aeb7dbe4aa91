"""The practical plan in literal numpy, by the numbers of ``core.main_run``: one array, a known horizon, unchecked."""
# pyright: reportPossiblyUnboundVariable=false, reportOptionalMemberAccess=false, reportOperatorIssue=false

from collections import namedtuple
from typing import Any

import numpy as np

Probe = namedtuple("Probe", "j G r2 clean")  # step size eta·2^j, Σ‖g‖², max ‖x − x_0‖², all of it finite


def practical(gradient: Any, x0: np.ndarray, total_steps: int) -> np.ndarray:
    """Spend ``total_steps`` gradients from x0 and return the average: what ``pfopt.minimize`` finds, in float64."""
    x0 = np.array(x0, float)
    pending = [np.asarray(gradient(x0.copy()))]
    if not pending[0].any():
        return x0
    ask = lambda x: pending.pop() if pending else np.asarray(gradient(x.copy()))  # noqa: E731
    with np.errstate(all="ignore"):
        return _main_run(ask, x0, *_search(ask, x0, total_steps))


def _probe(ask: Any, x0: Any, eta: Any, j: int, T: int, usual: float) -> tuple[Any, Probe]:
    x, G, r2, bad, frozen = x0, 0.0, 0.0, 0, False
    for t in range(T):
        sq = np.sum((g := ask(x)) ** 2)
        if eta is None and 0 < sq < np.inf:
            eta = 2.0**-8 * np.sqrt((np.sum(x0**2) or 1.0) / sq)
        bad = 0 if np.isfinite(sq) else bad + 1
        if frozen := frozen or bad >= 2 or (0 < 2000 * (usual or G / max(t, 1)) < sq < np.inf):
            x = x0
        elif not bad:
            new, G = x - 2.0**j * eta * g, G + sq
            if not (frozen := not np.isfinite(np.sum((new - x0) ** 2))):
                x, r2 = new, max(r2, np.sum((new - x0) ** 2))
    return eta, Probe(j, G, r2, not (frozen or bad))


def _search(ask: Any, x0: Any, B: int) -> tuple[Any, ...]:
    shortest = T = int(np.clip(B // 200, np.clip(B // 16, 4, 16), 64))
    eta, lo, hi, sigma2, stage, k, j, spent, ended = None, None, None, None, "start", 2, 0, 0, False
    while True:
        eta, probe = _probe(ask, x0, eta, j, N := T, lo.G / T if lo else 0.0)
        spent, selected = spent + T, (eta, lo, hi)
        accepted = probe.clean and probe.G > 0 and (2.0**j * eta) ** 2 * 1.5 * probe.G <= probe.r2
        noise = stage == "lower" and not accepted and probe.clean and hi.clean and 2 * probe.G >= hi.G
        if probe.G > 0 and stage == "start":  # are gradients nearly exact?
            variance, mean = (T * probe.G - probe.r2 / (2.0**j * eta) ** 2) / (T * (T - 1)), probe.G / T
            sigma2 = max(variance, 1e-6 * mean) if probe.clean and variance <= 0.01 * mean else None
        if probe.G > 0 and noise:  # longer probes: from the guess, or from the middle of what is left
            T, hi = 4 * T, hi._replace(G=4 * hi.G)
            below = stage, k // 2 if j == -(2**k) else k, (j + hi.j) // 2, hi
            stage, k, j, hi = ("start", 2, 0, None) if j == -4 else below
        elif probe.G > 0:  # otherwise the probe is run again
            lo, hi = (probe, hi) if accepted else (lo, probe)
            selected, widens = (eta, lo, hi), stage == ("raise" if accepted else "lower")
            if stage == "start":
                stage, j = ("raise", 4) if accepted else ("lower", -4)
            elif widens and k == 8 and not accepted:  # the guess itself comes down
                stage, k, j, eta, lo, hi = "start", 2, 0, 2.0**j * eta, None, None
            elif widens and k < 8:
                k = k + 1 if accepted else 2 * k
                j = 2**k if accepted else -(2**k)
            elif not (ended := widens or hi.j - lo.j <= 1):
                stage, j = "bisect", (lo.j + hi.j) // 2
        if ended or spent + T > B * (0.25 if shortest == T else 0.125):
            return *selected, sigma2, N, B - spent


def _main_run(ask: Any, x0: Any, eta: Any, lo: Any, hi: Any, sigma2: Any, N: int, T: int) -> Any:
    cap = (lo or hi or Probe(0, 0, 0, 0)).j + (2 if hi else 64)
    r0_sq, first = (lo or hi or Probe(0, 0, 0, 0)).r2, 2.0**-8 * np.sqrt(np.sum(x0**2) or 1.0)
    halved, restart, m_i, tiny = 1.0, True, 0 * x0, np.finfo(float).tiny
    for t in range(T):
        if restart:
            z, average, start, kink, restart = x0, x0, t, sigma2 is not None, False
            n = S = m = latest = A = r2 = d2 = d2m = bad = 0
        g = ask(z + (2 / 3 + (0.9 - 2 / 3) * np.clip((t / T - 1) / 0.2 + 1, 0, 1)) * (average - z))
        sq = np.sum(g**2)
        bad = 0 if np.isfinite(sq) else bad + (r2 > 0)  # 1
        if bad >= 4 or not np.isfinite(r2) or (n >= 20 and r2 > 0 and 2000 * S / n < sq < np.inf):
            restart, halved = True, halved / 2
        n += 1
        if restart or not np.isfinite(sq):
            continue
        eta, S, w = eta or first / np.sqrt(sq), S + sq, 4 / (n + 3)  # 2
        m, m_i, latest = m + w * (sq - m), m_i + w * (g**2 - m_i), latest + 9 / (n + 8) * (sq - latest)
        near, sum_sq, mi = halved**2 * (r0_sq or eta**2 * sq), n * m or 1.0, np.maximum(m_i, tiny)  # 3
        r_sq = max(near, r2)
        track, k, c = np.sqrt(r_sq / sum_sq), max(0.3 * S / sum_sq, 1.0), eta * 2.0**cap * halved**2  # 4
        delta = 1 - (n - 1) / (T - start) if (kink := kink and latest > sigma2) else 1.0  # 6
        eta_t = max(delta * min(1.25 * track, max(min(track / np.sqrt(1.5 * k), c * (n - 1) / N), c)), tiny)
        others = np.maximum(near, 4 * np.minimum(d2, d2m / mi)) / x0.size  # 5
        inverse = (0.5 * delta) ** 2 / (n * k * mi)
        steps = np.clip(np.sqrt(np.maximum((z - x0) ** 2, others) * inverse), eta_t, 2.0**40 * eta_t)
        z = z - steps * g  # 7
        A += (a := min(r_sq / (delta * latest or 1.0) * n**-0.5, 2.0**-32 * np.finfo(float).max))  # 8
        average = average + max(a / A if A > 0 else 1.0, 0.5 / (n - 0.5)) * (z - average)
        metric = np.clip(np.sqrt(np.maximum(d_sq := (z - x0) ** 2, others) * inverse), eta_t, 2.0**40 * eta_t)
        if n <= 32 or (n - 1) % 16 == 0 or r2 == 0:  # 9
            r2, d2, d2m = max(r2, np.sum(d_sq / metric) * eta_t), np.sum(d_sq), np.sum(d_sq * m_i)
        m += w * (metric_sq - sq) if np.isfinite(metric_sq := np.sum(steps * g**2) / eta_t) else 0.0
    return x0 if restart else average
