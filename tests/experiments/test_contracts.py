"""The table of contracts: what it says of whom."""

from pathlib import Path

from experiments.studies.contracts import answer


def test_page(tmp_path: Path) -> None:
    page = tmp_path / "contracts.md"
    answer(["DoG"], [], page)
    text = page.read_text()
    assert "| check | DoG |" in text
    assert "| `takes_groups` | **no** |" in text
    assert "- DoG, `takes_groups` (failed): KeyError: 'init_buffer'" in text
    assert "## optax" not in text
