"""``pfopt demo``, ``doctor`` and ``find-lr``, also where packages or a compiler are missing."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import pfopt
from pfopt import doctor
from pfopt.__main__ import main

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


def without(*names: str, command: str = "doctor") -> str:
    """What ``pfopt`` prints in a process that cannot import these packages."""
    hidden = "; ".join(f"sys.modules[{name!r}] = None" for name in names)
    code = f"import sys; {hidden}; from pfopt.__main__ import main; main([{command!r}])"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_demo_needs_numpy_alone_and_ends_with_what_its_table_says() -> None:
    *_, table = without("torch", "jax", "matplotlib", command="demo").partition("classification")
    _, start, *grid, own, sentence = table.splitlines()
    losses = [
        [float(cell.replace("diverges", "inf")) for cell in line.split()[-2:]] for line in (start, *grid, own)
    ]
    said = [float(number) for number in re.findall(r"\d\.\d{3}", sentence)]
    assert len(said) == 2
    for (first, *rates, last), ratio in zip(zip(*losses, strict=True), said, strict=True):
        assert ratio == pytest.approx(last / min(rates), abs=2e-3)
        assert ratio < 1.05
        assert last < 0.6 * first


def test_demo_refuses_a_seed_below_zero(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["demo", "--seed", "-1"])
    assert "seed must be at least 0, got -1" in capsys.readouterr().err


def test_doctor_works_where_only_numpy_is() -> None:
    assert without("torch", "jax", "matplotlib").splitlines()[1:] == [
        f"numpy {doctor.np.__version__}: pfopt.minimize",
        "torch is not installed: pip install 'pfopt[torch]'",
        "jax is not installed: pip install 'pfopt[optax]'",
        "matplotlib is not installed: pip install 'pfopt[plot]'",
    ]


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
