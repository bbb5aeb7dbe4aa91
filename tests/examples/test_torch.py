"""Plain torch, DDP and skorch: each example runs, and what it trains is good."""

import importlib

import pytest


@pytest.mark.parametrize(
    ("name", "library", "accuracy"),
    [("torch_loop", "torch", 0.95), ("ddp_torchrun", "torch", 0.95), ("skorch_grid", "skorch", 0.94)],
)
def test_example(name: str, library: str, accuracy: float) -> None:
    pytest.importorskip(library)
    assert importlib.import_module(f"examples.{name}").main() > accuracy
