"""Stopping and resuming at any step is bit for bit the same as never having stopped."""

from __future__ import annotations

import copy
import io
import pickle
from typing import Any, NamedTuple

import pytest
import torch

import pfopt
from pfopt.torch import ParameterFreeSGD
from tests.torch.problems import Regression, all_finite, assert_same, run, snapshot

PRACTICAL_STEPS = 32
CERTIFIED_STEPS = 64  # the smallest with which a probe has more than two steps


class Case(NamedTuple):
    """One way to train."""

    kwargs: dict[str, Any]
    total_steps: int | None = PRACTICAL_STEPS
    steps: int = PRACTICAL_STEPS
    feed: str = "gradients"
    dtype: torch.dtype = torch.float32
    batch_norm: bool = False
    groups: bool = False


def certified(output: Any, **options: Any) -> Case:
    kwargs = {"plan": pfopt.Certified(output=output)}
    return Case(kwargs, total_steps=CERTIFIED_STEPS, steps=CERTIFIED_STEPS, **options)


CASES = {
    "practical": Case({}),
    "practical, linear": Case({"plan": pfopt.Practical(anneal="linear")}),
    "practical, losses": Case({"momentum": 0.9, "weight_decay": 0.01}, 256, 256, "loss"),
    "practical, closure": Case({"momentum": 0.9, "nesterov": True}, feed="closure"),
    "practical, one by one": Case({"foreach": False, "plan": pfopt.Practical(scope="global")}),
    "practical, bfloat16": Case({"momentum": 0.9}, dtype=torch.bfloat16),
    "practical, float16": Case({}, dtype=torch.float16, feed="loss"),
    "practical, a scope per tensor": Case({"plan": pfopt.Practical(scope="tensor"), "momentum": 0.9}),
    "practical, a scope per group": Case({"plan": pfopt.Practical(scope="group")}, groups=True),
    "practical, buffers": Case({}, batch_norm=True),
    "certified, losses, buffers": certified("average", feed="loss", batch_norm=True),
    "certified, last, bfloat16": certified("last", dtype=torch.bfloat16),
    "practical, in tensors": Case({"capturable": True}),
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
    if case.steps <= PRACTICAL_STEPS:
        stops = list(range(case.steps))
    else:
        stops = boundaries(case, checkpoints)
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

    rest = case.steps - stop if case.steps <= CERTIFIED_STEPS else min(case.steps - stop, PRACTICAL_STEPS)
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


@pytest.mark.parametrize(
    "name", ["practical, losses", "practical, a scope per group", "certified, losses, buffers"]
)
def test_a_checkpoint_moves_between_numbers_of_the_host_and_tensors(name: str) -> None:
    """From a run on numbers to one on tensors, as an accelerator has it, and back: the same decisions and points."""
    case = CASES[name]
    case = case._replace(total_steps=CERTIFIED_STEPS, steps=CERTIFIED_STEPS)
    in_tensors = case._replace(kwargs={**case.kwargs, "capturable": True})
    reference, reference_optimizer = make(case)
    run(reference, reference_optimizer, case.steps, feed=case.feed)
    for first in range(2):
        model, optimizer = make((case, in_tensors)[first])
        for index, stop in enumerate((0, 3, 20, 41)):
            moved_to = (case, in_tensors)[(first + index + 1) % 2]
            content = torch.load(io.BytesIO(saved(model, optimizer)), weights_only=True)
            for group in content["optimizer"]["param_groups"]:
                group["capturable"] = moved_to is in_tensors
            model, optimizer = make(moved_to)
            model.load_state_dict(content["model"])
            optimizer.load_state_dict(content["optimizer"])
            assert_same(optimizer.state_dict(), content["optimizer"])
            run(model, optimizer, ((3, 20, 41, case.steps)[index]) - stop, first=stop, feed=case.feed)
            assert (optimizer.param_groups[0]["search"].device is not None) == (moved_to is in_tensors)
        assert optimizer.status().phase == "done"
        decided, of_reference = (
            [(record.exponent, record.steps, record.accepted) for record in each.history()]
            for each in (optimizer, reference_optimizer)
        )
        assert decided == of_reference
        for value, other in zip(model.parameters(), reference.parameters(), strict=True):
            torch.testing.assert_close(value, other)


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
        assert_same(snapshot(model), reference.points[stop], f"practical() after {stop}")
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
@pytest.mark.parametrize("plan", ["practical", "certified"])
def test_float32_state_of_half_parameters_survives_loading(plan: Any, dtype: torch.dtype) -> None:
    case = Case({"plan": plan, "momentum": 0.9 if plan == "practical" else 0.0}, dtype=dtype)
    model, optimizer = make(case)
    run(model, optimizer, 30)
    _, other = loaded(case, saved(model, optimizer))
    states = [
        value for state in optimizer.state.values() for value in state.values() if torch.is_tensor(value)
    ]
    of_other = [value for state in other.state.values() for value in state.values() if torch.is_tensor(value)]
    assert any(value.dtype == torch.float32 and value.dim() > 0 for value in states)
    assert_same(of_other, states)
