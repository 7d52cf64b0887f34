"""From named columns to matrices: splitting, one-hot, standardising."""

from typing import Any, NamedTuple

import numpy as np


class Parts(NamedTuple):
    """What a reader returns: y is codes 0 .. C-1 of `classes`, or numbers where `classes` is empty."""

    X_train: Any
    y_train: np.ndarray
    X_test: Any
    y_test: np.ndarray
    classes: tuple = ()
    feature_names: tuple = ()


class Column(NamedTuple):
    """Numbers; or codes into sorted `levels`; or 0/1 (`scale` False)."""

    name: str
    values: np.ndarray
    levels: tuple | None = None
    scale: bool = True


def as_target(column, positive):
    """Return (y, classes): codes of labels, of two-valued numbers, of any numbers if `positive` is given."""
    levels, codes = column.levels, column.values
    if levels is None:
        unique = np.unique(column.values)
        if len(unique) > 2 and positive is None:
            return column.values, ()
        codes = np.searchsorted(unique, column.values)
        levels = tuple(int(v) if float(v).is_integer() else float(v) for v in unique)
    if len(levels) < 2:
        raise ValueError(f"the target has one value only, {list(levels)}; there is nothing to learn")
    return codes, levels if column.scale else (False, True)


def split(n_rows, test_fraction=0.2, seed=0):
    """Return (train, test) row numbers, each ascending, so that both parts keep the order of the file."""
    order = np.random.default_rng(seed).permutation(n_rows)
    # 1e-9: 0.29 * 100 is 28.999999999999996 in binary.
    n_test = int(n_rows * test_fraction + 1e-9)
    if n_rows - n_test < 1:
        raise ValueError(f"no row is left to train on: {n_rows} rows, test_fraction={test_fraction!r}")
    return np.sort(order[n_test:]), np.sort(order[:n_test])


def matrices(columns, train, test, drop_first=True, sparse=None):
    """Return (X_train, X_test, feature_names) from columns: one-hot, scaled on the rows `train`.

    0/1 columns stay 0/1: standardised, a level of frequency p would be 1/sqrt(p), and one row of a rare
    level would bound the step size of all.
    """
    first = 1 if drop_first else 0
    feature_names: list[str] = []
    n_onehot = 0
    for column in columns:
        levels = [f"{column.name}={level}" for level in (column.levels or ())[first:]]
        n_onehot += len(levels)
        feature_names += levels if column.levels is not None else [column.name]
    n_train, order = len(train), np.concatenate([train, test])
    build = _csr if (n_onehot > 1000 if sparse is None else sparse) else _dense
    X = build(columns, order, n_train, len(feature_names), first)
    return X[:n_train], X[n_train:], tuple(feature_names)


def _scaled(column, order, n_train):
    values = column.values[order]
    if not column.scale:
        return values
    seen = values[:n_train].astype(np.float64)
    # Not "std > 0": rounding leaves a tiny one on a constant column.
    scale = seen.std() if seen.min() < seen.max() else 1.0
    return (values - seen.mean()) / scale


def _dense(columns, order, n_train, n_features, first):
    X = np.zeros((len(order), n_features), np.float32)
    flat, j = X.reshape(-1), 0
    for column in columns:
        if column.levels is None:
            X[:, j] = _scaled(column, order, n_train)
            j += 1
        else:
            codes = column.values[order].astype(np.int64)
            rows = np.flatnonzero(codes >= first)
            flat[rows * n_features + (j - first) + codes[rows]] = 1
            j += max(len(column.levels) - first, 0)
    return X


def _csr(columns, order, n_train, n_features, first):
    from scipy.sparse import csr_matrix

    shape = len(order), len(columns)
    indices, data, j = np.empty(shape, np.int32), np.ones(shape, np.float32), 0
    for k, column in enumerate(columns):
        if column.levels is None:
            indices[:, k], data[:, k] = j, _scaled(column, order, n_train)
            j += 1
        else:
            codes = column.values[order]
            indices[:, k] = codes + (j - first)
            data[:, k] = codes >= first
            j += max(len(column.levels) - first, 0)
    kept = data != 0
    indptr = np.concatenate([[0], np.cumsum(kept.sum(axis=1))]).astype(np.int32)
    return csr_matrix((data[kept], indices[kept], indptr), shape=(len(order), n_features))


def table_parts(columns, y, classes=(), test_fraction=0.2, seed=0):
    """Return `Parts` of columns: split at random, then one-hot and scaled."""
    train, test = split(len(y), test_fraction, seed)
    X_train, X_test, feature_names = matrices(columns, train, test)
    return Parts(X_train, y[train], X_test, y[test], classes, feature_names)


def array_parts(X, y, classes=(), feature_names=(), test_fraction=0.2, seed=0):
    """Return `Parts` of a matrix that is taken as it is: split at random."""
    train, test = split(len(y), test_fraction, seed)
    return Parts(X[train], y[train], X[test], y[test], classes, feature_names)
