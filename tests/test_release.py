"""What is released can be built, installed where nothing else is, and does there what README and docs say."""

import ast
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml

import pfopt

ROOT = Path(__file__).resolve().parents[1]
PRELUDE = """
import torch
model, total_steps = torch.nn.Linear(3, 1), 20
batches = torch.randn(160, 3).split(8)
loss = lambda model, batch: (model(batch) - batch.sum(1, keepdim=True)).square().mean()
validate = lambda model: loss(model, batches[0]).item()
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The archive of the sources, and the wheel that is built from nothing else."""
    folder, unpacked = tmp_path_factory.mktemp("dist"), tmp_path_factory.mktemp("sources")
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(folder), "-t"]
    subprocess.run([*command, "sdist"], cwd=ROOT, check=True, capture_output=True)
    with tarfile.open(next(folder.iterdir())) as archive:
        archive.extractall(unpacked, filter="data")
    subprocess.run([*command, "wheel"], cwd=next(unpacked.iterdir()), check=True, capture_output=True)
    return {path.suffix: path for path in folder.iterdir()}


@pytest.fixture(scope="module")
def installed(built: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with nothing but the wheel, and this one's packages behind it."""
    folder = tmp_path_factory.mktemp("empty")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = folder / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    options = ["--no-deps", "--no-index", "--quiet", "--disable-pip-version-check"]
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", *options, str(built[".whl"])]
    subprocess.run(install, check=True)
    home = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    Path(home, "dependencies.pth").write_text(
        sysconfig.get_path("purelib") + "\n"
    )  # their own .pth are not read
    return python


def run(python: Path, *arguments: str, folder: Path) -> str:
    own = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [python, *arguments]
    answer = subprocess.run(command, cwd=folder, env=own, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout


def test_the_archives_pass_twine(built: dict[str, Path]) -> None:
    command = [sys.executable, "-m", "twine", "check", "--strict", *map(str, built.values())]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert answer.stdout.count("PASSED") == 2


def test_the_archives_hold_what_they_should(built: dict[str, Path]) -> None:
    wheel = zipfile.ZipFile(built[".whl"])
    inside = {name for name in wheel.namelist() if name.startswith("pfopt/")}
    assert {name.partition("/")[0] for name in wheel.namelist()} - {"pfopt"} == {
        f"pfopt-{pfopt.__version__}.dist-info"
    }
    own = {path.relative_to(ROOT).as_posix() for path in (ROOT / "pfopt").rglob("*.py")}
    assert own | {"pfopt/py.typed"} == inside
    metadata = wheel.read(f"pfopt-{pfopt.__version__}.dist-info/METADATA").decode()
    assert "Project-URL: Paper, https://arxiv.org/abs/2205.02160" in metadata
    assert all(wheel.read(name) == (ROOT / name).read_bytes() for name in inside)
    with tarfile.open(built[".gz"]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "README.md", "CHANGELOG.md", "CITATION.cff", "LICENSE", "docs/card.md"} <= names
    assert not any(name.startswith(("tests/", "experiments/")) for name in names)


def test_the_wheel_is_what_is_imported(installed: Path, tmp_path: Path) -> None:
    code = (
        "import pfopt, pfopt.reference, sys; print(pfopt.__file__, pfopt.__version__, 'torch' in sys.modules)"
    )
    where, version, others = run(installed, "-c", code, folder=tmp_path).split()
    assert Path(where).is_relative_to(installed.parents[1])
    assert (version, others) == (pfopt.__version__, "False")
    assert run(installed.with_name("pfopt"), "--version", folder=tmp_path) == f"pfopt {version}\n"


def test_the_first_code_of_the_readme_runs(installed: Path, tmp_path: Path) -> None:
    """That of all pages runs in ``test_docs``, in this environment."""
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.M | re.S)
    (tmp_path / "readme.py").write_text("\n".join([PRELUDE, *blocks]))
    run(installed, "readme.py", folder=tmp_path)


def test_the_citation_is_of_this_version() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert (cited["version"], cited["license"]) == (pfopt.__version__, "Apache-2.0")
    assert {"cff-version", "message", "title", "authors"} <= cited.keys()


def test_no_file_is_loaded_that_can_execute_code() -> None:
    """Ruff's rules see pickle, eval, yaml and archives; what torch, numpy and joblib load they do not."""
    folders = ("pfopt", "experiments", "paper_repro", "benchmarks", "examples")
    loads = [
        (f"{file.relative_to(ROOT)}:{node.lineno}", ast.unparse(node))
        for folder in folders
        for file in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in ("torch.load", "np.load", "numpy.load", "joblib.load")
    ]
    assert len(loads) > 5
    for place, call in loads:
        safe = "weights_only=True" in call if call.startswith("torch.") else "allow_pickle=True" not in call
        assert safe, f"{place}: {call}"
        assert not call.startswith("joblib."), f"{place}: {call}"
