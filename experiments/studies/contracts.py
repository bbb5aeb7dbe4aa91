"""``pfopt.testing``'s checks on ours and on the peers, every optimizer at its defaults, as a user gets it.

One with a budget is given that of the checks. Takes six minutes on one core.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import optax
import torch
import typer
from dadaptation import DAdaptAdam, DAdaptSGD
from dog import DoG, LDoG
from prodigyopt import Prodigy
from rich.console import Console
from schedulefree import AdamWScheduleFree, SGDScheduleFree

import pfopt.optax
import pfopt.torch
from experiments.common.atomic_files import write_text
from experiments.common.options import each_of
from experiments.common.parallel import compile_quickly
from experiments.studies.study import ROOT, Study
from pfopt import testing
from pfopt.testing import STEPS, Finding
from pfopt.testing import optax as for_optax
from pfopt.testing import torch as for_torch

OUTPUT = ROOT / "docs" / "contracts.md"
WORDS = {testing.PASSED: "yes", testing.FAILED: "**no**", testing.DOES_NOT_APPLY: "n/a"}

TORCH: dict[str, Callable[[Any], Any]] = {
    "ParameterFreeSGD": lambda params: pfopt.torch.ParameterFreeSGD(params, STEPS),
    "ParameterFree(AdamW)": lambda params: pfopt.torch.ParameterFree(torch.optim.AdamW(params), STEPS),
    "SGD": torch.optim.SGD,
    "AdamW": torch.optim.AdamW,
    "Adafactor": torch.optim.Adafactor,
    "Prodigy": Prodigy,
    "DoG": DoG,
    "LDoG": LDoG,
    "Schedule-Free SGD": SGDScheduleFree,
    "Schedule-Free AdamW": AdamWScheduleFree,
    "D-Adapt SGD": DAdaptSGD,
    "D-Adapt Adam": DAdaptAdam,
}
OPTAX: dict[str, Callable[[], Any]] = {
    "parameter_free_sgd": lambda: pfopt.optax.parameter_free_sgd(STEPS),
    "parameter_free(scale_by_adam)": lambda: pfopt.optax.parameter_free(optax.scale_by_adam(), STEPS),
    "adam(1e-3)": lambda: optax.adam(1e-3),
    "prodigy": lambda: optax.contrib.prodigy(),
    "dog": lambda: optax.contrib.dog(),
    "mechanize(adam)": lambda: optax.contrib.mechanize(optax.adam(1e-3)),
    "momo": lambda: optax.contrib.momo(),
    "schedule_free_adamw": lambda: optax.contrib.schedule_free_adamw(),
}
PACKAGES = ("torch", "optax", "jax", "prodigyopt", "dog-optimizer", "schedulefree", "dadaptation")
TORCH_NAMES, OPTAX_NAMES = list(TORCH), list(OPTAX)


def page(torch_found: dict[str, list[Finding]], optax_found: dict[str, list[Finding]]) -> str:
    """The page of the documentation."""
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    lines = [
        "# Contracts",
        "",
        "What `pfopt.testing` demands of an optimizer, and who keeps it: `python -m experiments study contracts`.",
        "Every optimizer is at its defaults. yes: kept; **no**: not kept, for the reason below; n/a: does not apply,",
        "or refused by a sentence.",
        f"{versions}.",
        "",
        *_part("torch", for_torch.CHECKS, torch_found),
        *_part("optax", for_optax.CHECKS, optax_found),
    ]
    return "\n".join(lines)


def _part(
    title: str, checks: Sequence[Callable[..., None]], found: dict[str, list[Finding]]
) -> Iterator[str]:
    if not found:
        return
    yield from (f"## {title}", "", *table(found), "", "### What is demanded, and why", "")
    for check in checks:
        yield f"- `{check.__name__}`: {' '.join(inspect.getdoc(check).split())}"  # type: ignore[union-attr]
    yield from ("", "### What was seen where it is not kept", "")
    for name, findings in found.items():
        for finding in findings:
            if finding.outcome != testing.PASSED:
                yield f"- {name}, `{finding.check}` ({finding.outcome}): {finding.sentence}"
    yield ""


def table(found: dict[str, list[Finding]]) -> list[str]:
    """One row per check, one column per optimizer, in Markdown."""
    rows = [["check", *found], ["---"] * (len(found) + 1)]
    rows += [
        [f"`{findings[0].check}`", *(WORDS[finding.outcome] for finding in findings)]
        for findings in zip(*found.values(), strict=True)
    ]
    counts = [sum(finding.outcome == testing.FAILED for finding in findings) for findings in found.values()]
    rows.append(["not kept", *map(str, counts)])
    return [f"| {' | '.join(row)} |" for row in rows]


def answer(
    of_torch: Annotated[
        list[str], typer.Option("--torch", metavar="NAME", callback=each_of(TORCH, "optimizer"))
    ] = TORCH_NAMES,
    of_optax: Annotated[
        list[str], typer.Option("--optax", metavar="NAME", callback=each_of(OPTAX, "transformation"))
    ] = OPTAX_NAMES,
    output: Annotated[Path, typer.Option(help="where to write the page")] = OUTPUT,
) -> None:
    """Run the checks on everybody and write the page."""
    compile_quickly()
    console = Console()

    def told(name: str, findings: list[Finding]) -> list[Finding]:
        failed = [finding.check for finding in findings if finding.outcome == testing.FAILED]
        console.print(f"{name}: {len(failed)} not kept {', '.join(failed)}", markup=False)
        return findings

    torch_found = {name: told(name, testing.check_optimizer(TORCH[name])) for name in of_torch}
    optax_found = {name: told(name, testing.check_transformation(OPTAX[name])) for name in of_optax}
    write_text(output, page(torch_found, optax_found))
    console.print(f"Written: {output}", markup=False)


STUDY = Study("contracts", "Which optimizer keeps which part of the contract?", answer, (OUTPUT,))
