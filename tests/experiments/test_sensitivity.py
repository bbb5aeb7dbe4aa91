"""What the table of halved and doubled constants is made of."""

import pandas as pd
import pytest

from experiments.common.suboptimality import CLIP
from experiments.studies.sensitivity import Job, run, summary, variants
from experiments.tasks import exact as dense
from experiments.tasks.exact import ALL, affordable


def test_ratios_are_to_the_defaults_of_the_same_task_and_batches() -> None:
    gaps = {("a", 16): (1.0, 2.0), ("b", 16): (4.0, 2.0), ("a", ALL): (1e-12, 1.0), ("b", ALL): (3.0, 3.0)}
    rows = [
        {"variant": variant, "task": task, "batch_size": batch_size, "seed": 0, "gap": gap}
        for (task, batch_size), pair in gaps.items()
        for variant, gap in zip(("", "lag = 1"), pair, strict=True)
    ]
    table = summary(pd.DataFrame(rows))
    assert tuple(table.loc[(16, "lag = 1")]) == pytest.approx((1.0, 0.5, 2.0))
    assert tuple(table.loc[(ALL, "lag = 1")]) == pytest.approx((CLIP**0.5, 1.0, 1e12))


def test_a_variant_is_run_with_its_constant_and_leaves_none_behind() -> None:
    name = next(name for name in variants() if name.startswith("coordinate_tracking = 1"))
    gaps = [run(Job(variant, "diabetes-ridge", ALL, 0, 100, None))["gap"] for variant in ("", name, "")]
    assert gaps[0] == gaps[2] != gaps[1]


def test_exact_gradients_of_many_rows_are_not_affordable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dense, "EXACT_ROWS", 100)
    assert affordable("diabetes-ridge", 16, None)
    assert not affordable("diabetes-ridge", ALL, None)
    monkeypatch.setattr(dense, "EXACT_ROWS", 442)
    assert affordable("diabetes-ridge", ALL, None)
