"""Each constant halved and doubled, in batches of 16 and with exact gradients, on the convex tasks.

One row per constant and batch size: suboptimality over that of the defaults on the same task and seed, geometric mean,
best and worst task. In the means a ratio counts as ``CLIP`` at most, and as its inverse at least. ``docs/constants.md``
is written from it. Runs are ``pfopt.minimize``'s, in float64: some twenty minutes on two cores.
"""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, NamedTuple

import pandas as pd
import typer
from rich.console import Console

from experiments.common.atomic_files import write_text
from experiments.common.options import FIRST_SEED, DataDir, Output, Processes, Seeds, each_of
from experiments.common.suboptimality import CLIP, gap, geometric_mean
from experiments.methods.numpy_oracle import run_oracle
from experiments.studies.ablation.changes import WITHOUT_BASE, Change, Constant, Function, Number, applied
from experiments.studies.study import RESULTS, ROOT, Study, measure
from experiments.tasks.exact import ALL, DENSE, affordable, drawn
from experiments.tasks.registry import available, make_task
from experiments.tasks.task import Setting
from pfopt.core import averaging, budget
from pfopt.core.config import PRACTICAL

BATCHES = (16, ALL)
OUTPUT, DOCS = RESULTS / "sensitivity.csv", ROOT / "docs" / "constants.md"
TRADES = {
    "tracking": "speed on least squares against spikes of the loss in networks",
    "coordinate_tracking": "speed of flat and rare coordinates against stability without noise",
    "lag": "speed of coordinates that are seldom met against stability without noise",
    "memory": "speed where gradients vanish against stability there",
    "latest_gamma": "how fast the average follows iterates that converge, against outliers",
    "NEARLY_EXACT": "kinks (hinge, absolute losses) told from noise, against noise taken for a kink",
    "ROUNDING": "likewise, where gradients are exact",
    "burst": "heavy tails that ruin a run against restarts that cost one",
    "mean_gamma": "forgetting the large gradients near the anchor against noise in the step size",
    "beta": "damping and the variance of the returned point against speed",
    "last_beta": "gradients near the returned point, for curved valleys, against speed at the end",
    "rise": "the same: how long before the end",
    "average_gamma": "forgetting early iterates against the variance of the average",
    "measured_first": "passes over memory against knowing how far the first steps lead",
    "measured_every": "the same later on",
    "cap": "speed against overshooting in the first steps",
    "head_start": "speed where the search saw mostly noise, against overshooting",
    "alpha": "certifying through noise against certifying by accident",
    "first_step": "probes spent going up against probes spent going down",
    "probe length": "gradients spent on the search against what it sees through noise",
}


def _longer(factor: float, own: Any, total_steps: Any) -> Any:
    """The probes' length times ``factor``."""
    return max(int(factor * own(total_steps)), 4)


def _constant(name: str, *values: float) -> dict[str, Change]:
    """A constant of the practical plan at ``values``, or halved and doubled."""
    default = getattr(PRACTICAL, name)
    return {
        f"{name} = {value:g}": Constant(name, value, (WITHOUT_BASE,))
        for value in values or (default / 2, default * 2)
    }


def _number(owner: Any, name: str) -> dict[str, Change]:
    """A number of one module, halved and doubled."""
    default = getattr(owner, name)
    return {f"{name} = {value:g}": Number(owner, name, value) for value in (default / 2, default * 2)}


def variants() -> dict[str, Change]:
    """What is changed, by its label."""
    return {
        **_constant("tracking"),
        **_constant("coordinate_tracking"),
        **_constant("lag"),
        **_constant("memory"),
        **_constant("latest_gamma"),
        **_number(averaging, "NEARLY_EXACT"),
        **_number(averaging, "ROUNDING"),
        **_constant("burst"),
        **_constant("mean_gamma"),
        **_constant("beta", 0.5, 0.8),  # half and twice 1 / (1 - beta)
        **_constant("last_beta", 0.8, 0.95),
        **_constant("rise"),
        **_constant("average_gamma"),
        **_constant("measured_first", 16, 64),
        **_constant("measured_every", 8, 32),
        **_constant("cap", 1, 3),
        **_constant("head_start"),
        **_constant("alpha", 1.25, 2.0),  # what counts is alpha - 1
        **_constant("first_step"),
        **{
            f"probe length x {factor:g}": Function(budget, "probe_length", partial(_longer, factor))
            for factor in (0.5, 2.0)
        },
    }


class Job(NamedTuple):
    """One run; ``variant`` is "" for the defaults."""

    variant: str
    task: str
    batch_size: int
    seed: int
    budget: int
    data_dir: str | None


def run(job: Job) -> dict[str, Any]:
    """Suboptimality of one run."""
    task = make_task(job.task, job.data_dir)
    with applied([variants()[job.variant]] if job.variant else []):
        found = run_oracle(drawn(task, job.batch_size), job.seed, Setting(job.budget, job.batch_size))
    return {**job._asdict(), "gap": gap(found.value, task.minimum)}


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Per batch size and variant, ratios to the defaults: geometric mean, best and worst task."""
    pairs = table.merge(
        table[table.variant == ""], on=["batch_size", "task", "seed"], suffixes=("", "_default")
    )
    pairs["ratio"] = pairs.gap / pairs.gap_default
    tasks = pairs.groupby(["batch_size", "variant", "task"]).ratio.apply(geometric_mean).reset_index()
    tasks["clipped"] = tasks.ratio.clip(1 / CLIP, CLIP)
    grouped = tasks[tasks.variant != ""].groupby(["batch_size", "variant"])
    mean, ratios = grouped.clipped.apply(geometric_mean), grouped.ratio
    return pd.DataFrame({"geometric_mean": mean, "best": ratios.min(), "worst": ratios.max()}).round(3)


def page(table: pd.DataFrame, tasks: str) -> str:
    """The table of constants for people, in Markdown; ``tasks`` are named in it."""
    lines = [
        "# The constants of the practical plan",
        "",
        "`python -m experiments study sensitivity`: suboptimality with one constant at another value over that",
        f"with the defaults, geometric mean over {tasks} and, in brackets, the worst task; batches of 16, then exact",
        "gradients, 1000 of them. Single tasks vary by rounding alone where gradients are exact.",
        "",
        "| constant | value | what it trades | at | batches of 16 | exact gradients |",
        "|---|---:|---|---:|---:|---:|",
    ]
    for name, trade in TRADES.items():
        owners = (PRACTICAL, averaging)
        default = next((getattr(owner, name) for owner in owners if hasattr(owner, name)), "B/200")
        labels = [label for label in variants() if label.startswith((f"{name} = ", f"{name} x "))]
        for row, label in enumerate(labels):
            noisy, exact = (table.loc[(batch_size, label)] for batch_size in BATCHES)
            cells = [f"`{name}`", f"{default:.4g}" if isinstance(default, float) else default, trade]
            figures = [f"{each.geometric_mean:.2f} ({each.worst:.3g})" for each in (noisy, exact)]
            at = label.removeprefix(name).strip(" =")
            lines.append(
                f"| {' | '.join(map(str, [*(cells if row == 0 else ['', '', '']), at, *figures]))} |"
            )
    return "\n".join(lines) + "\n"


def answer(
    tasks: Annotated[list[str] | None, typer.Option(metavar="TASK", callback=each_of(DENSE, "task"))] = None,
    seeds: Seeds = FIRST_SEED,
    steps: Annotated[int, typer.Option("--budget", min=1, help="gradients of a run")] = 1000,
    data_dir: DataDir = None,
    processes: Processes = 2,
    output: Output = OUTPUT,
) -> None:
    """Run them all and print the table."""
    console = Console()
    names = tasks or available(DENSE, data_dir)
    jobs = [
        Job(variant, task, batch_size, seed, steps, data_dir)
        for task in names
        for batch_size in BATCHES
        if affordable(task, batch_size, data_dir)
        for seed in seeds
        for variant in ["", *variants()]
    ]
    table = summary(measure(run, jobs, processes, console))
    write_text(output, table.to_csv())
    if output == OUTPUT:
        write_text(DOCS, page(table, ", ".join(names)))
    console.print(table.to_string(), markup=False)


STUDY = Study("sensitivity", "Does any constant matter?", answer, (OUTPUT, DOCS))
