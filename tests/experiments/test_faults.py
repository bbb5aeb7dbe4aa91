"""The fault campaign: it sees what is lost, and counts it."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch.optim import SGD

from experiments.studies.faults import processes, structures
from experiments.studies.faults.methods import METHODS, Method
from experiments.studies.faults.problems import PROBLEMS, STEPS
from experiments.studies.faults.run import IN_PROCESSES, KINDS, Job, run
from experiments.studies.faults.study import answer, counts
from experiments.studies.faults.training import Training


def test_campaign(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "faults.csv"
    answer(["gradients", "groups"], ["ParameterFreeSGD", "DoG"], runs=2, output=output)
    table = pd.read_csv(output, keep_default_na=False)
    assert len(table) == 8
    lost = table[table.lost != ""]
    assert set(lost.method) == {"DoG"}
    assert table[table.method == "ParameterFreeSGD"].faults.min() >= 1
    assert "1 of 2" in counts(table).loc["gradients", "DoG"]
    assert "faults, 8 runs" in capsys.readouterr().out


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in IN_PROCESSES])
def test_every_kind_says_what_it_did(kind: str) -> None:
    row = run(Job(kind, "AdamW(1e-3)", 1, 0))
    assert row["faults"] >= 1
    assert row["detail"] or row["lost"].startswith("raised")
    assert row == run(Job(kind, "AdamW(1e-3)", 1, 0)) or row["lost"]


def test_end() -> None:
    """Without a fault nothing is lost; a parameter that is not finite, and a worse end, are."""
    method = Method(lambda params: SGD(params, 0.01))
    for change, lost in (
        (None, []),
        (torch.inf, ["a parameter is not finite"]),
        (50.0, ["worse than the start"]),
    ):
        training = Training(method, PROBLEMS["network"](np.random.default_rng(0)))
        training.steps(range(STEPS))
        if change is not None:
            training.params()[-1].data.fill_(change)
        training.end()
        assert training.lost == lost


def test_a_run_that_forgets_is_not_the_undisturbed_one() -> None:
    class Forgetful(SGD):
        def load_state_dict(self, state_dict: dict) -> None:
            pass

    draw = np.random.default_rng(0)
    found = structures.killed(Method(lambda params: Forgetful(params, 0.01, momentum=0.9)), "network", draw)
    assert found.lost == ["not bit for bit the undisturbed run"]
    assert found.injected >= 1


def test_status_over_a_loss() -> None:
    training = Training(METHODS["ParameterFreeSGD"], PROBLEMS["logistic"](np.random.default_rng(0)))
    training.steps(range(STEPS))
    training.params()[0].data[0] = torch.nan
    training.end()
    assert training.lost == ["a parameter is not finite", "the status says success"]


def test_steps_beyond_float32_raise_nothing() -> None:
    """At a loss of 1e-30 the largest step of a coordinate is no number of float32."""
    row = run(Job("scales", "ParameterFreeSGD", 7, 0))
    assert row["detail"] == "times 1e-30"
    assert row["lost"] == ""


def test_ranks_that_part_are_lost() -> None:
    left = {"params": [torch.zeros(2)], "status": ["main", 3, "a sentence"]}
    assert processes._same([left, {**left, "status": ["main", 3, "another one"]}])
    assert not processes._same([left, {**left, "params": [torch.ones(2)]}])
    assert not processes._same([left, {**left, "status": ["main", 4, "a sentence"]}])


def test_runs_that_a_signal_kills() -> None:
    row = run(Job("signalled", "AdamW(1e-3)", 0, 0))
    assert row["lost"] == ""
    assert "SIGKILL" in row["detail"]
