"""optax's conformance tests, run on our transformations."""

from typing import Any

import optax

import pfopt.optax
from tests.optax import upstream

# What a factory takes by keyword is what optax's test of inject_hyperparams makes traced.


def sgd(total_steps: Any) -> optax.GradientTransformationExtraArgs:
    return pfopt.optax.parameter_free_sgd(total_steps)


def momentum(total_steps: Any, momentum: Any, weight_decay: Any) -> optax.GradientTransformationExtraArgs:
    return pfopt.optax.parameter_free_sgd(total_steps, momentum=momentum, weight_decay=weight_decay)


def adam(total_steps: Any) -> optax.GradientTransformationExtraArgs:
    return pfopt.optax.parameter_free(optax.scale_by_adam(), total_steps)


def heavy_ball(total_steps: Any) -> optax.GradientTransformationExtraArgs:
    return pfopt.optax.parameter_free(optax.trace(decay=0.5), total_steps)


STEPS = {"total_steps": 30_000}
WRAPPED = tuple(
    {**row, "wrapper_name": None, "wrapper_kwargs": None}
    for row in upstream.rows(
        pfopt_sgd=(sgd, STEPS),
        pfopt_momentum=(momentum, {**STEPS, "momentum": 0.9, "weight_decay": 0.0}),
        pfopt_heavy_ball=(heavy_ball, STEPS),
        pfopt_adam=(adam, STEPS),
    )
)
FEWER = upstream.rows(  # 10,000 steps: optax's own row for SGD has momentum, too
    pfopt_short=(momentum, {"total_steps": 10_000, "momentum": 0.9, "weight_decay": 0.0}),
)
CONTRIB = upstream.load(
    "contrib._common_test",
    "tests.optax.upstream_contrib",
    {"_MAIN_OPTIMIZERS_UNDER_TEST": WRAPPED, "_ALL_OPTIMIZERS_UNDER_TEST": WRAPPED},
)
ALIAS = upstream.load(
    "_src.alias_test",
    "tests.optax.upstream_alias",
    {"_OPTIMIZERS_UNDER_TEST": FEWER},
    keep=("AliasTest",),
)


class TestContrib(CONTRIB.ContribTest):
    """contrib/_common_test.py."""


class TestAlias(ALIAS.AliasTest):
    """_src/alias_test.py."""
