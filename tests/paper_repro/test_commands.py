"""The command lines: exit codes, the table, and what is said where something is missing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from matplotlib.figure import Figure

import pfopt
from paper_repro import __main__ as command
from paper_repro.claim import Claim, Finding, Row
from paper_repro.convex_suite import load_tasks

ROOT = Path(__file__).parents[2]


def claim(holds: bool) -> Claim:
    def measure(*_: object) -> Finding:
        return Finding("1 | 2", "3", holds, Figure())

    return Claim(3, "budget", "One is two.", "Theorem 0", measure)


def row(claim: Claim) -> Row:
    return Row(claim, claim.measure(pfopt.minimize, True), 2.0)


def test_script_says_loudly_that_its_claim_does_not_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["budget", "--quick", "--pictures", str(tmp_path)])
    with pytest.raises(SystemExit, match="claim 3 DOES NOT HOLD"):
        claim(holds=False).main()
    assert "expected  1 | 2\n  measured  3\n  DOES NOT HOLD" in capsys.readouterr().out
    with pytest.raises(SystemExit) as end:
        claim(holds=True).main()
    assert end.value.code == 0
    assert (tmp_path / "budget.png").exists()


def test_all_claims_fail_if_one_does(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{command.BEGIN}{command.END}\nafter\n", encoding="utf-8")
    monkeypatch.setattr(command, "README", readme)
    monkeypatch.setattr(command, "load", lambda name: claim(holds=False))
    arguments = ["paper_repro", "budget", "--jobs", "1", "--pictures", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit, match=r"claims \[3\] DO NOT HOLD"):
        command.main()
    text = readme.read_text(encoding="utf-8")
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "| `python -m paper_repro.budget` | 0.0 | 1 \\| 2 | 3 | **DOES NOT HOLD** |" in text


def test_table_keeps_the_lines_of_other_claims() -> None:
    text = command.rewrite(f"{command.BEGIN}{command.END}", [row(claim(True))])
    other = Claim(8, "limits", "Two is one.", "Theorem 1", claim(False).measure)
    text = command.rewrite(text, [row(other)])
    lines = text.splitlines()
    assert [line.split("|")[1][:4] for line in lines[3:5]] == [" [3.", " [8."]
    assert command.rewrite(text, []) == text


def test_unknown_name_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["paper_repro", "budgets"])
    with pytest.raises(SystemExit):
        command.main()
    assert "unknown: budgets" in capsys.readouterr().err


def test_missing_data_gives_a_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PFOPT_DATA", str(tmp_path))
    tasks, missing = load_tasks(["wine", "dna"])
    assert [task.name for task in tasks] == ["wine"]
    assert missing[0].startswith(f"libsvm/dna.scale.bz2 is not in the data folder {tmp_path}")


def test_missing_extra_gives_a_sentence() -> None:
    code = (
        "import importlib.util as util, runpy, sys; find = util.find_spec; sys.argv = ['-m'];"
        "util.find_spec = lambda name, *rest: None if name == 'matplotlib' else find(name, *rest);"
        "runpy.run_module('paper_repro.budget', run_name='__main__')"
    )
    end = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert end.returncode == 1
    assert end.stderr == "paper_repro needs matplotlib: pip install '.[torch,bench]'\n"
