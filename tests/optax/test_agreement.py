"""Fed the same gradients, optax does what ``pfopt.minimize`` does, where the rule itself is tested."""

from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import pfopt
import pfopt.optax
from pfopt import options
from pfopt.testing.optax.problems import double_precision
from tests.optax.problems import sgd

STEPS, SIZE = 400, 12
RNG = np.random.default_rng(0)
CURVATURES, OPTIMUM = np.geomspace(0.1, 3.0, SIZE), RNG.standard_normal(SIZE)
START, NOISE = RNG.standard_normal(SIZE), RNG.standard_normal((STEPS, SIZE))


class Stream(NamedTuple):
    """Gradient t is (curvature (x − optimum) + sigma noise_t) factor_t, the factor 1 but in the places named."""

    sigma: float
    places: tuple[tuple[slice, float], ...] = ()

    @property
    def rows(self) -> tuple[Any, Any]:
        """What is added, and the factors."""
        factors = np.ones(STEPS)
        for place, factor in self.places:
            factors[place] = factor
        return self.sigma * NOISE, factors


FAULTS = (slice(5, 6), 1e5), (slice(9, 12), np.nan), (slice(250, 260), np.inf), (slice(330, 360), 1e6)
ZEROS = (slice(6, 12), 0.0), (slice(200, 206), 0.0)
STREAMS = {
    "clean": Stream(0.03),  # exact gradients ride the edge of stability, where rounding errors grow
    "noisy": Stream(3.0),  # which lengthens the probes
    "faulty": Stream(0.3, FAULTS),
    "zeros": Stream(0.3, ZEROS),
    "scaled": Stream(0.3, ((slice(None), 1e12),)),
}
LINEAR = pfopt.Practical(anneal="linear", scope="global")
AVERAGING = pfopt.Practical(anneal="averaging", scope="global")
LAST = pfopt.Certified(output="last")
PLANS: dict[str, tuple[Any, bool]] = {  # and whether around a base: the identity
    "practical": ("practical", False),
    "practical, linear": (LINEAR, False),
    "certified": ("certified", False),
    "certified, last": (LAST, False),
    "around a base": (LINEAR, True),
    "around a base, averaging": (AVERAGING, True),
    "around a base, certified": ("certified", True),
    "around a base, certified, last": (LAST, True),
}


class Ended(NamedTuple):
    """What both must agree on."""

    x: Any
    probes: int
    message: str


def by_numpy(stream: Stream, plan: Any) -> Ended:
    rows = zip(*stream.rows, strict=True)

    def oracle(x: Any) -> Any:
        added, factor = next(rows)
        return (CURVATURES * (x - OPTIMUM) + added) * factor

    result = pfopt.minimize(oracle, START, STEPS, plan=plan)
    return Ended(result.x, len(result.probes), result.outcome.message)


def by_optax(stream: Stream, plan: Any, based: bool) -> Ended:
    with double_precision():
        params, state = _whole_run(plan, based)(*stream.rows)
        status = pfopt.optax.status(state)
        assert status.phase == "done"
        message, _, _ = status.message.partition(" The main run exploded")  # of which numpy does not tell
        return Ended(np.concatenate(params), status.probe, message)


@cache
def _whole_run(plan: Any, based: bool) -> Any:
    """One compilation for all streams; of several leaves where these have no step sizes of their own."""
    cuts = [] if plan == "practical" else [5, 6]
    tx = pfopt.optax.parameter_free(optax.identity(), STEPS, plan=plan) if based else sgd(STEPS, plan=plan)

    def turn(held: Any, row: Any) -> Any:
        params, state = held
        grads = (CURVATURES * (jnp.concatenate(params) - OPTIMUM) + row[0]) * row[1]
        updates, state = tx.update(jnp.split(grads, cuts), state, params)
        return (optax.apply_updates(params, updates), state), None

    def whole(added: Any, factors: Any) -> Any:
        params = jnp.split(jnp.asarray(START), cuts)
        return jax.lax.scan(turn, (params, tx.init(params)), (added, factors))[0]

    return jax.jit(whole)


@pytest.mark.parametrize("stream", list(STREAMS))
@pytest.mark.parametrize("name", list(PLANS))
def test_the_same_run_as_numpy(name: str, stream: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, based = PLANS[name]
    ours = by_optax(STREAMS[stream], plan, based)
    if based:  # the constants of a base; the identity's metric is the plain one
        monkeypatch.setattr(options, "configure", partial(options.configure, based=True))
    theirs = by_numpy(STREAMS[stream], plan)
    assert ours.probes >= 2
    assert not np.array_equal(ours.x, START)
    assert ours[1:] == theirs[1:]
    np.testing.assert_allclose(ours.x, theirs.x, rtol=1e-9 if based else 1e-12, atol=1e-12)
