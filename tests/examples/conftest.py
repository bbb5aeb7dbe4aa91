"""Warnings of the trainers themselves, and of what they import, are no faults of ours; ours stay errors."""

import warnings
from collections.abc import Iterator

import pytest

LIBRARIES = (
    "accelerate|datasets|fastai|fastcore|huggingface_hub|lightning|peft|timm|torchmetrics|transformers|trl"
)


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_call() -> Iterator[None]:
    """By the module that warns; marks match whole names of modules alone."""
    warnings.filterwarnings("ignore", module=rf"({LIBRARIES})(\.|$)")
    warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated", DeprecationWarning)  # fastai's
    return (yield)
