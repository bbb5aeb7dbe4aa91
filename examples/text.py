"""English text that comes with scikit-learn, the descriptions of its data sets, as numbers of characters."""

from importlib.resources import files

import torch
from torch import Tensor

LENGTH = 64


def read() -> tuple[Tensor, Tensor, str]:
    """Training and test data, shape=(n, 64), int64, and the characters that the numbers stand for."""
    pages = sorted((files("sklearn.datasets") / "descr").iterdir(), key=lambda page: page.name)
    text = "".join(page.read_text("utf-8") for page in pages if page.name.endswith(".rst"))
    letters = "".join(sorted(set(text)))
    rows = torch.tensor([letters.index(letter) for letter in text]).unfold(0, LENGTH, LENGTH)
    held_out = torch.arange(len(rows)) % 8 == 0
    return rows[~held_out], rows[held_out], letters
