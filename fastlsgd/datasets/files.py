"""Files of a user: csv, parquet, svmlight, npy, npz. No pickle is ever read."""

import importlib
import zipfile
from contextlib import contextmanager

import numpy as np

from .columns import Column, array_parts, as_target, table_parts


class TargetMissing(ValueError):  # noqa: N818 - the name says what is the matter
    """Raised by `load` for a table without a target column; `columns` are those there are."""

    def __init__(self, path, columns):
        super().__init__(f"target must be a column of {path}, got None; its columns are {columns}")
        self.columns = columns


@contextmanager
def _named_errors(path, kind):
    """Name the file in what a reader of another library says of it."""
    try:
        yield
    except (ImportError, FileNotFoundError, PermissionError, MemoryError):
        raise
    except (ValueError, TypeError, OSError, NotImplementedError, IndexError) as error:
        words = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(f"{path} cannot be read as {kind}: {words}") from error


def import_arrow(module):
    """Return a module of pyarrow, imported when first needed."""
    try:
        return importlib.import_module(f"pyarrow.{module}")
    except ModuleNotFoundError as error:
        raise ImportError('this data set needs pyarrow; run: pip install "fastlsgd[data]"') from error


def import_sklearn_datasets():
    """Return ``sklearn.datasets``, imported when first needed."""
    try:
        return importlib.import_module("sklearn.datasets")
    except ModuleNotFoundError as error:
        raise ImportError('this data set needs scikit-learn; run: pip install "fastlsgd[sklearn]"') from error


def arrow_column(name, chunked):
    """Return a Column of an arrow column without missing values."""
    types = import_arrow("types")
    if types.is_string(chunked.type) or types.is_large_string(chunked.type):
        encoded = chunked.combine_chunks().dictionary_encode()
        levels = encoded.dictionary.to_pylist()
        rank = np.empty(len(levels), np.int32)
        rank[sorted(range(len(levels)), key=levels.__getitem__)] = np.arange(len(levels))
        return Column(name, rank[encoded.indices.to_numpy()], tuple(sorted(levels)))
    if types.is_boolean(chunked.type):
        return Column(name, chunked.cast("uint8").to_numpy(), scale=False)
    # Not safe: that would refuse integers above 2^53.
    return Column(name, chunked.cast("float64", safe=False).to_numpy())


def _read_table(path, target, test_fraction, seed, positive):
    if path.lower().endswith(".parquet"):
        parquet = import_arrow("parquet")
        with _named_errors(path, "parquet"):
            table = parquet.read_table(path)
            names = table.column_names
    else:
        arrow = import_arrow("csv")
        with _named_errors(path, "csv (text in UTF-8)"):
            # Also for strings: an empty cell is a missing value, not one more level.
            table = arrow.read_csv(path, convert_options=arrow.ConvertOptions(strings_can_be_null=True))
            names = table.column_names
    if len(set(names)) < len(names):
        raise ValueError(f"{path} has two columns of one name; column names must differ, got {names}")
    found = next((mark for mark in (";", "\t", "|") if len(names) == 1 and mark in names[0]), None)
    if found is not None:
        raise ValueError(
            f"{path} has one column only, {names[0]!r}; is the separator {found!r}? Columns must be separated by ','"
        )
    if target is None:
        raise TargetMissing(path, names)
    if target not in table.column_names:
        raise ValueError(f"target must be a column of {path}, got {target!r}; its columns are {table.column_names}")
    if table.num_rows == 0:
        raise ValueError(f"{path} has no rows")
    columns = {name: _plain(path, name, table[name]) for name in table.column_names}
    _refuse_missing(path, columns)
    goal = arrow_column(target, columns.pop(target))
    if not columns:
        raise ValueError(f"{path} has no column beside the target {target!r}")
    features = [arrow_column(name, column) for name, column in columns.items()]
    y, classes = as_target(goal, positive)
    return table_parts(features, y, classes, test_fraction, seed)


def _plain(path, name, column):
    """Undo dictionary encoding, and refuse types that are neither numbers, booleans nor strings."""
    types = import_arrow("types")
    if types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    number = types.is_integer(column.type) or types.is_floating(column.type) or types.is_decimal(column.type)
    string = types.is_string(column.type) or types.is_large_string(column.type)
    if not (number or string or types.is_boolean(column.type) or types.is_null(column.type)):
        binary = " (text that is not UTF-8?)" if types.is_binary(column.type) else ""
        raise ValueError(
            f"column {name!r} of {path} has type {column.type}{binary}; make it numbers or strings, or drop it"
        )
    return column


def _refuse_missing(path, columns):
    compute, types, bad = import_arrow("compute"), import_arrow("types"), {}
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
    columns = [Column("", values) for values in table.T.astype(np.float64)]
    goal = columns.pop(int(target))
    y, classes = as_target(goal, positive)
    return table_parts(columns, y, classes, test_fraction, seed)._replace(feature_names=())


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
    read = import_sklearn_datasets().load_svmlight_file
    with _named_errors(path, "svmlight"):
        X, y = read(path, dtype=np.float32)
    return _labelled(path, X, y, test_fraction, seed, positive)


def _labelled(path, X, y, test_fraction, seed, positive):
    with np.errstate(over="ignore"):  # becomes infinite, and is refused
        X = X.astype(np.float32)
    _refuse_nonfinite(path, X if isinstance(X, np.ndarray) else X.data)
    _refuse_nonfinite(path, y)
    goal = Column("y", y, scale=y.dtype.kind != "b")
    if y.dtype.kind == "U":
        levels, codes = np.unique(y, return_inverse=True)
        goal = Column("y", codes, tuple(levels.tolist()))
    y, classes = as_target(goal, positive)
    return array_parts(X, y, classes, (), test_fraction, seed)


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


# Ending of the file's name: (path, target, test_fraction, seed, positive) -> Parts.
READERS = dict.fromkeys((".csv", ".csv.gz", ".parquet"), _read_table)
READERS |= {".npy": _read_npy, ".npz": _read_npz}
READERS |= dict.fromkeys((".svm", ".svmlight", ".libsvm", ".txt"), _read_svmlight)
