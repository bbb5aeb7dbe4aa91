"""Parameters that are split over processes (DTensor, as fully_shard makes them) move as whole ones do."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import Shard, distribute_tensor
from torch.distributed.tensor.debug import CommDebugMode
from torch.multiprocessing.spawn import spawn
from torch.nn import Parameter

import pfopt
from pfopt.torch import ParameterFree, ParameterFreeSGD
from pfopt.torch.base import ParameterFreeOptimizer

PROCESSES, STEPS = 2, 40
SHAPES = [(5, 3), (4,), (1, 2)]
RUNS: dict[str, dict[str, Any]] = {
    "default": {},
    "momentum": {"momentum": 0.9, "weight_decay": 0.01},
    "one scope": {"plan": pfopt.Practical(scope="global")},
    "certified": {"plan": "certified"},
    "certified, last": {"plan": pfopt.Certified(output="last")},
    "half precision": {"dtype": torch.bfloat16},
    "around Adam": {"adam": True},
    "a loss on one process": {"losses": True},
    "a loss on one process, around Adam": {"losses": True, "adam": True},
}


def trained(
    place: Any, dtype: torch.dtype = torch.float64, adam: bool = False, losses: bool = False, **kwargs: Any
) -> list[Tensor]:
    """Least squares with noise; ``place`` puts a tensor where it belongs.

    With losses the last process's is infinite twice, which a process alone must not act upon.
    """
    draw = torch.Generator().manual_seed(0)
    starts = [torch.randn(shape, generator=draw, dtype=torch.float64).to(dtype) for shape in SHAPES]
    params = [Parameter(place(start.clone())) for start in starts]
    if adam:
        optimizer: ParameterFreeOptimizer = ParameterFree(torch.optim.Adam(params), STEPS, **kwargs)
    else:
        optimizer = ParameterFreeSGD(params, STEPS, **kwargs)
    alone = not dist.is_initialized() or dist.get_rank() == PROCESSES - 1
    for step in range(STEPS):
        for param, start in zip(params, starts, strict=True):
            noise = torch.randn(start.shape, generator=draw, dtype=torch.float64).to(dtype)
            param.grad = param.detach() - place(start + 1 - 0.1 * noise)
        optimizer.step(loss=(math.inf if alone and step in (5, 30) else 1.0) if losses else None)
    assert optimizer.status().phase == "done"
    return [param.detach() for param in params]


def reductions(place: Any, adam: bool = False) -> int:
    """The most collective operations of a step, but for the last one of a run."""
    params = [Parameter(place(torch.ones(shape))) for shape in SHAPES]
    if adam:
        optimizer: ParameterFreeOptimizer = ParameterFree(torch.optim.Adam(params), 200)
    else:
        optimizer = ParameterFreeSGD(params, 200)
    most = 0
    for step in range(150):
        for param in params:
            param.grad = param.detach() - 1.5 + 0.1 * (step % 3)
        probes, phase = len(optimizer.history()), optimizer.status().phase
        with CommDebugMode() as communication:
            optimizer.step()
        if step and (len(optimizer.history()), optimizer.status().phase) == (probes, phase):
            most = max(most, communication.get_total_counts())
    return most


def network(mesh: Any = None, rows: slice = slice(None)) -> tuple[nn.Module, ParameterFreeSGD]:
    """A network trained on some rows; with a mesh, as ``fully_shard`` splits it."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 9), nn.Tanh(), nn.Linear(9, 1)).double()
    inputs = torch.randn(32, 6, dtype=torch.float64)
    targets = inputs.sum(1, keepdim=True).sin()
    if mesh is not None:
        fully_shard(model[0], mesh=mesh)
        fully_shard(model, mesh=mesh)
    optimizer = ParameterFreeSGD(model.parameters(), STEPS)
    for _ in range(STEPS):
        optimizer.zero_grad()
        (model(inputs[rows]) - targets[rows]).square().mean().backward()
        optimizer.step()
    return model, optimizer


def work(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", f"file://{folder}/store", rank=rank, world_size=PROCESSES)
    mesh = init_device_mesh("cpu", (PROCESSES,))

    def place(tensor: Tensor) -> Any:
        return distribute_tensor(tensor, mesh, [Shard(0)])

    for name, kwargs in RUNS.items():
        found = [param.full_tensor() for param in trained(place, **kwargs)]  # type: ignore[attr-defined]
        if rank == 0:
            torch.save(found, Path(folder) / f"{name}.pt")
    for name in (
        "a loss on one process",
        "a loss on one process, around Adam",
    ):  # and whole parameters, as under DDP
        torch.save(trained(lambda tensor: tensor, **RUNS[name]), Path(folder) / f"{name}, {rank}.pt")
    counts = {name: reductions(place, **RUNS[name]) for name in ("default", "around Adam")}
    if rank == 0:
        torch.save(counts, Path(folder) / "reductions.pt")
    model, optimizer = network(mesh, slice(rank, None, PROCESSES))
    found = [param.full_tensor() for param in model.parameters()]  # type: ignore[attr-defined]
    if rank == 0:
        torch.save((found, list(optimizer.status())), Path(folder) / "network.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes found."""
    path = tmp_path_factory.mktemp("sharded")
    spawn(work, (str(path),), nprocs=PROCESSES)
    return path


@pytest.mark.parametrize("name", RUNS)
def test_sharded_parameters_move_as_whole_ones(folder: Path, name: str) -> None:
    whole = trained(lambda tensor: tensor, **RUNS[name])
    for one, other in zip(torch.load(folder / f"{name}.pt"), whole, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("adam", [False, True])
def test_a_loss_that_one_process_alone_knows_decides_nothing(folder: Path, adam: bool) -> None:
    name = "a loss on one process, around Adam" if adam else "a loss on one process"
    expected = trained(lambda tensor: tensor, adam=adam)
    for rank in range(PROCESSES):
        for one, other in zip(torch.load(folder / f"{name}, {rank}.pt"), expected, strict=True):
            assert torch.equal(one, other)


def test_a_network_under_fully_shard_trains_as_on_one_process(folder: Path) -> None:
    found, status = torch.load(folder / "network.pt")
    model, optimizer = network()
    for one, other in zip(found, model.parameters(), strict=True):
        torch.testing.assert_close(one, other.detach())
    assert status[:4] == list(optimizer.status())[:4]
    assert status[4:7] == pytest.approx(list(optimizer.status())[4:7])


def test_a_step_is_two_small_reductions(folder: Path) -> None:
    """One before the decision and one after the move; around a base, a third where a direction is read off."""
    assert torch.load(folder / "reductions.pt") == {"default": 2, "around Adam": 3}
