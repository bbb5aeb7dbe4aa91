"""Methods: the batched grid takes the steps of torch.optim.SGD, and recording does not change a run."""

from __future__ import annotations

import math

import pytest
import torch

from experiments.common.frames import records, where
from experiments.methods.dog import run_dog
from experiments.methods.lane import run_sgd
from experiments.methods.parameter_free import run_parameter_free
from experiments.methods.sgd_grid import grid_a, grid_b, sgd_grid
from experiments.tasks.networks import DeepTask
from experiments.tasks.registry import NETWORK, make_setting, make_task
from experiments.tasks.task import Setting, with_lanes

CONVEX_SETTING = Setting(budget=60)
NETWORK_SETTING = Setting(budget=20, batch_size=32, momentum=0.9, schedule="cosine")


@pytest.mark.parametrize(
    ("name", "setting", "tolerance"),
    [
        ("breast-cancer-logistic", CONVEX_SETTING, 1e-12),
        ("wine-softmax", CONVEX_SETTING, 1e-12),
        ("diabetes-lad", Setting(budget=60, momentum=0.9, schedule="constant"), 1e-12),
        (NETWORK, NETWORK_SETTING, 1e-4),  # float32
    ],
)
def test_a_lane_is_a_run_of_torch_sgd(name: str, setting: Setting, tolerance: float) -> None:
    task = with_lanes(make_task(name))
    grid = sgd_grid(task, 1, setting.budget, setting.batch_size, schedules=(setting.schedule,),
                    momenta=(setting.momentum,), learning_rates=(0.05, 0.1, 0.2))  # fmt: skip
    for row in records(where(grid, widened=False)):
        run = run_sgd(task, 1, setting, learning_rate=row["learning_rate"])
        assert row["value"] == pytest.approx(run.value, rel=tolerance)
        assert row["test"] == pytest.approx(run.test, abs=0.01, nan_ok=True)


def test_average_with_gamma_0_is_the_mean_of_the_iterates() -> None:
    task, steps = with_lanes(make_task("diabetes-ridge")), 12
    grid = sgd_grid(task, 0, steps, gammas=(0.0,), schedules=("constant",), learning_rates=(0.01, 0.02))
    w = task.lane_params(1, 0)[0]
    iterates = []
    for rows in task.batches(0, steps, 16):
        w = w - 0.01 * task.lane_grads([w], rows)[0]
        iterates.append(w)
    expected = task.lane_scores([torch.stack(iterates).mean(dim=0)])[0].item()
    averages = grid[(grid.output == "average gamma=0") & (grid.learning_rate == 0.01)]
    assert averages.value.item() == pytest.approx(expected, rel=1e-12)


def test_grid_is_widened_until_the_best_is_inside() -> None:
    grid = sgd_grid(with_lanes(make_task("diabetes-ridge")), 0, 100, learning_rates=(2.0**-8, 2.0**-7))
    best = grid_a(grid)
    assert best.widened
    assert grid.learning_rate.min() < best.learning_rate < grid.learning_rate.max()
    assert not grid[grid.learning_rate <= 2.0**-7].widened.any()
    assert (grid.num_grad_evals == 100).all()


def test_diverged_lanes_are_infinite_and_never_best() -> None:
    grid = sgd_grid(
        with_lanes(make_task("diabetes-ridge")), 0, 400, gammas=(2.0,), learning_rates=(0.05, 0.1, 64.0)
    )
    assert math.isinf(grid[grid.learning_rate == 64.0].value.max())
    assert grid_b(grid).value <= grid_a(grid).value < 0.5


def test_network_lanes_score_like_the_module() -> None:
    task = with_lanes(make_task(NETWORK))
    value, test = task.lane_scores(task.lane_params(2, 0))
    problem = task.problem(0)
    assert isinstance(task, DeepTask)
    rows = torch.arange(len(task.split.inputs))
    assert value[1].item() == pytest.approx(problem(rows).item(), rel=1e-5)
    assert problem.score() == pytest.approx((value[0].item(), test[0].item()), rel=1e-5)


def test_dog_returns_the_average() -> None:
    run = run_dog(with_lanes(make_task("diabetes-ridge")), 0, Setting(budget=200), num_records=10)
    assert run.num_grad_evals == 200
    assert run.value == run.curve.value.iloc[-1] < 0.5
    assert list(run.curve.num_grad_evals) == [2, 4, 6, 8, 10, *range(20, 201, 20)]


def test_recording_does_not_change_a_parameter_free_run() -> None:
    task, setting = with_lanes(make_task("diabetes-ridge")), make_setting("diabetes-ridge", 400)
    silent = run_parameter_free(task, 0, setting)
    recorded = run_parameter_free(task, 0, setting, num_records=40)
    assert silent.value == recorded.value < 0.5
    assert recorded.num_grad_evals == 400
    assert set(recorded.curve.phase) <= {"search", "main", "done"}
    assert recorded.curve.phase.iloc[-1] == "done"
