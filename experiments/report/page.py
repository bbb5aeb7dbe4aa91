"""The report of a suite: one HTML page that needs nothing else, the same in Markdown, and the pictures."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib.figure import Figure

from experiments.common.atomic_files import write_atomically, write_text
from experiments.engine.store import ARCHIVE, Store
from experiments.engine.suite import Suite
from experiments.report import costs, pictures, tables
from experiments.report.results import Results, collect

PICTURES: dict[str, tuple[str, Callable[[Results], Figure]]] = {
    "profiles": (
        "Performance profiles: the higher and the further to the left, the better.",
        pictures.draw_profiles,
    ),
    "sensitivity": (
        "Sensitivity: SGD's final figure against its learning rate, ours against the first step it tries.",
        pictures.draw_sensitivity,
    ),
    "curves": (
        "Curves of the first seed: what each method would return at that point.",
        pictures.draw_curves,
    ),
}
TABLES = (
    tables.questions,
    tables.headline,
    tables.by_task,
    tables.test_metrics,
    costs.targets,
    costs.costs,
    tables.failed_runs,
)
DPI = 110


def write_report(suite: Suite, store: Store) -> list[Path]:
    """Write ``report.html``, ``report.md`` and the pictures beside the records; return what was written."""
    results = collect(suite, store)
    images = {}
    for name, (caption, draw) in PICTURES.items():
        data = _png(draw(results))
        write_atomically(store.folder / f"{name}.png", lambda path, data=data: path.write_bytes(data))
        encoded = base64.b64encode(data).decode()
        images[name] = {"caption": caption, "file": f"{name}.png", "data": f"data:image/png;base64,{encoded}"}
    context = {**_context(results), "images": images}
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=lambda name: name is not None and name.endswith(".html"),
    )
    written = []
    for template in ("report.html", "report.md"):
        path = store.folder / template
        write_text(path, environment.get_template(f"template.{template}").render(context))
        written.append(path)
    return written


def publish(suite: Suite, store: Store, target: Path) -> None:
    """Write what a repository keeps of a suite: page, tables, pictures, ``runs.csv`` and the archive of records."""
    target.mkdir(parents=True, exist_ok=True)
    runs = collect(suite, store).rows.run_id
    store.merge(runs)  # the last command may have run a part of the suite
    for name in ("report.html", "report.md", "runs.csv", *(f"{picture}.png" for picture in PICTURES)):
        shutil.copyfile(store.folder / name, target / name)
    store.pack(runs, target / ARCHIVE)


def _context(results: Results) -> dict[str, Any]:
    rows = results.rows
    return {
        "suite": results.suite,
        "tables": [make(results) for make in TABLES],
        "departures": tables.departures(results),
        "done": len(rows),
        "planned": results.planned,
        "devices": sorted(set(rows.device)),
        "versions": sorted(set(rows.versions)),
        "written": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }


def _png(figure: Figure) -> bytes:
    buffer = BytesIO()
    figure.savefig(buffer, dpi=DPI, format="png")
    return buffer.getvalue()
