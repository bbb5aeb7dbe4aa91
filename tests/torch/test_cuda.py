"""What only a GPU can show; skipped where there is none."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

import pfopt
from pfopt.core.records import Phase
from pfopt.torch import ParameterFree, ParameterFreeSGD
from tests.torch.problems import Regression, assert_same, feed_step, run, snapshot

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

STEPS = 200


def regression(device: str, dtype: torch.dtype = torch.float32) -> Regression:
    model = Regression(dtype=dtype)
    model.inputs, model.targets = model.inputs.to(device), model.targets.to(device)
    return model.to(device)


@contextmanager
def no_waiting() -> Iterator[None]:
    """Any call that waits for the device raises."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the mode is a prototype
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("plan", ["practical", "certified"])
def test_a_gpu_takes_the_decisions_of_a_cpu(plan: Any, dtype: torch.dtype) -> None:
    optimizers, losses = [], []
    for device in ("cpu", "cuda"):
        model = regression(device, dtype)
        optimizer = ParameterFreeSGD(model.parameters(), STEPS, plan=plan)
        run(model, optimizer, STEPS)
        optimizers.append(optimizer)
        losses.append(model.full_loss())
    one, other = ([(r.exponent, r.steps, r.accepted) for r in o.history()] for o in optimizers)
    assert one == other
    assert optimizers[1].status().phase == "done"
    assert losses[1] == pytest.approx(losses[0], rel=0.05)
    assert losses[1] < regression("cpu", dtype).full_loss()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"momentum": 0.9},
        {"plan": "certified"},
        {"plan": pfopt.Practical(scope="tensor")},
        {"fused": True, "weight_decay": 0.01},
    ],
)
def test_only_the_last_step_of_a_run_waits(options: dict[str, Any]) -> None:
    model = regression("cuda")
    optimizer = ParameterFreeSGD(model.parameters(), STEPS, **options)
    feed_step(model, optimizer, 0)
    waited = 0
    for step in range(1, STEPS):
        memory = optimizer.param_groups[0]["search"]
        if memory.phase == Phase.DONE:
            break
        if memory.due <= 1:
            feed_step(model, optimizer, step)
            waited += 1
        else:
            with no_waiting():
                feed_step(model, optimizer, step)
    assert waited <= len(optimizer.history()) + 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("options", [{}, {"momentum": 0.9, "nesterov": True, "weight_decay": 0.01}])
def test_kernels_move_as_eager_code_does(options: dict[str, Any], dtype: torch.dtype) -> None:
    losses = []
    for fused in (False, True):
        model = regression("cuda", dtype)
        optimizer = ParameterFreeSGD(model.parameters(), STEPS, fused=fused, **options)
        run(model, optimizer, STEPS)
        assert optimizer.param_groups[0]["fused"] is fused
        losses.append(model.full_loss())
    assert losses[1] == pytest.approx(losses[0], rel=0.02)


def test_kernels_in_a_graph_move_as_eager_steps_do() -> None:
    """The gradients stay where they are, so that the tables which were made before the capture hold."""
    losses = []
    for captured in (False, True):
        model = regression("cuda")
        optimizer = ParameterFreeSGD(model.parameters(), STEPS, capturable=True, fused=True)
        graph, step = torch.cuda.CUDAGraph(), 0
        while step < STEPS:
            if captured and optimizer.status().phase == "main":
                break
            optimizer.zero_grad(set_to_none=False)
            model.loss().backward()
            optimizer.step()
            step += 1
        if captured:  # two more steps outside: the first compiles
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(2):
                    optimizer.zero_grad(set_to_none=False)
                    model.loss().backward()
                    optimizer.step()
            torch.cuda.current_stream().wait_stream(side)
            with torch.cuda.graph(graph):
                optimizer.zero_grad(set_to_none=False)
                model.loss().backward()
                optimizer.step()
            for _ in range(step + 2, STEPS):
                graph.replay()
        assert optimizer.status().phase == "done"
        losses.append(model.full_loss())
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


def test_a_captured_main_run_is_that_of_eager_steps() -> None:
    models = []
    for captured in (False, True):
        model = regression("cuda")
        optimizer = ParameterFreeSGD(model.parameters(), STEPS, capturable=True)
        graph, step = None, 0
        while step < STEPS:
            if captured and optimizer.status().phase == "main":
                break
            feed_step(model, optimizer, None)
            step += 1
        if captured:
            graph = torch.cuda.CUDAGraph()
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):  # autograd and cuBLAS settle outside the graph
                for _ in range(3):
                    optimizer.zero_grad(set_to_none=True)
                    model.loss().backward()
            torch.cuda.current_stream().wait_stream(side)
            optimizer.zero_grad(set_to_none=True)
            with torch.cuda.graph(graph):
                model.loss().backward()
                optimizer.step()
            for _ in range(step, STEPS):
                graph.replay()
        assert optimizer.status().phase == "done"
        models.append(model)
    assert models[1].full_loss() == pytest.approx(models[0].full_loss(), rel=1e-4)


def test_a_run_resumes_on_the_gpu_bit_for_bit() -> None:
    whole = regression("cuda")
    optimizer = ParameterFreeSGD(whole.parameters(), STEPS)
    run(whole, optimizer, 60)
    saved = {name: value.cpu() for name, value in snapshot(whole).items()}
    state = copy.deepcopy(optimizer.state_dict())
    resumed = regression("cuda")
    resumed.load_state_dict(saved)
    other = ParameterFreeSGD(resumed.parameters(), STEPS)
    other.load_state_dict(state)
    run(whole, optimizer, STEPS - 60, first=60)
    run(resumed, other, STEPS - 60, first=60)
    assert_same(snapshot(whole), snapshot(resumed))


def test_around_adam() -> None:
    model = regression("cuda")
    before = model.full_loss()
    optimizer = ParameterFree(torch.optim.AdamW(model.parameters()), STEPS)
    run(model, optimizer, STEPS)
    assert optimizer.status().phase == "done"
    assert model.full_loss() < 0.5 * before
