"""The code of the table of docs/card.md runs, in the bars and the loggers that are installed."""

from __future__ import annotations

import dataclasses
import io
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas
import pytest
import torch

import pfopt.plot
import pfopt.torch

PAGE = (Path(__file__).parents[2] / "docs" / "card.md").read_text()
ROWS = {
    name: [re.findall(r"`([^`]+)`", cell) for cell in cells.split(" | ")]
    for name, cells in re.findall(r"^\| (tqdm|rich|MLflow|TensorBoard|W&B) \| ?(.*)\|$", PAGE, re.M)
}
STEPS = 100


@contextmanager
def tqdm() -> Iterator[dict[str, Any]]:
    with pytest.importorskip("tqdm").tqdm(total=STEPS, file=(shown := io.StringIO()), mininterval=0) as bar:
        yield {"bar": bar}
        bar.refresh()
    assert re.search(r"main \d+/400, \d+ probes, step size", shown.getvalue())


@contextmanager
def rich() -> Iterator[dict[str, Any]]:
    console = pytest.importorskip("rich.console").Console(file=(shown := io.StringIO()), width=200)
    with pytest.importorskip("rich.progress").Progress(console=console) as progress:
        yield {"progress": progress, "task": progress.add_task("training", total=STEPS)}
    assert re.search(r"main \d+/400, \d+ probes, step size", shown.getvalue())


@contextmanager
def mlflow() -> Iterator[dict[str, Any]]:
    mlflow = pytest.importorskip("mlflow")
    mlflow.set_tracking_uri(f"sqlite:///{Path.cwd()}/mlflow.db")
    with mlflow.start_run() as run:
        yield {"mlflow": mlflow}
    client = mlflow.MlflowClient()
    assert len(client.get_metric_history(run.info.run_id, "pfopt/step_size")) == STEPS
    assert {each.path for each in client.list_artifacts(run.info.run_id)} == {
        "card.json",
        "probes.json",
        "search.png",
    }


@contextmanager
def tensorboard() -> Iterator[dict[str, Any]]:
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter("runs") as writer:
        yield {"writer": writer}
    found = events.EventAccumulator("runs").Reload()
    assert len(found.Scalars("pfopt/step_size")) == STEPS
    assert found.Tags()["images"] == ["search"]


@contextmanager
def wandb() -> Iterator[dict[str, Any]]:
    wandb = pytest.importorskip("wandb")
    with wandb.init(mode="offline", project="pfopt", settings=wandb.Settings(silent=True)) as run:
        yield {"wandb": wandb, "run": run}
        assert run.summary["pfopt/phase"] == 1
        assert json.dumps(dict(run.summary["groups"][0]))


LOGGERS: dict[str, Callable[[], Any]] = {
    "tqdm": tqdm,
    "rich": rich,
    "MLflow": mlflow,
    "TensorBoard": tensorboard,
    "W&B": wandb,
}


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("name", LOGGERS)
def test_what_the_page_says_is_logged(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    at_a_step, at_the_end = ROWS[name]
    assert at_a_step
    x = torch.nn.Parameter(torch.ones(3))
    opt = pfopt.torch.ParameterFreeSGD([x], 400)
    with LOGGERS[name]() as given:
        names = {"opt": opt, "pfopt": pfopt, "pandas": pandas, "dataclasses": dataclasses, **given}
        for step in range(STEPS):
            x.grad = 2 * x.detach()
            opt.step()
            for code in at_a_step:
                exec(code, names | {"step": step})
        for code in at_the_end:
            exec(code, names)
