"""Stopping and resuming at any step is bit for bit the same as never having stopped."""

from __future__ import annotations

import copy
import io
import pickle
from typing import Any, NamedTuple

import pytest
import torch

from pfopt.torch import ParameterFreeSGD
from tests.torch.problems import Regression, all_finite, assert_same, run, snapshot

TRAIN_STEPS = 32
CERTIFIED_STEPS = 64  # the smallest with which a probe has more than two steps


class Case(NamedTuple):
    """One way to train."""

    kwargs: dict[str, Any]
    total_steps: int | None = TRAIN_STEPS
    steps: int = TRAIN_STEPS
    feed: str = "gradients"
    dtype: torch.dtype = torch.float32
    batch_norm: bool = False
    groups: bool = False


def certified(schedule: str, **options: Any) -> Case:
    kwargs = {"plan": "certified", "schedule": schedule}
    return Case(kwargs, total_steps=CERTIFIED_STEPS, steps=CERTIFIED_STEPS, **options)


CASES = {
    "train": Case({}),
    "train, last iterate": Case({"average": "last", "schedule": "constant"}),
    "train, losses": Case({"momentum": 0.9, "weight_decay": 0.01}, 512, 512, "loss"),
    "train, closure": Case({"momentum": 0.9, "nesterov": True}, feed="closure"),
    "train, for-loop kernels": Case({"foreach": False, "average": 3.0, "scope": "global"}),
    "train, bfloat16": Case({"momentum": 0.9}, dtype=torch.bfloat16),
    "train, float16": Case({}, dtype=torch.float16, feed="loss"),
    "train, a scope per tensor": Case({"scope": "tensor", "momentum": 0.9}),
    "train, a scope per group": Case({"scope": "group"}, groups=True),
    "train, buffers": Case({}, batch_norm=True),
    "certified, losses, buffers": certified("constant", feed="loss", batch_norm=True),
    "certified, linear, bfloat16": certified("linear", dtype=torch.bfloat16),
    "unknown horizon": Case({"momentum": 0.9}, total_steps=None),
}


def make(case: Case) -> tuple[Regression, ParameterFreeSGD]:
    model = Regression(dtype=case.dtype, batch_norm=case.batch_norm)
    params: Any = list(model.parameters())
    if case.groups:
        params = [{"params": params[:1], "lr": 0.5}, {"params": params[1:], "weight_decay": 0.01}]
    buffers = list(model.buffers()) if case.batch_norm else None
    return model, ParameterFreeSGD(params, case.total_steps, buffers=buffers, **case.kwargs)


def saved(model: Regression, optimizer: ParameterFreeSGD) -> bytes:
    file = io.BytesIO()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, file)
    return file.getvalue()


def loaded(case: Case, checkpoint: bytes) -> tuple[Regression, ParameterFreeSGD]:
    """A fresh model and a fresh optimizer, with what the checkpoint holds."""
    model, optimizer = make(case)
    content = torch.load(io.BytesIO(checkpoint), weights_only=True)
    model.load_state_dict(content["model"])
    optimizer.load_state_dict(content["optimizer"])
    return model, optimizer


class Whole(NamedTuple):
    """A run that was never stopped: everything after each of its steps, step 0 being the start."""

    points: list[dict[str, torch.Tensor]]
    checkpoints: list[bytes]
    stops: list[int]
    status: Any
    history: Any


def whole_run(case: Case) -> Whole:
    model, optimizer = make(case)
    points, checkpoints = [snapshot(model)], [saved(model, optimizer)]

    def record(_: int) -> None:
        points.append(snapshot(model))
        checkpoints.append(saved(model, optimizer))

    run(model, optimizer, case.steps, feed=case.feed, after_step=record)
    assert all_finite(model)
    stops = list(range(case.steps)) if case.steps <= CERTIFIED_STEPS else boundaries(case, checkpoints)
    return Whole(points, checkpoints, stops, optimizer.status(), optimizer.history())


def boundaries(case: Case, checkpoints: list[bytes]) -> list[int]:
    """For runs too long to stop everywhere: the steps around each change of phase or probe."""
    marks = []
    for checkpoint in checkpoints:
        status = loaded(case, checkpoint)[1].status()
        marks.append((status.phase, status.probe))
    changes = [step for step in range(1, len(marks)) if marks[step] != marks[step - 1]]
    return sorted({stop for step in changes for stop in (step - 1, step, step + 1) if stop < len(marks) - 1})


@pytest.fixture(scope="module", params=list(CASES))
def whole(request: pytest.FixtureRequest) -> tuple[Case, Whole]:
    case = CASES[request.param]
    return case, whole_run(case)


def go_on(case: Case, model: Regression, optimizer: ParameterFreeSGD, stop: int, reference: Whole) -> None:
    """The rest of the run, compared after every step."""

    def compare(step: int) -> None:
        assert_same(
            snapshot(model), reference.points[step + 1], f"stopped after {stop}, differs after {step + 1}"
        )

    rest = case.steps - stop if case.steps <= CERTIFIED_STEPS else min(case.steps - stop, TRAIN_STEPS)
    run(model, optimizer, rest, first=stop, feed=case.feed, after_step=compare)
    if stop + rest == case.steps:
        assert optimizer.status() == reference.status
        assert optimizer.history() == reference.history


def test_the_whole_run_passes_through_probes_and_beyond(whole: tuple[Case, Whole]) -> None:
    """Otherwise the tests below would prove little."""
    case, reference = whole
    assert len(reference.history) >= 1
    assert reference.status.phase == "done" if case.total_steps else reference.status.phase != "done"
    assert len({point["weight"].sum().item() for point in reference.points}) > 8


def test_save_and_load(whole: tuple[Case, Whole]) -> None:
    case, reference = whole
    for stop in reference.stops:
        model, optimizer = loaded(case, reference.checkpoints[stop])
        go_on(case, model, optimizer, stop, reference)


def test_state_dict_survives_loading_unchanged(whole: tuple[Case, Whole]) -> None:
    case, reference = whole
    for stop in reference.stops:
        content = torch.load(io.BytesIO(reference.checkpoints[stop]), weights_only=True)
        _, optimizer = loaded(case, reference.checkpoints[stop])
        assert_same(optimizer.state_dict(), content["optimizer"], f"after {stop}")


def test_pickle_and_deepcopy(whole: tuple[Case, Whole]) -> None:
    case, reference = whole
    for stop in reference.stops[::3]:
        pair = loaded(case, reference.checkpoints[stop])
        for model, optimizer in (pickle.loads(pickle.dumps(pair)), copy.deepcopy(pair)):
            go_on(case, model, optimizer, stop, reference)


def test_save_and_load_in_eval_mode(whole: tuple[Case, Whole]) -> None:
    case, reference = whole
    for stop in reference.stops[::3]:
        model, optimizer = loaded(case, reference.checkpoints[stop])
        optimizer.eval()
        deployed = snapshot(model)
        model, optimizer = loaded(case, saved(model, optimizer))
        assert_same(snapshot(model), deployed)
        optimizer.eval()
        assert_same(snapshot(model), deployed, "eval() is idempotent across a checkpoint")
        optimizer.train()
        assert_same(snapshot(model), reference.points[stop], f"train() after {stop}")
        go_on(case, model, optimizer, stop, reference)


def test_load_into_an_optimizer_that_has_run_elsewhere(whole: tuple[Case, Whole]) -> None:
    """Nothing of the life before may survive."""
    case, reference = whole
    for stop in reference.stops[1::5]:
        content = torch.load(io.BytesIO(reference.checkpoints[stop]), weights_only=True)
        model, optimizer = make(case)
        run(model, optimizer, 11, first=100, feed=case.feed)
        model.load_state_dict(content["model"])
        optimizer.load_state_dict(content["optimizer"])
        go_on(case, model, optimizer, stop, reference)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("plan", ["train", "certified"])
def test_float32_state_of_half_parameters_survives_loading(plan: str, dtype: torch.dtype) -> None:
    case = Case({"plan": plan, "momentum": 0.9 if plan == "train" else 0.0}, dtype=dtype)
    model, optimizer = make(case)
    run(model, optimizer, 30)
    _, other = loaded(case, saved(model, optimizer))
    states = [
        value for state in optimizer.state.values() for value in state.values() if torch.is_tensor(value)
    ]
    of_other = [value for state in other.state.values() for value in state.values() if torch.is_tensor(value)]
    assert any(value.dtype == torch.float32 and value.dim() > 0 for value in states)
    assert_same(of_other, states)
