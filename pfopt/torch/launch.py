"""Tables of the tensors that Triton kernels work on, and the launches: one of each kernel for all of them.

Nothing here waits for the device. A launch may be captured in a CUDA graph, but only over a table that an earlier step
has made: a graph in which the gradients are somewhere else is given eager moves, so let them be where they were
(``zero_grad(set_to_none=False)``).
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
import triton.language as tl
from torch import Tensor

from pfopt.core.main_run import Decision
from pfopt.torch import kernels
from pfopt.torch.bundles import Bundle
from pfopt.torch.kernels import COLUMNS, Form, Numbers, Rates
from pfopt.torch.moves import GroupRule

WARPS = 8
KINDS = {
    torch.float64: tl.float64,
    torch.float32: tl.float32,
    torch.float16: tl.float16,
    torch.bfloat16: tl.bfloat16,
}
ADDRESSES = COLUMNS.index("size")  # how many columns hold one
GRADIENT = COLUMNS.index("gradient")


class LaunchError(Exception):
    """A kernel could not be compiled or launched; no tensor was written."""


class Table:
    """Where the tensors of some bundles of one group, device and dtype are; see ``kernels.COLUMNS``."""

    def __init__(self, bundles: Sequence[Bundle], steps: Sequence[tuple[int, int]]) -> None:
        """Look up all but the gradients; arguments as of ``table``."""
        self.places = _places(bundles)
        self.device, self.wide = bundles[0].kind
        self.param = self.gradient = bundles[0].params[0].dtype
        sizes = np.array([size for bundle in bundles for size in bundle.sizes], dtype=np.int64)
        self.rows = np.zeros((len(sizes), len(COLUMNS)), dtype=np.int64)
        self.rows[:, ADDRESSES], self.rows[:, ADDRESSES + 1 : -1] = sizes, steps
        start = 0
        for bundle in bundles:
            rows = self.rows[start : (start := start + len(bundle.params))]
            rows[:, 0] = [param.data_ptr() for param in bundle.params]
            before = np.cumsum([0, *bundle.sizes[:-1]])
            for name in bundle.state.keys() & set(COLUMNS):
                vector = bundle.state[name]
                rows[:, COLUMNS.index(name)] = vector.data_ptr() + before * vector.element_size()
        blocks = -(-sizes // kernels.BLOCK.value)
        self.blocks = int(blocks.sum())
        self.owners = self._placed(np.repeat(np.arange(len(sizes)), blocks).astype(np.int32))
        self.firsts = self._placed(np.append(0, np.cumsum(blocks)).astype(np.int32))
        self.on_device = self._placed(self.rows)
        self.is_captured = False

    def find(self, bundles: Sequence[Bundle], *, capturing: bool) -> bool:
        """Look up the gradients; whether the table on the device has them, which a capture cannot bring about."""
        found = []
        for bundle in bundles:
            found += [gradient.data_ptr() for gradient in bundle.directions] or [0] * len(bundle.params)
        self.gradient = next((each.directions[0].dtype for each in bundles if each.directions), self.param)
        if self.rows[:, GRADIENT].tolist() != found:
            if capturing:
                return False
            self.rows[:, GRADIENT] = found
            self.rows[:, -1] = ~(self.rows[:, :ADDRESSES] % kernels.ALIGNMENT.value).any(axis=1)
            self.on_device, self.is_captured = self._placed(self.rows), False
        if capturing and not self.is_captured:
            _CAPTURED.extend([self.on_device, self.owners, self.firsts])
            self.is_captured = True
        return True

    def form(self, **flags: bool) -> Form:
        """What kernels are compiled for."""
        kinds = (KINDS[self.param], KINDS[self.gradient], KINDS[self.wide])
        return Form(*kinds, torch.finfo(self.wide).tiny, self.param != self.wide, **flags)

    def launch(self, kernel: Any, columns: int, *arguments: Any) -> Tensor:
        """Run a kernel on all blocks; what each tensor adds up to, shape=(columns, tensors), float64."""
        partials = torch.empty((columns, self.blocks), dtype=torch.float64, device=self.device)
        sums = partials.new_empty((columns, len(self.rows)))
        options = {"num_warps": WARPS, "enable_fp_fusion": True}
        try:
            with torch.cuda.device_of(partials):
                if self.blocks:
                    tables = self.on_device, self.owners, self.firsts
                    kernel[(self.blocks,)](*tables, partials, *arguments, **options)
                kernels.total[(len(self.rows), columns)](partials, self.firsts, sums, **options)
        except Exception as error:
            raise LaunchError(f"{type(error).__name__}: {error}") from error
        return sums

    def _placed(self, array: np.ndarray) -> Tensor:
        tensor = torch.from_numpy(array.copy())
        if self.device.type == "cuda":
            tensor = tensor.pin_memory()  # or the host would wait
        return tensor.to(self.device, non_blocking=True)


_CAPTURED: list[Tensor] = []  # what CUDA graphs read, which may be replayed as long as the process lives


def table(
    known: dict[Any, Table], key: Any, bundles: Sequence[Bundle], steps: Sequence[tuple[int, int]]
) -> Table | None:
    """The table of some bundles, made anew where there is none; None where a capture forbids that.

    Args:
        known: those of earlier steps.
        key: of this one.
        bundles: of one group, device and dtype, all of them ``is_in_one_order``.
        steps: of each tensor the places, among all step sizes, of the two of which the larger one moves it.
    """
    capturing = bundles[0].params[0].is_cuda and torch.cuda.is_current_stream_capturing()
    if key not in known or known[key].places != _places(bundles):
        if capturing:
            return None
        known[key] = Table(bundles, steps)
    return known[key] if known[key].find(bundles, capturing=capturing) else None


def _places(bundles: Sequence[Bundle]) -> list[int]:
    return [place for bundle in bundles for place in bundle.places]


# ---------------------------------------------------------------- what the kernels do


def norms_sq(table: Table) -> Tensor:
    """‖g‖² of each tensor, shape=(1, tensors), float64."""
    return table.launch(kernels.norms, 1, table.form())


def move(table: Table, group: GroupRule, decision: Decision) -> Tensor:
    """Move all tensors of a table in the main run, as ``moves.in_main_run`` does.

    Args:
        table: of tensors that are written in place.
        group: what holds for their parameter group.
        decision: where the controller computes.

    Returns:
        Of each tensor the fields of ``update.Sums`` that the rule knows and, where coordinates have steps of their own,
        ‖g‖² in the metric of the move, shape=(1 or 4, tensors), float64.
    """
    rule, largest = group.rule, group.rule.largest
    form = table.form(
        maximize=group.maximize,
        decays=rule.weight_decay is not None,
        by_coordinate=bool(rule.size),
        momentum=bool(rule.momentum),
        nesterov=rule.nesterov,
        guards=largest is not None,
        averages=group.averages,
        interpolates=group.interpolates,
    )
    rates = Rates(rule.rate, rule.momentum, rule.weight_decay or 0.0, largest or 0.0, rule.size)
    step_sizes = torch.as_tensor(decision.step_sizes, dtype=torch.float64, device=table.device).reshape(-1)
    numbers = _numbers(decision, table.device)
    return table.launch(kernels.move, 4 if rule.size else 1, step_sizes, *numbers, *map(float, rates), form)


def _numbers(decision: Decision, device: torch.device) -> Numbers:
    """A decision of the main run on a device; numbers of the host take one transfer."""
    assert decision.coordinate_rule is not None
    flags = [decision.taken, decision.restart, decision.moving]
    shares = [decision.average_weight, decision.beta, decision.next_beta, decision.share_of_run]
    reals = [*shares, *decision.coordinate_rule]
    if not isinstance(decision.taken, Tensor):
        flags = torch.tensor(flags, dtype=torch.bool).to(device).unbind()
        reals = torch.tensor(reals, dtype=torch.float64).to(device).unbind()
    return Numbers(*(value.to(device) for value in (*flags, *reals)))


@cache
def check(device: torch.device) -> None:
    """Run the smaller kernels once on a device.

    Raises:
        LaunchError: it has no compiler, or none that works.
    """
    one = torch.ones(1, device=device)
    found = table({}, None, [Bundle(0, [0], [one], {"anchor": one}, [one], [one])], [(0, 0)])
    if found is None:
        raise LaunchError("a CUDA graph must not capture the first step")
    norms_sq(found)
