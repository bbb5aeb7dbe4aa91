"""Networks and their data, sparse rows, and the jax versions of tasks."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from scipy.sparse import csr_array, random_array

from experiments.tasks import forecasting, language
from experiments.tasks.data import has_shared_data
from experiments.tasks.describe import describe_task, sample_of
from experiments.tasks.functions import make_jax_task
from experiments.tasks.networks import DeepTask
from experiments.tasks.registry import DEEP, JAX, make_task, suite_setting, task_files
from experiments.tasks.sparse import SparseRows

STEPS = {"mnist-vit": 40, "cart-pole": 12}  # until the loss is smaller; 4 of the others
BUNDLED = [name for name in DEEP if not task_files(name)]
needs_data = pytest.mark.skipif(not has_shared_data(), reason="the shared data folder is not here")


def deep_task(name: str) -> DeepTask:
    task = make_task(name)
    assert isinstance(task, DeepTask)
    return task


@pytest.mark.parametrize("name", [pytest.param(n, marks=[] if n in BUNDLED else needs_data) for n in DEEP])
def test_a_network_learns_and_is_scored_without_a_trace(name: str) -> None:
    task, setting = deep_task(name), suite_setting(name)
    problem = task.problem(0)
    buffers = [buffer.clone() for buffer in problem.buffers()]
    before = problem.score()
    assert problem.training
    assert all(torch.equal(a, b) for a, b in zip(buffers, problem.buffers(), strict=True))
    optimizer = torch.optim.Adam(problem.parameters(), lr=3e-3)
    for rows in task.batches(0, STEPS.get(name, 4), setting.batch_size):
        optimizer.zero_grad()
        problem(rows).backward()
        optimizer.step()
    assert problem.score()[0] < before[0]
    assert sum(p.numel() for p in problem.parameters()) < 200_000
    assert len(sample_of(task)) == 5
    assert ("class_balance" in describe_task(task)) == (task.test_metric == "accuracy")


def test_rotary_scores_depend_on_the_distance_only() -> None:
    q, k = torch.randn(2, 8, generator=torch.Generator().manual_seed(0)).double()
    turned_q, turned_k = (language.rotate(x.expand(1, 1, 12, 8)) for x in (q, k))
    scores = (turned_q @ turned_k.mT)[0, 0]
    for distance in (0, 1, 5):
        diagonal = torch.diagonal(scores, distance)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal))


def test_decoder_is_causal_and_shares_keys_and_values() -> None:
    shape = language.Shape(length=10, width=16, layers=1, heads=4, groups=2)
    torch.manual_seed(0)
    model = language.Decoder(shape)
    tokens = torch.randint(language.CHARACTERS, (1, 10))
    changed = tokens.clone()
    changed[0, 6:] = 0
    torch.testing.assert_close(model(tokens)[:, :6], model(changed)[:, :6])
    keys_values = next(m for m in model.modules() if isinstance(m, language.Attention)).keys_values
    assert keys_values.out_features == 2 * shape.groups * shape.width // shape.heads


@needs_data
def test_forecasts_are_tested_on_later_months() -> None:
    split = forecasting.etth1(None)
    assert split.inputs.shape[1:] == (7, 96)
    assert split.targets.shape[1:] == (7, 24)
    train_hours = len(split.inputs) + forecasting.PAST + forecasting.FUTURE - 1
    assert train_hours == forecasting.TRAIN_END < forecasting.TEST_START
    joined = torch.cat([split.test_inputs[forecasting.PAST], split.test_targets[forecasting.PAST]], dim=1)
    torch.testing.assert_close(joined[:, :24], split.test_targets[0])
    assert split.inputs.mean().abs() < 0.1


def test_sparse_rows_agree_with_dense_ones() -> None:
    matrix = csr_array(random_array((30, 50), density=0.1, rng=np.random.default_rng(0)))
    sparse, dense = SparseRows.from_scipy(matrix), torch.from_numpy(matrix.toarray())
    rows = torch.tensor([3, 3, 29, 0])
    w = torch.randn(2, 50, generator=torch.Generator().manual_seed(0)).double()
    torch.testing.assert_close(sparse[rows].dot(w[0]), dense[rows] @ w[0])
    torch.testing.assert_close(sparse[rows].dot(w), w @ dense[rows].T)
    np.testing.assert_array_equal(sparse.to_scipy().toarray(), matrix.toarray())


@pytest.mark.parametrize(
    "name",
    ["breast-cancer-logistic", "wine-softmax", "breast-cancer-hinge", "diabetes-ridge", "diabetes-lad", *JAX],
)
def test_jax_and_torch_have_the_same_loss(name: str) -> None:
    task = make_task(name)
    pure, problem = make_jax_task(task, 3), task.problem(3)
    rows = task.batches(0, 1, 16)[0]
    value = float(pure.loss([p + 0.01 for p in pure.params], jnp.asarray(rows.numpy())))
    with torch.no_grad():
        for parameter in problem.parameters():
            parameter.add_(0.01)
        assert value == pytest.approx(problem(rows).item(), rel=1e-5)
