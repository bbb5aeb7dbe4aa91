"""Number formats, sizes of gradients, what is frozen, and numbers that are not finite."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from pfopt.testing.findings import STEPS, demand, refusal
from pfopt.testing.optax.problems import (
    Make,
    Tree,
    apart,
    by_layer,
    compiled,
    demand_descent,
    double_precision,
    extended,
    finite,
    make_step,
    regression,
    same,
    train,
    value,
)

SCALES = (1e-10, 1e10)  # of the objective
HALF = STEPS // 2


def leaves_masked_parameters_alone(make: Make) -> None:
    """Parameters of ``optax.set_to_zero`` in a partition must not move by a bit, and the others train."""
    label = by_layer({"first": "frozen", "second": "trained"})
    tx = optax.partition({"frozen": optax.set_to_zero(), "trained": make()}, label)
    start = regression()
    params, _ = train(make_step(tx), start, tx.init(start))
    demand(same(params["first"], start["first"]), "The frozen layer moved.")
    demand_descent(params, value(start), "Beside a frozen layer")


def leaves_stopped_parameters_alone(make: Make) -> None:
    """A layer behind ``jax.lax.stop_gradient`` from half-way on must not move by a bit from then on.

    Its gradients are exactly zero; what moves it still is an average, of gradients or of iterates, or a decay.
    """
    step, start = compiled(make), regression()
    half, state = train(step, start, make().init(start), range(HALF))
    end, _ = train(step, half, state, range(HALF, STEPS), first=0.0)
    layer, before = end["first"], half["first"]
    moved = apart(layer, before, jax.tree.map(jnp.zeros_like, before))
    demand(same(end["first"], half["first"]), f"The layer moved by {moved:.1%} of its norm.")
    demand(not same(end["second"], half["second"]), "Nothing moves any more.")


def stays_at_zero_gradients(make: Make) -> None:
    """A first step at gradients that are exactly zero must leave the parameters finite, and where they are.

    A method that divides by their norm is NaN from then on. What comes after must train.
    """
    step, start = compiled(make), regression()
    params, state = train(step, start, make().init(start), range(1), first=0.0, second=0.0)
    pairs = zip(jax.tree.leaves(params), jax.tree.leaves(start), strict=True)
    demand(all(np.allclose(a, b, rtol=1e-4) for a, b in pairs), "A step at zero gradients moved parameters.")
    params, _ = train(step, params, state, range(1, STEPS))
    demand_descent(params, value(start), "After a step at zero gradients")


def trains_every_dtype(make: Make) -> None:
    """Parameters in float32, bfloat16, float16 and, where it is enabled, float64 must train, and stay what they are."""
    for dtype in (jnp.float32, jnp.bfloat16, jnp.float16):
        _train_dtype(make, dtype)
    with double_precision():
        _train_dtype(make, jnp.float64)


def _train_dtype(make: Make, dtype: Any) -> None:
    start = regression(dtype)
    params, _ = train(compiled(make), start, make().init(start))
    name = jnp.dtype(dtype).name
    demand(all(leaf.dtype == dtype for leaf in jax.tree.leaves(params)), f"Parameters are no longer {name}.")
    demand_descent(params, value(start), f"With parameters in {name}")


def trains_on_small_losses_in_float16(make: Make) -> None:
    """float16 parameters must train on a loss of 1e-4, whose gradients are 1e-5 and more, as on any other.

    Squares of such gradients are not numbers of float16, and an ``eps`` of 1e-8 is none either: a norm or a moment
    that is kept there is zero.
    """
    start = regression(jnp.float16)
    params, _ = train(compiled(make), start, make().init(start), scale=1e-4)
    demand(finite(params), "A parameter is not finite.")
    before, after = value(start), value(params)
    demand(after < 0.95 * before, f"The loss, but for its scale, went from {before:.4g} to {after:.4g}.")


def is_free_of_scale(make: Make) -> None:
    """The objective times 1e-10, or 1e10, must be trained along the same path, up to rounding.

    A method with a learning rate, an ``eps`` or a clip is not expected to pass.
    """
    with double_precision():
        start = regression(jnp.float64)
        ends = [train(compiled(make), start, make().init(start), scale=scale)[0] for scale in (1.0, *SCALES)]
        for scale, end in zip(SCALES, ends[1:], strict=True):
            demand(finite(end), f"With the objective times {scale:g} a parameter is not finite.")
            distance = apart(end, ends[0], start)
            demand(
                distance < 1e-6,
                f"With the objective times {scale:g} it ends {distance:.2g} of the way apart.",
            )


def survives_a_bad_batch(make: Make) -> None:
    """One batch of gradients that are NaN, or infinite, must cost no more than a step.

    Parameters must stay finite, and training go on to a point that is better than where it was begun.
    """
    start = regression()
    before = value(start)
    for number in (math.nan, math.inf):
        for bad in (0, 5, HALF):
            params, state = train(compiled(make), start, make().init(start), range(bad))
            params, state = train(compiled(make), params, state, (bad,), first=number, second=number)
            params, state = train(compiled(make), params, state, range(bad + 1, STEPS))
            demand_descent(params, before, f"After gradients of {number} at step {bad}")


def takes_odd_shapes(make: Make) -> None:
    """Leaves of no entry, of no dimension and of one entry, and ``None``, must train beside others."""
    shapes = [(0,), (), (1,), (2, 0, 3), (3, 2)]
    start = {"leaves": [jnp.ones(shape) for shape in shapes], "nothing": None}
    tx = extended(make())

    @jax.jit
    def step(params: Tree, state: Any) -> Any:
        told, grads = jax.value_and_grad(
            lambda tree: sum(jnp.sum((x - 3) ** 2) for x in jax.tree.leaves(tree))
        )(params)
        updates, state = tx.update(grads, state, params, value=told)
        return optax.apply_updates(params, updates), state

    params, state = start, tx.init(start)
    for _ in range(STEPS):
        params, state = step(params, state)
    demand(finite(params), "A parameter is not finite.")
    still = [str(leaf.shape) for leaf in jax.tree.leaves(params) if leaf.size and bool((leaf == 1).all())]
    demand(not still, f"Parameters of shape {', '.join(still)} do not move.")


def takes_complex_parameters(make: Make) -> None:
    """A complex parameter must come nearer to a complex target, or be refused by a sentence.

    A norm that is squared without its modulus is complex, and every comparison with it is wrong.
    """
    draw = np.random.default_rng(0)
    start = jnp.asarray(draw.normal(size=4) + 1j * draw.normal(size=4), jnp.complex64)
    target, tx = jnp.roll(start, 1) + 1 + 1j, extended(make())

    @jax.jit
    def step(point: Any, state: Any) -> Any:
        told, grad = jax.value_and_grad(lambda point: jnp.sum(jnp.abs(point - target) ** 2))(point)
        updates, state = tx.update(jnp.conj(grad), state, point, value=told)
        return optax.apply_updates(point, updates), state

    try:
        point, state = start, tx.init(start)
        for _ in range(STEPS):
            point, state = step(point, state)
    except Exception as error:
        raise refusal(error, "complex") from None
    before, after = (float(jnp.linalg.norm(at - target)) for at in (start, point))
    demand(after < before, f"The distance to the target went from {before:.4g} to {after:.4g}.")
