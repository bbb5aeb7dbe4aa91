"""The faults that were seen in use, one kind a row, by the smallest input that showed each.

Two minutes on one core: it prints what happens now as the table of ``docs/reliability.md``, with the test that guards
each row. Of what was seen in a trainer only the optimizer's part is
here; ``tests/examples`` have the trainers. Row 25 takes processes, and row 29, runs that are stuck, is that of
study ``unseen``.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Annotated

import typer

from experiments.common.parallel import compile_quickly
from experiments.studies.faults_seen import bases, numbers, problems, structure, use
from experiments.studies.study import Study

ROWS: dict[int, tuple[str, Callable[[], str] | None, str]] = {
    1: (
        "what takes no gradient still moves",
        structure.frozen,
        "torch/test_stands_still.py, testing/test_optax_checks.py",
    ),
    2: ("state derived from what a user may write", structure.pruned, "torch/test_stands_still.py"),
    3: ("state made eagerly", structure.eager_state, "torch/test_frozen.py"),
    4: ("references go stale", structure.stale_buffers, "torch/test_buffers.py"),
    5: ("groups and parameters may go", structure.groups_go, "torch/test_param_groups.py"),
    6: ("checks ask too much", structure.frozen_oddities, "torch/test_frozen.py"),
    7: (
        "a range check on the value, not on what is handed out",
        numbers.half_optax,
        "optax/test_rounding.py",
    ),
    8: ("the base sees what is not finite", numbers.sparse_base, "torch/test_wrapper.py"),
    9: ("preconditions that only a docstring states", bases.refused_bases, "torch/test_proportional.py"),
    10: (
        "half precision loses the direction",
        numbers.small_half,
        "torch/test_scale.py, optax/test_scale.py",
    ),
    11: ("state left where the checkpoint was", bases.moved_checkpoint, "torch/test_base_state.py"),
    12: ("resuming says nothing", use.resumed, "torch/test_advice.py, torch/test_extend.py"),
    13: ("model and optimizer saved in different modes", use.other_mode, "torch/test_advice.py"),
    14: ("a jump in the loss", numbers.jump, "torch/test_safety.py"),
    15: ("games", problems.game, "nothing: not to be used there"),
    16: ("plateaus with growing gradients", problems.citations, "`python -m experiments study unseen`"),
    17: ("the search frightens", numbers.loud, "test_quiet_search.py"),
    18: ("skipped steps", numbers.scaler, "torch/test_amp.py"),
    19: ("state outside of `state` and `param_groups`", bases.distributed, "torch/test_base_state.py"),
    20: ("a learning rate handed on by habit", use.habit, "torch/test_advice.py"),
    21: ("a schedule on top", use.schedule, "torch/test_advice.py"),
    22: ("bases again (9)", bases.decay_after, "torch/test_proportional.py"),
    23: ("a second fit", use.second_fit, "torch/test_extend.py"),
    24: ("a loss that is dropped", use.dropped_loss, "torch/test_dropin.py"),
    25: ("a local loss decides alone", None, "torch/test_sharded.py; the campaign's *ranks*"),
    26: ("keys of groups", bases.group_keys, "torch/test_base_state.py"),
    27: ("a base's state beside `state`", bases.base_counts, "torch/test_base_state.py"),
    28: ("L2 decay in coordinates' steps", use.decay, "torch/test_param_groups.py"),
    29: ("noise taken for “no step”", None, "`python -m experiments study unseen`"),
}


ALL_ROWS = list(ROWS)


def answer(
    rows: Annotated[list[int], typer.Option(metavar="ROW", min=1, max=len(ROWS))] = ALL_ROWS,
) -> None:
    """Print the rows."""
    compile_quickly()
    print(
        "| # | kind | what happens now, with the smallest input | guarded by (`tests/`) |\n| --- | --- | --- | --- |"
    )
    for row in rows:
        kind, show, guard = ROWS[row]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            told = "not run here" if show is None else show()
        print(f"| {row} | {kind} | {told} | {guard} |", flush=True)


STUDY = Study("faults_seen", "What became of each kind of fault that was seen in use?", answer)
