"""A table whose columns are numbers and categories, by embeddings and their products."""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from experiments.held_out_problems.data import standardised
from experiments.held_out_problems.networks import perceptron
from experiments.held_out_problems.problem import Problem, supervised
from experiments.tasks.data import verified
from experiments.tasks.networks import Split

_NUMBERS, _AMOUNTS = (0, 4, 12), (2, 10, 11)  # columns of Adult; amounts are taken as logarithms
_CATEGORIES = (1, 3, 5, 6, 7, 8, 9, 13)
_INCOME = 14


@cache
def _adult() -> tuple[Split, list[int]]:
    """Adult as six numbers and eight codes a row, in one table, with the number of codes of each category.

    A code of 0 is a category that the rows that are trained on do not have.
    """
    tables = [
        pd.read_csv(verified(f"tabular/adult-{part}.csv.gz", None), header=None, skipinitialspace=True)
        for part in ("train", "test")
    ]
    known = [sorted(set(tables[0][column])) for column in _CATEGORIES]
    parts: list[Tensor] = []
    for table in tables:
        numbers = np.column_stack([table[list(_NUMBERS)], np.log1p(table[list(_AMOUNTS)])])
        codes = [
            pd.Categorical(table[column], names).codes + 1
            for column, names in zip(_CATEGORIES, known, strict=True)
        ]
        rich = table[_INCOME].str.startswith(">").to_numpy(np.float32)[:, None]
        parts += [
            torch.from_numpy(np.column_stack([numbers, *codes])).float(),
            torch.tensor(rich),
        ]
    split, width = Split(*parts), len(_NUMBERS) + len(_AMOUNTS)
    numbers = standardised(
        split._replace(inputs=split.inputs[:, :width], test_inputs=split.test_inputs[:, :width])
    )
    inputs = torch.cat([numbers.inputs, split.inputs[:, width:]], 1)
    test_inputs = torch.cat([numbers.test_inputs, split.test_inputs[:, width:]], 1)
    return split._replace(inputs=inputs, test_inputs=test_inputs), [len(names) + 1 for names in known]


class Recommender(nn.Module):
    """Numbers and codes (rows, columns) to logits (rows, 1), by products of embeddings (DLRM, Naumov et al., 2019)."""

    pairs: Tensor

    def __init__(self, numbers: int, codes: list[int], width: int = 8) -> None:
        super().__init__()
        self.numbers = numbers
        self.bottom = perceptron(numbers, 32, width)
        weights = [torch.empty(count, width).uniform_(-(count**-0.5), count**-0.5) for count in codes]
        self.embeddings = nn.ModuleList(nn.Embedding.from_pretrained(part, freeze=False) for part in weights)
        vectors = 1 + len(codes)
        self.register_buffer("pairs", torch.triu_indices(vectors, vectors, 1))
        self.top = perceptron(width + vectors * (vectors - 1) // 2, 64, 32, 1)

    def forward(self, rows: Tensor) -> Tensor:
        """Logits."""
        codes = rows[:, self.numbers :].long()
        dense = self.bottom(rows[:, : self.numbers]).relu()
        sparse = [embedding(code) for embedding, code in zip(self.embeddings, codes.T, strict=True)]
        vectors = torch.stack([dense, *sparse], 1)
        first, second = self.pairs
        return self.top(torch.cat([dense, (vectors @ vectors.mT)[:, first, second]], 1))


def recommender(seed: int) -> Problem:
    """Whether somebody earns more than 50,000 dollars a year."""
    split, codes = _adult()
    model = Recommender(split.inputs.shape[1] - len(codes), codes)
    return supervised(seed, model, split, F.binary_cross_entropy_with_logits, 64)
