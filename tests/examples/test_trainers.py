"""accelerate, timm, a BERT under the Trainer, fastai, optimistix: each example runs, and what it trains is good."""

import importlib

import pytest

import examples  # before a library that imports torchvision

assert examples


@pytest.mark.parametrize(
    ("name", "library", "options", "accuracy"),
    [
        ("accelerate_loop", "accelerate", {"epochs": 15}, 0.94),
        ("timm_vit", "timm", {"steps": 300}, 0.9),
        ("hf_bert", "transformers", {"steps": 600}, 0.6),
        ("fastai_learner", "fastai", {}, 0.95),
        ("optimistix_minimise", "optimistix", {"steps": 200}, 0.93),
    ],
)
def test_example(name: str, library: str, options: dict[str, int], accuracy: float) -> None:
    pytest.importorskip(library)
    assert importlib.import_module(f"examples.{name}").main(**options) > accuracy
