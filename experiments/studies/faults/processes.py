"""Faults that take processes: two ranks of FSDP2 that see different things, and runs that SIGKILL ends.

Every scenario is a folder with its plan; ``python -m experiments.studies.faults.processes FOLDER RANK`` is one rank.
"""
# pyright: reportPrivateImportUsage=false

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.random import Generator
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from experiments.studies.faults.methods import METHODS, Method
from experiments.studies.faults.problems import PROBLEMS, STEPS, Problem
from experiments.studies.faults.training import Ledger, Training, any_step

RANKS, EVERY, PATIENCE = 2, 10, 3600  # processes; steps between two checkpoints; seconds, on a busy machine
FAULTS = ("a batch of nan", "a shard of nan", "an infinite loss", "a loss of its own")


class Ran(Ledger):
    """What processes have left in a folder."""

    def __init__(self, problem: Problem, ours: bool) -> None:
        super().__init__()
        self.problem, self.ours, self.message = problem, ours, ""

    def end(self) -> float:
        """The loss at the point that is handed out, and whether that is lost."""
        finite = all(bool(torch.isfinite(param).all()) for param in self.problem.parameters())
        end = self.problem.value() if finite else math.nan
        self.judge(finite=finite, worse=finite and self.problem.is_worse(end), message=self.message)
        return end


def ranks(method: Method, problem: str, draw: Generator) -> Ran:
    """One rank meets a batch or a shard of NaN, or is told another loss; all must take the same decisions."""
    steps = sorted({any_step(draw) for _ in range(6)})
    faults = {step: [str(draw.choice(FAULTS)), int(draw.integers(RANKS))] for step in steps}
    seed = int(draw.integers(2**31))
    ran = Ran(PROBLEMS[problem](np.random.default_rng(seed)), method.ours)
    for step, (name, rank) in faults.items():
        ran.inject(f"{name} on rank {rank} at {step}")
    _launch(ran, _plan(method, problem, seed, faults=faults))
    return ran


def signalled(method: Method, problem: str, draw: Generator) -> Ran:
    """SIGKILL ends all ranks, which go on from the last distributed checkpoint; bit for bit the undisturbed run."""
    seed, kills = int(draw.integers(2**31)), sorted({any_step(draw) for _ in range(2)})
    ran, whole = (Ran(PROBLEMS[problem](np.random.default_rng(seed)), method.ours) for _ in range(2))
    plan = _plan(method, problem, seed)
    _launch(whole, plan)
    for kill in kills:
        ran.inject(f"SIGKILL at {kill}")
    _launch(ran, {**plan, "kills": kills})
    equal = all(map(torch.equal, ran.problem.parameters(), whole.problem.parameters()))
    ran.lose("not bit for bit the undisturbed run", not equal)
    return ran


def _plan(method: Method, problem: str, seed: int, **more: Any) -> dict[str, Any]:
    (name,) = [name for name, each in METHODS.items() if each is method]
    return {"method": name, "problem": problem, "seed": seed, "faults": {}, "kills": [], **more}


def _launch(ran: Ran, plan: dict[str, Any]) -> None:
    """Run the plan in processes, once more after each kill, and read what they left."""
    with tempfile.TemporaryDirectory() as folder:
        for start in range(len(plan["kills"]) + 1):
            Path(folder, "plan.json").write_text(json.dumps({**plan, "start": start}))
            _run_ranks(folder)
        left = [torch.load(Path(folder, f"{rank}.pt"), weights_only=True) for rank in range(RANKS)]
    ran.lose("ranks have parted", not _same(left))
    ran.message = left[0]["status"][-1] if ran.ours else ""
    with torch.no_grad():
        for param, value in zip(ran.problem.parameters(), left[0]["params"], strict=True):
            param.copy_(value)


def _run_ranks(folder: str) -> None:
    command = [sys.executable, "-W", "ignore", "-m", "experiments.studies.faults.processes", folder]
    running = [
        subprocess.Popen([*command, str(rank)], stderr=subprocess.PIPE, text=True) for rank in range(RANKS)
    ]
    try:
        told = [process.communicate(timeout=PATIENCE)[1] for process in running]
    finally:
        for process in running:
            process.kill()
    codes = {process.returncode for process in running}
    if codes not in ({0}, {-signal.SIGKILL}):
        raise RuntimeError(
            next((text.strip().splitlines()[-1] for text in told if text.strip()), "a rank ended")
        )


def _same(left: list[dict[str, Any]]) -> bool:
    """Whether all ranks stand where the first one does; a sentence may go by the losses that a rank has seen."""
    first, *others = left
    return all(
        other["status"][:-1] == first["status"][:-1]
        and all(map(torch.equal, other["params"], first["params"]))
        for other in others
    )


# ---------------------------------------------------------------- in one of the processes


class Batches(nn.Module):
    """The loss of a rank's rows, as a module that ``fully_shard`` can split."""

    def __init__(self, problem: Problem) -> None:
        super().__init__()
        self.problem = problem

    def forward(self, step: int) -> Tensor:
        """The mean loss of this rank's share of a step's rows."""
        rows = self.problem.batches[step][dist.get_rank() :: RANKS]
        return self.problem.errors(self.problem.data[0][rows], self.problem.data[1][rows]).mean()


class Sharded(Training):
    """A run of one rank."""

    def __init__(self, method: Method, problem: Problem) -> None:
        self.model = Batches(problem)
        fully_shard(self.model, mesh=init_device_mesh("cpu", (RANKS,)))
        super().__init__(method, problem, tells=True)

    def step(self, step: int, fault: str) -> None:
        """One step, with what this rank alone meets."""
        self.optimizer.zero_grad()
        loss = self.model(step) * (math.nan if fault == "a batch of nan" else 1.0)
        loss.backward()
        if fault == "a shard of nan":
            for param in self.params():
                param.grad.to_local().fill_(math.nan)  # type: ignore[union-attr]
        told = {"an infinite loss": math.inf, "a loss of its own": 1e6}.get(fault, float(loss.detach()))
        self.move(told)

    def _both(self) -> dict[str, Any]:
        model, optimizer = get_state_dict(self.model, self.optimizer)
        return {"model": model, "optimizer": optimizer}

    def save(self, folder: Path) -> None:
        """A distributed checkpoint, which counts once it is whole."""
        save(self._both(), checkpoint_id=folder)
        if dist.get_rank() == 0:
            Path(folder, "whole").touch()

    def resume(self, folder: Path) -> None:
        """Read one."""
        state = self._both()
        load(state, checkpoint_id=folder)
        set_state_dict(
            self.model,
            self.optimizer,
            model_state_dict=state["model"],
            optim_state_dict=state["optimizer"],
        )

    def full(self) -> list[Tensor]:
        """The parameters that are handed out, of all ranks together."""
        self._mode("eval")
        return [param.detach().full_tensor().clone() for param in self.params()]  # type: ignore[attr-defined]


def main(folder: Path, rank: int) -> None:
    """Run one rank."""
    plan = json.loads((folder / "plan.json").read_text())
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/store{plan['start']}", rank=rank, world_size=RANKS)
    method = METHODS[plan["method"]]
    run = Sharded(method, PROBLEMS[plan["problem"]](np.random.default_rng(plan["seed"])))
    saved = sorted(int(each.parent.name) for each in folder.glob("*/whole"))
    if saved:
        run.resume(folder / str(saved[-1]))
    kills = plan["kills"][plan["start"] : plan["start"] + 1]
    for step in range(saved[-1] if saved else 0, STEPS):
        # not before the first step: to have a state to save torch would make one by a step, which AdamW counts
        if step and step % EVERY == 0 and plan["kills"] and step not in saved:
            run.save(folder / str(step))
        if step in kills:
            dist.barrier()
            os.kill(os.getpid(), signal.SIGKILL)
        name, place = plan["faults"].get(str(step), ("", rank))
        run.step(step, name if place == rank else "")
    status = list(run.optimizer.status()) if method.ours else []
    torch.save({"params": run.full(), "status": status}, folder / f"{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
