"""accelerate, timm, fastai, optimistix: each example runs, and what it trains is good."""

import importlib

import pytest

import examples  # before a library that imports torchvision

assert examples


@pytest.mark.parametrize(
    ("name", "library", "accuracy"),
    [
        ("accelerate_loop", "accelerate", 0.95),
        ("timm_vit", "timm", 0.93),
        ("fastai_learner", "fastai", 0.95),
        ("optimistix_minimise", "optimistix", 0.94),
    ],
)
def test_example(name: str, library: str, accuracy: float) -> None:
    pytest.importorskip(library)
    assert importlib.import_module(f"examples.{name}").main() > accuracy
