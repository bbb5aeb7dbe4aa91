"""Short training programs; run them as ``python -m examples.<name>``.

Where torch is a CPU build and torchvision is not, torchvision cannot load its operators: importing it fails, and
with it Lightning, transformers, timm and fastai. No example uses an operator; that they are declared is enough.
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
