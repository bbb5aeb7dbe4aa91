"""Citations (CiteSeer): the subjects of papers by their words and by who cites whom."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from experiments.tasks.data import DataDir, verified
from experiments.tasks.networks import Split
from experiments.tasks.seeded import FullBatchTask

FILES = ("graph/citeseer.npz",)
CLASSES = 6
DROPOUT, L2 = 0.5, 5e-4  # Kipf and Welling's


def _held(data_dir: DataDir) -> dict[str, Tensor]:
    with np.load(verified(FILES[0], data_dir), allow_pickle=False) as file:
        return {name: torch.from_numpy(file[name].astype(np.int64)) for name in file.files}


def citations(data_dir: DataDir) -> Split:
    """Papers' numbers and subjects; 120 are trained on (Planetoid's split)."""
    held = _held(data_dir)
    train, test = held["idx_train"], held["idx_test"]
    return Split(train, held["labels"][train], test, held["labels"][test])


class GraphConvolution(nn.Module):
    """Two graph convolutions with dropout (Kipf & Welling, 2017), of all papers at once."""

    def __init__(self, data_dir: DataDir, width: int, device: torch.device) -> None:
        super().__init__()
        held = {name: part.to(device) for name, part in _held(data_dir).items()}
        nodes, words = held["shape"].tolist()
        counts = held["indptr"].diff()
        self.words, self.papers = held["indices"], held["indptr"][:-1]
        self.shares = (1 / counts.clamp(min=1)).repeat_interleave(counts)
        self.adjacency = normalised(held["edges"], nodes)
        self.first = nn.Parameter(nn.init.xavier_uniform_(torch.empty(words, width)))
        self.second = nn.Linear(width, CLASSES, bias=False)
        nn.init.xavier_uniform_(self.second.weight)

    def forward(self, papers: Tensor) -> Tensor:
        """Numbers of papers to logits (papers, classes); of the words, which are few, entries are dropped."""
        shares = F.dropout(self.shares, DROPOUT, self.training)
        hidden = F.embedding_bag(self.words, self.first, self.papers, mode="sum", per_sample_weights=shares)
        hidden = F.dropout(torch.relu(self.adjacency @ hidden), DROPOUT, self.training)
        return (self.adjacency @ self.second(hidden))[papers]


def normalised(edges: Tensor, nodes: int) -> Tensor:
    """The adjacency with loops, divided by the roots of both ends' degrees, shape (nodes, nodes), sparse."""
    loops = torch.arange(nodes, device=edges.device).expand(2, -1)
    both = torch.cat([edges.T, edges.T.flip(0), loops], 1)
    degree = torch.bincount(both[0], minlength=nodes).float().rsqrt()
    weights = degree[both[0]] * degree[both[1]]
    return torch.sparse_coo_tensor(both, weights, (nodes, nodes), check_invariants=True).coalesce()


def task(name: str, data_dir: DataDir, device: torch.device, *, width: int) -> FullBatchTask:
    """Classification of papers, all labelled ones at every step."""
    build = partial(GraphConvolution, data_dir, width, device)
    return FullBatchTask(name, partial(citations, data_dir), build, device=device, l2=L2)
