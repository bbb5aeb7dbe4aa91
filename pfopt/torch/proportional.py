"""Whether a base's steps are proportional to its learning rate, without which nothing that is measured holds.

At the first gradient it takes two steps from the anchor, at the rates r and r, and again at 4 r and 2 r. Its second
step must be twice as long: not where rates are clipped (Adafactor), remembered (ASGD, Rprop), or where a decay comes
after the move (SOAP's, of which the step has a term in r²). A large r shows the last, and one of 1 a clipped move
beside a decay that is not.
"""

from math import isfinite
from typing import Any

import torch
from torch import Tensor

from pfopt.torch import ops
from pfopt.torch.base_state import BaseState
from pfopt.torch.bundles import Bundle
from pfopt.torch.step import Work

TOLERANCE = 0.1  # of the ratio of the squared lengths: of what fails, they differ by a factor of 4 or more
VISIBLE = 1000  # roundings of the parameters, below which a step is not seen


def require(work: Work, keeper: BaseState, unit: float) -> None:
    """Take pairs of steps of the base, and compare.

    Args:
        work: its parameters are at the anchor afterwards.
        keeper: of the base, which is as at the anchor afterwards.
        unit: a learning rate at which a direction can be read off.

    Raises:
        ValueError: they are not proportional.
    """
    moved = [bundle for bundle in work.bundles if bundle.gradients]
    before = [[param.clone() for param in bundle.params] for bundle in moved]
    found = []
    for rates in ((unit, unit), (4 * unit, 2 * unit), (1.0, 1.0), (4.0, 2.0)):
        lengths_sq = []
        for rate in rates:
            keeper.step([rate] * len(keeper.base.param_groups))
            lengths_sq = [_moved_sq(*pair) for pair in zip(moved, before, strict=True)]
            for bundle, olds in zip(moved, before, strict=True):
                ops.copy(olds, bundle.params)
        found.append(lengths_sq)
        _refuse_foreign_state(keeper)
        keeper.begin_anew()
    noise = [_noise_sq(*pair) for pair in zip(moved, before, strict=True)]
    own = work._replace(bundles=moved)
    *lengths, noise_sq = (float(own.total(column)) for column in own.over_shards(*found, noise))
    for once, twice in zip(lengths[::2], lengths[1::2], strict=True):
        seen = isfinite(once) and isfinite(twice) and max(once, twice) > VISIBLE**2 * noise_sq
        if not seen or abs(twice - 4 * once) <= TOLERANCE * 4 * once:
            continue
        ratio = (twice / once) ** 0.5 if once > 0 else float("inf")
        raise ValueError(
            f"base must move by steps that are proportional to its lr, got {type(keeper.base).__name__}: at twice "
            f"the lr its step is {ratio:.3g} times as long; its lr is clipped or remembered, or its weight decay is "
            "applied after the move"
        )


def _moved_sq(bundle: Bundle, before: list[Tensor]) -> Any:
    """‖x − x_0‖²; 0 in float16, in which a step may not be seen."""
    if bundle.params[0].dtype == torch.float16:
        return 0.0
    dtype = ops.computed(bundle.params[0].dtype)
    gaps = [(old - new).to(dtype) for old, new in zip(before, bundle.params, strict=True)]
    return sum(ops.inner(gap, gap, (0,), on_host=True) for gap in gaps)


def _noise_sq(bundle: Bundle, before: list[Tensor]) -> Any:
    """Squared, what rounding may add to a length."""
    eps = torch.finfo(bundle.params[0].dtype).eps
    dtype = ops.computed(bundle.params[0].dtype)
    return sum(ops.inner(old.to(dtype), old.to(dtype), (0,), on_host=True) for old in before) * eps**2


def _refuse_foreign_state(keeper: BaseState) -> None:
    foreign = [key for key in keeper.base.state if not isinstance(key, Tensor)]
    if foreign:
        raise ValueError(
            f"base must keep its state by parameter, as torch saves it, got {type(keeper.base).__name__} with "
            f"state[{foreign[0]!r}]"
        )
