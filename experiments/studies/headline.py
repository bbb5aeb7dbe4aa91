"""The README's table, from ``runs.csv`` of the published suites, written between its markers.

A grid's rate is the one of least training loss on the task and seed at hand. There is a column of seconds where every
record has the processor's; those of the wall depend on what else ran.
"""

from __future__ import annotations

import json

import numpy as np
import pandas as pd

from experiments.common.atomic_files import write_text
from experiments.common.frames import concat, groups, records, where
from experiments.common.suboptimality import gap
from experiments.engine.suite import ADAMW, GRID_A, load_suite
from experiments.report.grids import held_out_error
from experiments.studies.hindsight import published
from experiments.studies.study import RESULTS, ROOT, Study

README = ROOT / "README.md"
BEGIN, END = "<!-- headline: python -m experiments study headline -->\n", "<!-- end of headline -->"
GRID_A_OPTIONS = {"schedule": "linear", "momentum": 0.9}  # of the networks
METHODS = {  # of a suite's records; what the row is called; runs that one use of it costs
    "pfopt": ("`ParameterFreeSGD`", "1"),
    "pfopt-adamw": ("`ParameterFree(AdamW)`", "1"),
    "sgd": ("tuned SGD (18 rates)", "18"),
    "adamw": ("tuned AdamW (10 rates)", "10"),
    "prodigy": ("Prodigy", "1"),
}


def network_runs() -> pd.DataFrame:
    """The runs of the methods on the networks, of SGD those of grid A."""
    frame = pd.read_csv(RESULTS / "deep" / "runs.csv")
    frame = pd.DataFrame(frame[frame.method.isin(list(METHODS))])
    of_grid_a = frame.kwargs.map(lambda text: GRID_A_OPTIONS.items() <= json.loads(text).items())
    return pd.DataFrame(frame[(frame.method != "sgd") | of_grid_a]).assign(column=frame.method)


def held_out_errors(runs: pd.DataFrame) -> pd.DataFrame:
    """One row per network, seed and method: the held-out error of the run, of a grid that of least training loss."""
    done = where(runs, status="done")
    errors = [held_out_error(row["test"], row["test_metric"]) for row in records(done)]
    chosen = done.assign(figure=errors).sort_values("value")
    return chosen.groupby(["task", "seed", "column"], as_index=False).first()


def seconds(runs: pd.DataFrame) -> dict[str, float]:
    """Seconds of one use of every method on all networks; empty where a record has not those of the processor."""
    if "cpu_seconds" not in runs or runs.cpu_seconds.isna().any():
        return {}
    first = runs[runs.seed == runs.seed.min()]  # on which a staged grid is complete
    return {str(method): float(total) for method, total in first.groupby("column").cpu_seconds.sum().items()}


def training_figures(suite: str) -> pd.DataFrame:
    """Task, seed, column and figure of merit, as the suite's report has them."""
    runs = pd.read_csv(RESULTS / suite / "runs.csv")
    single = where_one_run(runs)
    figures = [gap(row["value"], row["minimum"]) for row in records(single)]
    own = single[["task", "seed"]].assign(column=single.method, figure=figures)
    names = {GRID_A: "sgd", ADAMW: "adamw"}
    grids = published(load_suite(suite))
    grids = pd.DataFrame(grids[grids.column.isin(list(names))])
    return concat([own, grids.assign(column=grids.column.map(names))])


def where_one_run(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs of methods that have no grid."""
    return pd.DataFrame(runs[runs.method.isin([name for name in METHODS if name not in ("sgd", "adamw")])])


def ratios(figures: pd.DataFrame) -> dict[str, float]:
    """Geometric mean over tasks and seeds of every method's figure over that of the tuned SGD."""
    reference = where(figures, column="sgd").set_index(["task", "seed"]).figure
    found = {}
    for (method,), part in groups(figures, "column"):
        own = part.set_index(["task", "seed"]).figure
        found[method] = float(np.exp(np.log(own / reference).mean()))
    return found


def table() -> str:
    """The five rows, in Markdown."""
    runs = network_runs()
    columns = [ratios(held_out_errors(runs)), *(ratios(training_figures(s)) for s in ("deep", "convex"))]
    header = ["", "held-out error, 8 networks", "training loss, 8 networks", "suboptimality, 22 convex tasks"]
    spent = seconds(runs)
    header += ["seconds, 8 networks", "runs"] if spent else ["runs"]
    lines = [f"| {' | '.join(header)} |", "|---|" + "---:|" * (len(header) - 1)]
    for method, (name, count) in METHODS.items():
        figures = [column.get(method) for column in columns]
        cells = ["" if figure is None else f"{figure:.2f}" for figure in figures]
        cells += [f"{spent[method]:.0f}", count] if spent else [count]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def answer() -> None:
    """Write the table into the README."""
    before, _, rest = README.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    write_text(README, f"{before}{BEGIN}{table()}{END}{after}")
    print(table())


STUDY = Study(
    "headline",
    "What do five ways to train reach on data that was held out and in training, and what do they cost?",
    answer,
    (README,),
)
