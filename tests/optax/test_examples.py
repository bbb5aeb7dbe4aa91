"""The examples run, and what they train is good."""

import importlib

import pytest


@pytest.mark.parametrize("name", ["plain_jax", "flax_nnx", "flax_trainstate", "equinox"])
def test_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    accuracy = importlib.import_module(f"examples.{name}").main()
    assert accuracy > 0.94
    assert capsys.readouterr().out.rpartition("done ")[1]
