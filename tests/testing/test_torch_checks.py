"""The checks for torch: each finds the fault that it is about, and lets a sound optimizer pass."""

import math
import unittest
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.optim import SGD, Adam

from pfopt import testing
from pfopt.testing import torch as checks
from pfopt.torch import ParameterFreeSGD

SHORT = ("calls_hooks", "is_free_of_scale", "takes_odd_shapes", "takes_groups", "works_under_a_grad_scaler")
KEPT_BY_OURS = [check for check in checks.CHECKS if check.__name__ in SHORT]  # docs/contracts.md has them all


class Faulty(SGD):
    """SGD with a fault."""

    def __init__(self, params: Any) -> None:
        super().__init__(params, lr=0.05, momentum=0.5)


class Forgetful(Faulty):
    """What it counts is nowhere that torch saves."""

    def __init__(self, params: Any) -> None:
        super().__init__(params)
        self.count = 0

    def step(self, closure: Any = None) -> Any:
        self.__dict__.setdefault("count", 0)
        self.count += 1
        for group in self.param_groups:
            group["lr"] = 0.05 / math.sqrt(self.count)
        return super().step(closure)


class Decaying(Faulty):
    """It moves what has no gradient."""

    def step(self, closure: Any = None) -> Any:
        loss = super().step(closure)
        with torch.no_grad():
            for param in (param for group in self.param_groups for param in group["params"]):
                param.mul_(0.999)
        return loss


class Clipping(Faulty):
    """It writes into the gradients."""

    def step(self, closure: Any = None) -> Any:
        params = [param for group in self.param_groups for param in group["params"]]
        torch.nn.utils.clip_grad_norm_(params, 0.1)
        return super().step(closure)


class Asking(Faulty):
    """It evaluates its closure twice."""

    def step(self, closure: Any = None) -> Any:
        if closure is not None:
            closure()
        return super().step(closure)


class Narrow(Faulty):
    """It keeps to the groups that it was made with."""

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        super().add_param_group({name: param_group[name] for name in ("params",)})


class Dividing(Faulty):
    """It divides by the gradients' norm."""

    def step(self, closure: Any = None) -> Any:
        for param in (param for group in self.param_groups for param in group["params"]):
            if param.grad is not None and param.numel():
                param.grad = param.grad / param.grad.norm()
        return super().step(closure)


@pytest.mark.parametrize(
    ("fault", "names"),
    [
        (Forgetful, ["resumes_bit_for_bit", "distributed_checkpoints", "survives_copying"]),
        (
            Decaying,
            ["leaves_frozen_parameters_alone", "leaves_groups_at_rate_zero_alone", "skips_absent_gradients"],
        ),
        (Clipping, ["leaves_gradients_alone", "is_free_of_scale"]),
        (Asking, ["calls_closures"]),
        (Narrow, ["takes_groups"]),
        (Dividing, ["stays_at_zero_gradients"]),
        (Adam, ["is_free_of_scale", "survives_a_bad_batch", "refuses_another_models_state"]),
    ],
)
def test_faults_are_found(fault: Callable[[Any], Any], names: list[str]) -> None:
    wanted = [check for check in checks.CHECKS if check.__name__ in names]
    found = testing.check_optimizer(fault, wanted)
    assert len(found) == len(names)
    for finding in found:
        assert finding.outcome == testing.FAILED, finding
        assert len(finding.sentence) > 10


def test_what_sgd_is() -> None:
    found = testing.check_optimizer(lambda params: SGD(params, 0.05))
    outcomes = {finding.check: finding.outcome for finding in found}
    not_kept = {name for name, outcome in outcomes.items() if outcome == testing.FAILED}
    assert not_kept == {"trains_on_small_losses_in_float16", "is_free_of_scale", "survives_a_bad_batch"}
    assert outcomes["refuses_another_models_state"] == testing.DOES_NOT_APPLY
    assert [finding.check for finding in found] == [check.__name__ for check in checks.CHECKS]
    assert all(bool(finding.sentence) != (finding.outcome == testing.PASSED) for finding in found)


@pytest.mark.parametrize("check", KEPT_BY_OURS, ids=lambda check: check.__name__)
def test_ours(check: Callable[[checks.Make], None]) -> None:
    check(lambda params: ParameterFreeSGD(params, testing.STEPS))


def test_what_is_refused_does_not_apply() -> None:
    with pytest.raises(unittest.SkipTest, match="support sparse"):
        next(check for check in checks.CHECKS if check.__name__ == "takes_sparse_gradients")(Adam)


def test_nothing_stops_the_runner() -> None:
    def broken(params: Any) -> Any:
        print("noise")
        raise KeyError(params)

    found = testing.check_optimizer(broken)
    assert {finding.outcome for finding in found} == {testing.FAILED}
    assert all("KeyError" in finding.sentence for finding in found)
