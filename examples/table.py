"""``python -m examples.table``: every example, against its library's usual optimizer at the best of five rates.

It rewrites the table of ``docs/trainers.md`` between its markers, ten minutes on one core, or the lines of the examples
that are named. The best rate is the one that does best on the test data, which favours the usual optimizer.
"""

import importlib
import sys
import warnings
from pathlib import Path
from typing import NamedTuple

PAGE = Path(__file__).resolve().parents[1] / "docs" / "trainers.md"
BEGIN, END = "<!-- trainers: python -m examples.table -->\n", "<!-- end of trainers -->"
ADAM, SGD = (1e-4, 1e-3, 3e-3, 1e-2, 3e-2), (0.01, 0.03, 0.1, 0.3, 1.0)


class Row(NamedTuple):
    """An example, and what is to be said of it."""

    trainer: str
    name: str
    works: str
    glue: str
    rates: tuple[float, ...]
    loss: bool = False  # whether less is better


ROWS = [
    Row("plain torch loop", "torch_loop", "all of [torch.md](torch.md)", "none", SGD),
    Row(
        "Lightning",
        "lightning_module",
        "automatic and manual optimisation, accumulation, clipping, bf16-mixed, resume",
        "two hooks, to validate on the average",
        ADAM,
    ),
    Row(
        "Hugging Face Trainer, GPT-2",
        "hf_trainer",
        "`optimizer_cls_and_kwargs`, `optimizers`, evaluation on the average, resume, best model at the end",
        '`lr_scheduler_type="constant"`',
        ADAM,
        loss=True,
    ),
    Row("Hugging Face Trainer, BERT", "hf_bert", "the same", '`lr_scheduler_type="constant"`', ADAM),
    Row("PEFT, LoRA of a BERT", "peft_lora", "plain loop; frozen parameters cost nothing", "none", ADAM),
    Row("TRL SFTTrainer", "trl_sft", "as the Trainer", '`lr_scheduler_type="constant"`', ADAM, loss=True),
    Row("accelerate", "accelerate_loop", "`prepare`, accumulation, clipping", "none", ADAM),
    Row(
        "timm",
        "timm_vit",
        "`create_optimizer_v2`, weight decay and layer decay as groups, `ModelEmaV3`",
        "one line registers it; the average begins after the search",
        ADAM,
    ),
    Row("fastai", "fastai_learner", "`OptimWrapper`, `Learner.fit`", "`lr=1`", ADAM),
    Row("skorch", "skorch_grid", "`GridSearchCV`, unknown horizon", "a callback of two lines, `lr=1`", SGD),
    Row("torchrun, DDP", "ddp_torchrun", "any number of processes", "none", SGD),
    Row("plain JAX", "plain_jax", "all of [jax.md](jax.md)", "none", SGD),
    Row("flax.nnx", "flax_nnx", "`nnx.Optimizer`, which hands the loss on", "none", SGD),
    Row("flax.linen", "flax_trainstate", "`TrainState`", "`eval_params` before the end", SGD),
    Row("Equinox", "equinox", "`eqx.apply_updates`, filtered models", "none", ADAM),
    Row("optimistix", "optimistix_minimise", "`OptaxMinimiser`", "`rtol=atol=0`", ADAM),
]


def measured(row: Row) -> str:
    """A line of the table."""
    main = importlib.import_module(f"examples.{row.name}").main
    ours, usual = main(), {rate: main(rate=rate) for rate in row.rates}
    best = (min if row.loss else max)(usual, key=usual.__getitem__)
    kind = "loss" if row.loss else "accuracy"
    example = f"[{row.trainer}](../examples/{row.name}.py)"
    return f"| {example} | {row.works} | {row.glue} | {kind} {ours:.3f} | {usual[best]:.3f} at {best:g} |\n"


def main(names: list[str]) -> None:
    """Measure, and rewrite the table; the lines of other examples than ``names``, if any, stay."""
    warnings.simplefilter("ignore")
    head = "| trainer | what works | glue needed | ours | the usual optimizer, best of five |\n"
    head += "|---|---|---|---:|---:|\n"
    before, _, rest = PAGE.read_text().partition(BEGIN)
    table, _, after = rest.partition(END)
    lines = {row.name: line for row in ROWS for line in table.splitlines(True) if f"/{row.name}.py)" in line}
    for row in ROWS:
        if row.name in (names or [row.name]):
            lines[row.name] = measured(row)
            print(lines[row.name], end="", flush=True)
            PAGE.write_text(
                before + BEGIN + head + "".join(lines.get(each.name, "") for each in ROWS) + END + after
            )


if __name__ == "__main__":
    main(sys.argv[1:])
