"""Sparse rows as index and value lists, so that a mini-batch costs its non-zeros and not its columns."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from scipy.sparse import csr_array
from torch import Tensor


@dataclass(frozen=True, eq=False)
class SparseRows:
    """Rows of a sparse matrix.

    Attributes:
        starts: Where each row begins, shape (rows + 1,), int64.
        columns: Column of every non-zero, shape (nonzeros,), int64.
        values: Value of every non-zero, shape (nonzeros,), float64.
        width: Number of columns.
    """

    starts: Tensor
    columns: Tensor
    values: Tensor
    width: int

    @classmethod
    def from_scipy(cls, matrix: csr_array) -> SparseRows:
        """Rows of a scipy matrix."""
        parts = (matrix.indptr, matrix.indices, matrix.data)
        starts, columns, values = (torch.as_tensor(part) for part in parts)
        return cls(starts.long(), columns.long(), values.double(), matrix.shape[1])  # type: ignore[index]

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return len(self.starts) - 1, self.width

    def __getitem__(self, rows: Tensor) -> SparseRows:
        """The rows at the indices ``rows``, shape (batch,)."""
        begins, lengths = self.starts[rows], self.starts[rows + 1] - self.starts[rows]
        starts = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
        places = torch.arange(int(starts[-1])) + torch.repeat_interleave(begins - starts[:-1], lengths)
        return SparseRows(starts, self.columns[places], self.values[places], self.width)

    def dot(self, w: Tensor) -> Tensor:
        """Inner product of every row with every ``w`` of shape (*lanes, width); shape (*lanes, rows)."""
        if w.dim() > 1:
            return (self._matrix @ w.reshape(-1, self.width).T).T.reshape(*w.shape[:-1], -1)
        terms = w[self.columns] * self.values
        return terms.new_zeros(self.shape[0]).index_add(0, self._row_of, terms)

    def to_scipy(self) -> csr_array:
        """The same rows for scipy's solvers."""
        parts = (self.values.numpy(), self.columns.numpy(), self.starts.numpy())
        return csr_array(parts, shape=self.shape)

    @cached_property
    def _row_of(self) -> Tensor:
        """Row of every non-zero, shape (nonzeros,)."""
        return torch.repeat_interleave(torch.arange(self.shape[0]), self.starts.diff())

    @cached_property
    def _matrix(self) -> Tensor:
        """The rows as a matrix of torch."""
        places = torch.stack([self._row_of, self.columns])
        return torch.sparse_coo_tensor(
            places, self.values, self.shape, is_coalesced=True, check_invariants=False
        )
