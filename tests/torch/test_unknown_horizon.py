"""total_steps=None: a main run without end or, where it decays, budgets that double; always a point to deploy."""

from __future__ import annotations

import copy
import itertools

import torch

import pfopt
from pfopt.torch import ParameterFreeSGD
from tests.torch.problems import Regression, all_finite, assert_same, run, snapshot

STEPS = 3100
DECAYING = pfopt.Practical(anneal="linear")


def test_stages_follow_each_other_and_none_is_worse() -> None:
    model = Regression()
    optimizer = ParameterFreeSGD(model.parameters(), None, plan=DECAYING)
    phases, ends = [optimizer.status().phase], [(0, model.full_loss())]

    def watch(step: int) -> None:
        status = optimizer.status()
        assert status.steps_left is None
        phases.append(status.phase)
        if phases[-2] != "search" and status.phase == "search":
            ends.append((step + 1, model.full_loss()))

    run(model, optimizer, STEPS, after_step=watch)
    assert set(phases) == {"search", "main"}
    steps, losses = zip(*ends, strict=True)
    lengths = [later - earlier for earlier, later in itertools.pairwise(steps)]
    assert len(lengths) >= 2
    assert all(later == 2 * earlier for earlier, later in itertools.pairwise(lengths))
    assert all(later <= 1.01 * earlier for earlier, later in itertools.pairwise(losses))
    assert losses[-1] < 0.05 * losses[0]


def test_not_knowing_the_horizon_changes_nothing_before_the_last_part() -> None:
    points = []
    for total_steps in (1024, None):
        model = Regression()
        optimizer = ParameterFreeSGD(model.parameters(), total_steps)
        run(model, optimizer, 800)
        with optimizer.averaged():
            points.append(snapshot(model))
    known, unknown = points
    assert_same(known, unknown, "after 800 steps")


def test_the_main_run_has_no_end() -> None:
    model = Regression()
    optimizer = ParameterFreeSGD(model.parameters(), None)
    phases: list[str] = []
    run(model, optimizer, 1200, after_step=lambda _: phases.append(optimizer.status().phase))
    assert phases == ["search"] * phases.count("search") + ["main"] * phases.count("main")
    status = optimizer.status()
    assert status.step == 1200
    assert status.steps_left is None


def test_deployed_point_improves_and_is_always_there() -> None:
    model = Regression()
    optimizer = ParameterFreeSGD(model.parameters(), None)
    deployed = [model.full_loss()]

    def watch(step: int) -> None:
        if step % 100 == 0:
            with optimizer.averaged():
                assert all_finite(model)
                deployed.append(model.full_loss())

    run(model, optimizer, 1100, after_step=watch)
    assert max(deployed) <= deployed[0] * (1 + 1e-6)
    assert deployed[-1] < 0.05 * deployed[0]


def test_resume_across_the_end_of_a_stage() -> None:
    model = Regression(dtype=torch.bfloat16)
    optimizer = ParameterFreeSGD(model.parameters(), None, momentum=0.9, plan=DECAYING)
    last, copies = 1100, {}

    def keep(step: int) -> None:
        if step >= 1015 and step % 3 == 0:
            copies[step] = copy.deepcopy((model, optimizer))

    run(model, optimizer, last, after_step=keep)
    assert len({candidate.status().phase for _, candidate in copies.values()}) >= 2
    for step, (other, other_optimizer) in copies.items():
        fresh = Regression(dtype=torch.bfloat16)
        fresh.load_state_dict(other.state_dict())
        resumed = ParameterFreeSGD(fresh.parameters(), None, momentum=0.9, plan=DECAYING)
        resumed.load_state_dict(copy.deepcopy(other_optimizer.state_dict()))
        run(fresh, resumed, last - step - 1, first=step + 1)
        assert_same(snapshot(fresh), snapshot(model), f"stopped after step {step}")
        assert resumed.status() == optimizer.status()
