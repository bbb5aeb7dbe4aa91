"""The rows that describe pfopt's optimizers to torch's own machinery for testing optimizers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from copy import deepcopy
from typing import Any

import torch
from torch.optim.lr_scheduler import LinearLR, ReduceLROnPlateau, StepLR
from torch.testing._internal.common_optimizers import (
    ErrorOptimizerInput,
    OptimizerInfo,
    OptimizerInput,
    get_error_inputs_for_all_optims,
    optims,
)
from torch.testing._internal.common_utils import parametrize

from pfopt import Certified, Practical
from pfopt.torch import ParameterFreeSGD

STEPS = 20
"""What torch's tests run, and therefore the budget of the rows."""

CERTIFIED_STEPS = 64
"""The smallest budget with which Algorithm 1 can move at all: k = 8, probes of 4 gradients."""

INPUTS: dict[str, dict[str, Any]] = {
    "default": {},
    "small_lr_maximize": {"lr": 0.1, "maximize": True},
    "momentum_maximize": {"momentum": 0.9, "maximize": True},
    "nesterov_decay": {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
    "maximize_decay": {"maximize": True, "weight_decay": 0.1},
    "linear": {"plan": Practical(anneal="linear")},
    "linear_global": {"plan": Practical(anneal="linear", scope="global"), "weight_decay": 0.1},
    "averaging_group": {"plan": Practical(anneal="averaging", scope="group")},
    "linear_tensor": {"plan": Practical(anneal="linear", scope="tensor"), "momentum": 0.9},
    "unknown_horizon": {"total_steps": None},
    "stages": {"total_steps": None, "plan": Practical(anneal="linear")},
    "certified": {"plan": "certified", "total_steps": CERTIFIED_STEPS},
    "certified_last": {"plan": Certified(output="last"), "total_steps": CERTIFIED_STEPS},
}
"""Every option, and every pair of options that share a branch; not their product."""

FEW = ("default", "linear_tensor", "stages", "certified_last")
"""Every kind of run, and every slot of the state, for properties of what torch does with them."""

GROUP_KEYS = frozenset({"lr", "weight_decay"})
"""What a parameter group may set for itself; the other keyword arguments belong to the constructor."""


def optim_inputs(device: Any, dtype: torch.dtype | None = None) -> list[OptimizerInput]:
    return [
        OptimizerInput(params=[], kwargs={"total_steps": STEPS, **kwargs}, desc=row)
        for row, kwargs in INPUTS.items()
    ]


def optim_error_inputs(device: Any, dtype: torch.dtype) -> list[ErrorOptimizerInput]:
    """Those that torch asks of every optimizer, and ours (test_errors.py has the long list)."""
    generic = get_error_inputs_for_all_optims(device, dtype)
    for error_input in generic:
        error_input.optimizer_error_input.kwargs["total_steps"] = STEPS
    ours: list[tuple[dict[str, Any], str]] = [
        ({"lr": -0.5}, "lr.*-0.5"),
        ({"momentum": 1.0}, "momentum.*1.0"),
        ({"weight_decay": -1.0}, "weight_decay.*-1.0"),
        ({"nesterov": True}, "[Nn]esterov.*momentum"),
        ({"lr": torch.tensor(0.1)}, "lr as a Tensor is not supported"),
        ({"total_steps": 0}, "total_steps.*0"),
    ]
    for kwargs, regex in ours:
        params = [torch.nn.Parameter(torch.randn(2, 3, device=device, dtype=dtype))]
        given = OptimizerInput(params=params, kwargs={"total_steps": STEPS, **kwargs}, desc=regex)
        error: Any = ValueError  # the signature's default makes it type[RuntimeError]
        generic.append(ErrorOptimizerInput(given, error_type=error, error_regex=regex))
    return generic


INFOS: Any = [
    OptimizerInfo(
        ParameterFreeSGD,  # pyright: ignore[reportArgumentType]
        optim_inputs_func=optim_inputs,
        optim_error_inputs_func=optim_error_inputs,
        scheduler_inputs=(
            [lambda opt: StepLR(opt, gamma=0.9, step_size=10)],
            [lambda opt: LinearLR(opt, start_factor=0.4, end_factor=1, total_iters=4)],
            [lambda opt: StepLR(opt, gamma=0.9, step_size=10), lambda opt: ReduceLROnPlateau(opt)],
        ),
        supported_impls=("foreach",),
        not_og_supported_flags=("foreach", "maximize", "capturable"),
        supports_sparse=True,
        metadata_for_sparse=({"total_steps": 300}, [lambda opt: StepLR(opt, gamma=0.9999, step_size=100)]),
        supports_complex=True,
        supports_param_groups=True,
    )
]


def each_row(
    dtypes: list[torch.dtype] | None = None, rows: Iterable[str] = tuple(INPUTS)
) -> Callable[[Any], Any]:
    """One test per optimizer, dtype and row of INPUTS."""

    def decorate(test: Any) -> Any:
        return parametrize("row", list(rows))(optims(INFOS, dtypes=dtypes)(test))

    return decorate


def kwargs_of(optim_info: Any, device: str, row: str, **extra: Any) -> dict[str, Any]:
    """The constructor arguments of one row, with `extra` on top."""
    by_row = {given.desc: given.kwargs for given in optim_info.optim_inputs_func(device)}
    return {**deepcopy(by_row[row]), **extra}
