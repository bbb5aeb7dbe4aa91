"""Short training programs; run them as ``python -m examples.<name>``.

Where torch is a CPU build and torchvision is not, torchvision cannot load its operators, and importing it fails, and with
it Lightning, transformers, timm and fastai. None of them needs an operator here: declared, they are enough for the import.
"""

from importlib.metadata import PackageNotFoundError, version


def _declare_operators() -> None:
    try:
        builds = {name: version(name).partition("+")[2] for name in ("torch", "torchvision")}
    except PackageNotFoundError:
        return
    if builds["torch"] == "cpu" != builds["torchvision"]:
        import torch

        for name in ("nms", "qnms"):
            schema = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            torch.library.define(f"torchvision::{name}", schema)


_declare_operators()
