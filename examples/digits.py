"""Handwritten digits from scikit-learn, 1,797 images of 8 x 8 pixels, and batches of them."""

from collections.abc import Iterator

import numpy as np
from sklearn.datasets import load_digits

BATCH = 64


def load() -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Training and test data: images, shape=(n, 64), float32 in [0, 1], and labels, shape=(n,), int32."""
    images, labels = load_digits(return_X_y=True)
    images, labels = (images / 16).astype(np.float32), labels.astype(np.int32)
    order = np.random.default_rng(0).permutation(len(labels))
    test, train = order[:400], order[400:]
    return (images[train], labels[train]), (images[test], labels[test])


def batches(data: tuple[np.ndarray, np.ndarray], steps: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Random mini-batches of one size, so that a jitted step is compiled once."""
    draw, (images, labels) = np.random.default_rng(1), data
    for _ in range(steps):
        rows = draw.choice(len(labels), BATCH, replace=False)
        yield images[rows], labels[rows]
