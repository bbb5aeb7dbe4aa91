"""The convex tasks: name -> factory.

Every factory takes ``data_dir``, the shared data folder; tasks on bundled or synthetic data do not read it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler, normalize
from torch import Tensor

from experiments.tasks.data import (
    DataDir,
    Table,
    hold_out,
    load_arff,
    load_sklearn,
    load_sparse,
    load_svmlight,
)
from experiments.tasks.objective import LossKind
from experiments.tasks.solved import SolvedTask
from experiments.tasks.sparse import SparseRows

CLASSIFICATION = ("logistic", "softmax", "hinge")


def _task(
    name: str,
    kind: LossKind,
    table: Table,
    *,
    test: Table | None = None,
    l2: float = 0.0,
    standardise: bool = True,
) -> SolvedTask:
    """Hold out 20 % where there are classes and no test file; scale by the training part; add intercepts."""
    if kind in CLASSIFICATION and test is None:
        table, test = hold_out(table)
    features, targets = table
    classes = np.unique(targets) if kind in CLASSIFICATION else None
    scaler = StandardScaler(with_mean=standardise, with_std=standardise).fit(features)

    def prepare(features: NDArray[np.float64], targets: NDArray[np.float64]) -> tuple[Tensor, Tensor]:
        design = np.column_stack([scaler.transform(features), np.ones(len(features))])
        return torch.from_numpy(design), _encode(targets, classes, kind)

    if classes is None and standardise:
        targets = (targets - targets.mean()) / targets.std()
    train = prepare(features, targets)
    columns = train[0].shape[1]
    shape = (columns, len(classes)) if classes is not None and kind == "softmax" else (columns,)
    return SolvedTask(name, kind, *train, shape, l2, None if test is None else prepare(*test))


def _encode(targets: NDArray[np.float64], classes: NDArray[np.float64] | None, kind: LossKind) -> Tensor:
    """Targets as the loss wants them: class indices (softmax), -1 and 1 (logistic, hinge), or as they are."""
    if classes is None:
        return torch.from_numpy(targets)
    index = torch.from_numpy(np.searchsorted(classes, targets))
    return index if kind == "softmax" else 2.0 * index.double() - 1.0


def _bundled(name: str, kind: LossKind, source: str, l2: float = 0.0, data_dir: DataDir = None) -> SolvedTask:
    del data_dir  # scikit-learn carries the data
    return _task(name, kind, load_sklearn(source), l2=l2)


def _svmlight(
    name: str,
    kind: LossKind,
    source: str,
    num_features: int,
    *,
    test_source: str | None = None,
    l2: float = 0.0,
    standardise: bool = False,
    data_dir: DataDir = None,
) -> SolvedTask:
    load = partial(load_svmlight, num_features=num_features, data_dir=data_dir)
    test = load(test_source) if test_source else None
    return _task(name, kind, load(source), test=test, l2=l2, standardise=standardise)


def _arff(
    name: str, kind: LossKind, source: str, target: str, drop: tuple[str, ...] = (), data_dir: DataDir = None
) -> SolvedTask:
    return _task(name, kind, load_arff(source, target, drop, data_dir))


def _news20(name: str, data_dir: DataDir = None) -> SolvedTask:
    """news20's computer groups (classes 2 to 6) against its recreation groups (8 to 11), rows of length 1."""
    features, classes = load_sparse("news20.multiclass", 62061, data_dir)
    labels = np.where(classes <= 6, 1.0, -1.0)
    chosen = np.flatnonzero(((classes >= 2) & (classes <= 6)) | ((classes >= 8) & (classes <= 11)))
    train, test = train_test_split(chosen, test_size=0.2, random_state=0, stratify=labels[chosen])
    features = csr_array(normalize(features))

    def part(rows: Any) -> tuple[SparseRows, Tensor]:
        return SparseRows.from_scipy(features[rows]), torch.from_numpy(labels[rows])

    return SolvedTask(name, "logistic", *part(train), (62061,), 1e-3, part(test))


def _synthetic(name: str, kind: LossKind, table: Callable[[], Table], data_dir: DataDir = None) -> SolvedTask:
    del data_dir
    return _task(name, kind, table(), standardise=False)


def _linear_model(rows: int, columns: int, noise: float, scales: NDArray[np.float64] | float = 1.0) -> Table:
    """Gaussian features times ``scales``, targets linear in them plus Gaussian noise."""
    rng = np.random.default_rng(0)
    features = rng.standard_normal((rows, columns)) * scales
    return features, features @ rng.standard_normal(columns) + noise * rng.standard_normal(rows)


def _outlier_rows() -> Table:
    """A linear model where 3 rows of 2000 have features 30 times as large: 40 batches may miss them all."""
    rng = np.random.default_rng(0)
    features = rng.standard_normal((2000, 20))
    features[:3] *= 30.0
    return features, features @ rng.standard_normal(20) + 0.5 * rng.standard_normal(2000)


_BUNDLED: dict[str, Callable[..., SolvedTask]] = {
    "breast-cancer-logistic": partial(_bundled, kind="logistic", source="breast_cancer", l2=1e-3),
    "digits-softmax": partial(_bundled, kind="softmax", source="digits", l2=1e-3),
    "diabetes-ridge": partial(_bundled, kind="squared", source="diabetes", l2=1e-3),
    "diabetes-lad": partial(_bundled, kind="absolute", source="diabetes"),
    "breast-cancer-hinge": partial(_bundled, kind="hinge", source="breast_cancer"),
    "wine-softmax": partial(_bundled, kind="softmax", source="wine", l2=1e-3),
    "diabetes-least-squares": partial(_bundled, kind="squared", source="diabetes"),
    "ill-conditioned-least-squares": partial(
        _synthetic, kind="squared", table=partial(_linear_model, 1000, 50, 0.1, 1.0 / np.arange(1, 51))
    ),
    "synthetic-lad": partial(_synthetic, kind="absolute", table=partial(_linear_model, 2000, 20, 0.5)),
    "outlier-least-squares": partial(_synthetic, kind="squared", table=_outlier_rows),
}
_SHARED: dict[str, Callable[..., SolvedTask]] = {
    "a9a-logistic": partial(
        _svmlight, kind="logistic", source="a9a", test_source="a9a.t", num_features=123, l2=1e-3
    ),
    "mushrooms-logistic": partial(_svmlight, kind="logistic", source="mushrooms", num_features=112, l2=1e-3),
    "german-logistic": partial(
        _svmlight, kind="logistic", source="german.numer_scale", num_features=24, l2=1e-3
    ),
    "dna-softmax": partial(
        _svmlight, kind="softmax", source="dna.scale", test_source="dna.scale.t", num_features=180, l2=1e-3
    ),
    "pendigits-softmax": partial(
        _svmlight,
        kind="softmax",
        source="pendigits",
        test_source="pendigits.t",
        num_features=16,
        l2=1e-3,
        standardise=True,
    ),
    "splice-hinge": partial(
        _svmlight, kind="hinge", source="splice", test_source="splice.t", num_features=60, standardise=True
    ),
    "svmguide1-logistic": partial(_svmlight, kind="logistic", source="svmguide1", num_features=4, l2=1e-3),
    "news20-logistic": _news20,
    "housing-least-squares": partial(_svmlight, kind="squared", source="housing_scale", num_features=13),
    "abalone-least-squares": partial(_svmlight, kind="squared", source="abalone_scale", num_features=8),
    "cal-housing-least-squares": partial(
        _arff, kind="squared", source="cal_housing", target="medianHouseValue"
    ),
    "bodyfat-lad": partial(  # body fat is a function of density, the target
        _arff,
        kind="absolute",
        source="bodyfat",
        target="Density_determined_from_underwater_weighing",
        drop=("Percent_body_fat_from_Siris_(1956)_equation",),
    ),
}

CONVEX: dict[str, Callable[..., SolvedTask]] = {
    name: partial(factory, name) for name, factory in {**_BUNDLED, **_SHARED}.items()
}
SPARSE = ("news20-logistic",)
DEMO = ("breast-cancer-logistic", "digits-softmax", "diabetes-ridge", "diabetes-lad", "a9a-logistic")


def _files(factory: Callable[..., SolvedTask]) -> tuple[str, ...]:
    """The files that a factory of ``_SHARED`` reads."""
    if not isinstance(factory, partial):
        return ("libsvm/news20.multiclass.bz2",)
    sources = [factory.keywords[key] for key in ("source", "test_source") if key in factory.keywords]
    pattern = "tabular/{}.arff.gz" if factory.func is _arff else "libsvm/{}.bz2"
    return tuple(pattern.format(source) for source in sources)


FILES = {name: _files(factory) for name, factory in _SHARED.items()}
