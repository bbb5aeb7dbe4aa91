"""What the documents point to is there, their code runs, and the site that they make has every public name."""

import importlib
import os
import re
import subprocess
import sys
import zlib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = [ROOT / "docs", ROOT / "benchmarks", ROOT / "paper_repro"]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted(page for each in FOLDERS for page in each.rglob("*.md")),
]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.M | re.S)
WITH_CODE = [page for page in PAGES if BLOCK.search(page.read_text())]


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text())
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert not missing


def test_readme_is_short() -> None:
    assert len(PAGES[0].read_text().splitlines()) <= 90


# What a reader of a page has already: a model, batches, and in torch an optimizer at its first gradient.
GIVEN = {
    "torch": """
import torch, pfopt.torch
model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 1))
batches = [(torch.randn(8, 4), torch.randn(8, 1)) for _ in range(4)]
batch, epochs, total_steps = batches[0], 75, 300
loss = lambda model, batch: (model(batch[0]) - batch[1]).square().mean()
validate = lambda model: loss(model, batch).item()
opt = pfopt.torch.ParameterFreeSGD(model.parameters(), total_steps)
(value := loss(model, batch)).backward()
average = torch.optim.swa_utils.AveragedModel(model)
""",
    "optax": """
import jax, jax.numpy as jnp, optax, pfopt.optax
params, batches, total_steps = jnp.zeros(3), [jnp.ones(3), jnp.zeros(3)], 300
loss = lambda params, batch: jnp.sum((params - batch) ** 2)
""",
}


@pytest.mark.parametrize("page", WITH_CODE, ids=name)
def test_code_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the order of the page; each framework has its own names."""
    monkeypatch.chdir(tmp_path)
    spaces: dict[str, dict[str, Any]] = {}
    for block in BLOCK.finditer(text := page.read_text()):
        framework = "optax" if "optax" in block[1] else "torch"
        pytest.importorskip(framework)
        if framework not in spaces:
            exec(GIVEN[framework], spaces.setdefault(framework, {}))
        lines_before = text.count("\n", 0, block.start(1))
        exec(compile("\n" * lines_before + block[1], str(page), "exec"), spaces[framework])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site; a warning of mkdocs, for a link that leads nowhere say, is an error."""
    for needed in ("mkdocs", "material", "mkdocstrings"):
        pytest.importorskip(needed, reason="the extra docs is not installed")
    folder = tmp_path_factory.mktemp("site")
    command = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "--strict",
        "--site-dir",
        str(folder),
    ]  # --quiet hides warnings from --strict
    answer = subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return folder


@pytest.mark.parametrize("module", ["pfopt", "pfopt.torch", "pfopt.optax"])
def test_reference_has_every_public_name(module: str, site: Path) -> None:
    """The inventory of anchors, Sphinx's format, is by where a name is defined."""
    public = {
        key: value for key, value in vars(importlib.import_module(module)).items() if not key.startswith("_")
    }
    named = {
        f"{value.__module__}.{key}" for key, value in public.items() if not isinstance(value, ModuleType)
    }
    _, _, packed = (site / "objects.inv").read_bytes().partition(b"zlib.\n")
    anchors = {line.split()[0] for line in zlib.decompress(packed).decode().splitlines()}
    assert named
    assert not named - anchors


def test_the_listing_is_on_its_page(site: Path) -> None:
    """From the docstring; the last of its numbered lines, and what follows them."""
    page = (site / "docs" / "algorithm" / "index.html").read_text()
    assert " 9 record " in page
    assert "The Road Less Scheduled" in page
