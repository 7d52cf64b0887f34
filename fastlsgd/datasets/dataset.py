"""One data set: what it holds, and how labels become the numbers that kernels read."""

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Hold one data set, already split and prepared for `Problem`.

    Attributes
    ----------
    name : str
        The name or path given to `load`.
    X_train, X_test : ndarray or scipy.sparse.csr_matrix of float32, shape (n_rows, n_features)
        C-contiguous, or CSR with sorted int32 indices. Without an intercept column.
    y_train, y_test : ndarray, shape (n_rows,)
        float32 for "regression" and "binary" (values -1 and +1); int64 0 .. C-1 for "multiclass".
    feature_names : tuple of str
        One per column; empty where columns have no names (hashed text, random features, plain arrays).
    task : {"regression", "binary", "multiclass"}
    classes : tuple
        The original labels: of -1 and +1 in that order, or of 0 .. C-1; empty for regression.
    source : str
        Package, version, file and licence, in one sentence.

    Examples
    --------
    >>> import numpy as np
    >>> X, y = np.zeros((3, 2), np.float32), np.array([-1, 1, 1], np.float32)
    >>> Dataset("tiny", X[:2], y[:2], X[2:], y[2:], ("a", "b"), "binary", ("no", "yes"), "made by hand")
    Dataset('tiny', binary, -1 is 'no', +1 is 'yes': 2 + 1 rows x 2 features, dense float32)
    """

    name: str
    X_train: Any
    y_train: np.ndarray
    X_test: Any
    y_test: np.ndarray
    feature_names: tuple
    task: str
    classes: tuple
    source: str

    @property
    def n_features(self):
        """Number of columns of X."""
        return self.X_train.shape[1]

    @property
    def n_classes(self):
        """Number of classes; 0 for regression."""
        return len(self.classes)

    def __repr__(self):
        labels = f", {self.n_classes} classes" if self.task == "multiclass" else ""
        if self.task == "binary":
            labels = f", -1 is {self.classes[0]!r}, +1 is {self.classes[1]!r}"
        rows = f"{self.X_train.shape[0]:,} + {self.X_test.shape[0]:,} rows x {self.n_features:,} features"
        layout = "dense float32"
        if not isinstance(self.X_train, np.ndarray):
            layout = f"CSR float32, {self.X_train.nnz / self.X_train.shape[0]:.1f} nonzeros a row"
        return f"Dataset({self.name!r}, {self.task}{labels}: {rows}, {layout})"


def assemble(name, parts, source, positive):
    """Turn codes into -1/+1 or int64 classes, and check the layout that kernels need."""
    classes, y = parts.classes, [parts.y_train, parts.y_test]
    if not classes:
        if positive is not None:
            raise ValueError(
                f"positive={positive!r} is for classes, but the target of {name!r} is a number, not a class; "
                "leave positive out"
            )
        with np.errstate(over="ignore"):  # becomes infinite, and is refused
            task, y = "regression", [part.astype(np.float32) for part in y]
        if not all(np.isfinite(part).all() for part in y):
            raise ValueError(f"the target of {name!r} is beyond the range of float32; scale it first")
    elif len(classes) == 2 or positive is not None:
        chosen = [1] if positive is None else _chosen(name, classes, positive)
        task, y = "binary", [np.where(np.isin(part, chosen), 1, -1).astype(np.float32) for part in y]
        if len(classes) == 2:
            classes = (classes[1 - chosen[0]], classes[chosen[0]])
        else:
            original = tuple(classes[i] for i in chosen)
            classes = ("rest", original[0] if len(original) == 1 else original)
    else:
        task, y = "multiclass", [part.astype(np.int64) for part in y]
    X = [_layout(part) for part in (parts.X_train, parts.X_test)]
    return Dataset(name, X[0], y[0], X[1], y[1], tuple(parts.feature_names), task, tuple(classes), source)


def _chosen(name, classes, positive):
    """Return the positions of the labels in `positive`; "3" is accepted for 3, as a command line gives it."""
    wanted = positive if isinstance(positive, (tuple, list)) else (positive,)
    chosen = []
    for label in wanted:
        match = [i for i, known in enumerate(classes) if known == label or str(known) == str(label)]
        if not match:
            raise ValueError(_no_such_class(name, classes, label))
        chosen.append(match[0])
    chosen = sorted(set(chosen))
    if not 0 < len(chosen) < len(classes):
        raise ValueError(f"positive must leave at least one class of {name!r} on each side, got {positive!r}")
    return chosen


def _no_such_class(name, classes, label):
    # `positive` makes a class of each value of a numeric target; many values, or fractions, are no classes.
    numbers = len(classes) > 2 and all(type(value) in (int, float) for value in classes)
    if numbers and (len(classes) > 20 or any(type(value) is float for value in classes)):
        return (
            f"positive={label!r} is for classes, but the target of {name!r} is a number, not a class "
            f"({len(classes):,} distinct values from {classes[0]:g} to {classes[-1]:g}); leave positive out, or "
            "give a target whose values are classes"
        )
    shown = ", ".join(map(repr, classes[:20])) + (", ..." if len(classes) > 20 else "")
    return f"positive={label!r} is not a class of {name!r}; its classes are {shown}"


def _layout(X):
    if isinstance(X, np.ndarray):
        return np.ascontiguousarray(X, np.float32)
    X = X.astype(np.float32, copy=False)
    X.sum_duplicates()
    X.sort_indices()
    X.indices, X.indptr = X.indices.astype(np.int32, copy=False), X.indptr.astype(np.int32, copy=False)
    return X
