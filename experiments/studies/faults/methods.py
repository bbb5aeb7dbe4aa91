"""Who is put through the campaign, at its defaults."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from typing import Any, NamedTuple

from dog import DoG
from prodigyopt import Prodigy
from schedulefree import AdamWScheduleFree
from torch.optim import AdamW, Optimizer

from experiments.studies.faults.problems import STEPS
from pfopt.torch import ParameterFree, ParameterFreeSGD


class Method(NamedTuple):
    """How an optimizer is made."""

    make: Callable[[Any], Optimizer]
    takes_sparse: bool = False
    ours: bool = False


def _prodigy(params: Any) -> Optimizer:
    with contextlib.redirect_stdout(io.StringIO()):  # it prints that its weight decay is decoupled
        return Prodigy(params)


METHODS: dict[str, Method] = {
    "ParameterFreeSGD": Method(lambda params: ParameterFreeSGD(params, STEPS), takes_sparse=True, ours=True),
    "ParameterFree(AdamW)": Method(lambda params: ParameterFree(AdamW(params), STEPS), ours=True),
    "AdamW(1e-3)": Method(lambda params: AdamW(params, 1e-3)),
    "Prodigy": Method(_prodigy),
    "DoG": Method(DoG, takes_sparse=True),
    "Schedule-Free AdamW": Method(AdamWScheduleFree),
}
