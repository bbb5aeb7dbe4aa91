"""``pfopt demo``, ``doctor`` and ``find-lr``, also where packages or a compiler are missing."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import pfopt
from pfopt import doctor
from pfopt.__main__ import main

PAGE = (Path(__file__).parents[1] / "docs" / "command_line.md").read_text()
SCRIPT = """
import torch

def make():
    torch.manual_seed(0)
    model, rows = torch.nn.Linear(3, 1), torch.randn(64, 3)

    def loss(model, batch):
        return (model(batch) - batch.sum(1, keepdim=True)).square().mean()

    return model, loss, rows.split(8)

def with_base():
    model, loss, batches = make()
    return model, loss, batches, torch.optim.AdamW(model.parameters())

def nothing():
    pass
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "train.py"
    path.write_text(SCRIPT)
    return path


@pytest.mark.parametrize(("name", "optimizer"), [("make", "SGD"), ("with_base", "AdamW")])
def test_find_lr_prints_the_card(
    script: Path, name: str, optimizer: str, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["find-lr", f"{script}:{name}", "--total-steps", "500"])
    head, _, row = capsys.readouterr().out.splitlines()
    assert re.match(r"\d+ probes, \d+ gradients", head)
    assert row.split()[1] == optimizer
    assert "lr=" in row


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("train.py", r"source must be script\.py:make, .* got 'train\.py'"),
        ("other.py:make", r"source must be script\.py:make"),
        ("{script}:absent", "which has no 'absent'"),
        ("{script}:nothing", r"must return \(model, loss, batches\) or .*, got NoneType"),
    ],
)
def test_find_lr_says_what_is_wrong(
    script: Path, source: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["find-lr", source.format(script=script)])
    assert stopped.value.code == 2
    assert re.search(said, capsys.readouterr().err)


def without(*names: str, command: str = "doctor", **environment: str) -> str:
    """What ``pfopt`` prints in a process that cannot import these packages."""
    hidden = "; ".join(f"sys.modules[{name!r}] = None" for name in names)
    code = f"import sys; {hidden}; from pfopt.__main__ import main; main([{command!r}])"
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ | environment
    ).stdout


def numbers(text: str) -> list[float]:
    """Every number, infinite where a loss is not finite."""
    return [float(found) for found in re.findall(r"\d[\d.e-]*(?<!\.)|inf", text.replace("diverges", "inf"))]


def test_demo_needs_numpy_alone_and_is_what_the_page_shows() -> None:
    shown = without("torch", "jax", "matplotlib", command="demo")
    (said,) = re.findall(r"^Two problems.*?^One run.*?\n", PAGE, re.M | re.S)
    assert re.sub(r"[\d.]+", "", shown).split() == re.sub(r"[\d.]+", "", said).split()
    assert numbers(shown) == pytest.approx(numbers(said), rel=0.02)
    _, start, *grid, own, sentence = shown.partition("classification")[2].splitlines()
    losses = [numbers(line)[-2:] for line in (start, *grid, own)]
    for (first, *rates, last), ratio in zip(zip(*losses, strict=True), numbers(sentence), strict=False):
        assert ratio == pytest.approx(last / min(rates), abs=2e-3)
        assert ratio < 1.05
        assert last < 0.6 * first


def test_demo_refuses_a_seed_below_zero(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["demo", "--seed", "-1"])
    assert "seed must be at least 0, got -1" in capsys.readouterr().err


def test_doctor_works_where_only_numpy_is() -> None:
    told = without("torch", "jax", "matplotlib").splitlines()
    assert told[1:] == [
        f"numpy {doctor.np.__version__}: pfopt.minimize",
        "torch is not installed: pip install 'pfopt[torch]'",
        "jax is not installed: pip install 'pfopt[optax]'",
        "matplotlib is not installed: pip install 'pfopt[plot]'",
    ]
    assert "\n".join(told[2:]) in PAGE


def test_doctor_says_that_there_is_no_compiler(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    told = without("jax", "matplotlib", PATH=str(tmp_path))
    (line,) = re.findall(r"^  cpu .*threads\)(: .*)", told, re.M)
    assert line.startswith(": fused=True is refused, torch.compile does not work: ")
    if torch.__version__.startswith("2.13"):
        said = "InvalidCxxCompiler: No working C++ compiler found"
        assert said in line
        assert said in PAGE


@pytest.mark.parametrize("works", [True, False])
def test_doctor_tells_whether_the_compiler_works(works: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    compilers = pytest.importorskip("pfopt.torch.compilers")

    def check(device: Any) -> None:
        if not works:
            raise RuntimeError("no C++ compiler\nsecond line")

    monkeypatch.setattr(compilers, "check", check)
    monkeypatch.setattr(doctor, "CPUS", 10**6)
    text = "\n".join(doctor.report())
    assert text.startswith(f"pfopt {pfopt.__version__}, Python {sys.version.split()[0]}")
    assert "of 1000000 CPUs" in text
    assert ("fused=True works, by torch.compile" in text) == works
    assert (
        "fused=True is refused, torch.compile does not work: RuntimeError: no C++ compiler\n" in text
    ) != works


def test_doctor_tells_of_a_package_that_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> Any:
        raise OSError(f"lib{name}.so: undefined symbol")

    monkeypatch.setattr(doctor, "import_module", broken)
    assert "torch is installed and cannot be imported: OSError: libtorch.so: undefined symbol" in list(
        doctor.report()
    )
