"""A small BERT that reads the pixels of a digit as words."""

import numpy as np
import torch
from transformers import BertConfig, BertForSequenceClassification


def words(images: np.ndarray) -> torch.Tensor:
    """A word for every square of four pixels, shape=(n, 16)."""
    return torch.from_numpy(images * 16).view(-1, 4, 2, 4, 2).mean((2, 4)).long().flatten(1)


def small() -> BertForSequenceClassification:
    """Two layers of width 48."""
    size = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96}
    return BertForSequenceClassification(
        BertConfig(vocab_size=17, max_position_embeddings=16, num_labels=10, **size)
    )
