"""CSR matrices as kernels read them: checked, diagnosed, and laid out for a packed copy.

A matrix may be a ``csr_matrix`` or a ``csr_array``; its rows may hold their columns in any order, and
a column twice. It is never modified and never brought into canonical form.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

REBUILD = "build it anew with scipy.sparse.csr_matrix from a format that checks, such as coo_matrix"


def is_sparse(X: Any) -> bool:
    """Return whether X is a sparse matrix or array of any format."""
    return hasattr(X, "tocsr")


def check_format(X: Any) -> None:
    """Raise TypeError or ValueError unless X is two-dimensional CSR of SciPy."""
    from scipy.sparse import issparse  # X is here, so SciPy's sparse part is loaded already

    if not issparse(X):
        raise TypeError(f"X must be a NumPy array or CSR of scipy.sparse, got {type(X).__name__}")
    if X.format != "csr":
        raise TypeError(f"X must be CSR if it is sparse, got {type(X).__name__}; pass X.tocsr()")
    if X.ndim != 2:
        raise ValueError(f"X must have two dimensions (n_samples, n_features), got shape {X.shape}")


def check_parts(X: Any) -> None:
    """Raise unless indices and indptr are arrays the kernels can read, with rows one after the other in them.

    The columns themselves and the values are looked at by the compiled scan.
    """
    parts = (("data", X.data), ("indices", X.indices), ("indptr", X.indptr))
    for name, part in parts:
        if (
            not isinstance(part, np.ndarray)
            or part.ndim != 1
            or not part.flags.c_contiguous
            or not part.flags.aligned
        ):
            raise ValueError(f"X.{name} must be a contiguous array of one dimension; pass X.copy()")
    for name, part in parts[1:]:
        if not part.dtype.isnative or part.dtype not in (np.dtype(np.int32), np.dtype(np.int64)):
            raise TypeError(
                f"X.{name} must be int32 or int64 in this machine's byte order, got {part.dtype.str!r}; {REBUILD}"
            )
    indices, indptr = X.indices, X.indptr
    if indices.dtype != indptr.dtype:
        raise TypeError(
            f"X.indices and X.indptr must have one dtype, got {indices.dtype} and {indptr.dtype}; "
            "pass scipy.sparse.csr_matrix((X.data, X.indices, X.indptr), X.shape), which makes them alike"
        )
    if X.shape[1] - 1 > np.iinfo(indices.dtype).max:
        raise ValueError(f"X has {X.shape[1]} columns, more than its {indices.dtype} indices can name; {REBUILD}")
    n, n_stored = X.shape[0], min(len(X.data), len(indices))
    if len(indptr) != n + 1:
        raise ValueError(f"X.indptr must have one entry a row and one more, {n + 1}, got {len(indptr)}; {REBUILD}")
    if indptr[0] != 0:
        raise ValueError(f"X.indptr must begin with 0, got {indptr[0]}; {REBUILD}")
    falls = np.flatnonzero(indptr[1:] < indptr[:-1])
    if falls.size:
        row = int(falls[0])
        raise ValueError(
            f"X.indptr must not decrease, got {indptr[row]} and then {indptr[row + 1]} at row {row}; {REBUILD}"
        )
    if indptr[-1] > n_stored:
        raise ValueError(
            f"X.indptr must end at most at the number of stored entries, got {indptr[-1]} with {len(indices)} "
            f"indices and {len(X.data)} values; {REBUILD}"
        )


def raise_at_first_bad(X: Any, first_row: int, last_row: int) -> NoReturn:
    """Raise ValueError that names the first column out of bounds or value not finite in these rows."""
    at = slice(int(X.indptr[first_row]), int(X.indptr[last_row]))
    columns, values = X.indices[at], X.data[at]
    outside = (columns < 0) | (columns >= X.shape[1])
    position = int(np.flatnonzero(outside | ~np.isfinite(values))[0])
    row = int(np.searchsorted(X.indptr, at.start + position, side="right")) - 1
    if outside[position]:
        raise ValueError(
            f"X.indices must be from 0 to {X.shape[1] - 1}, got {columns[position]} at row {row} "
            f"(X.indices[{at.start + position}]); {REBUILD}"
        )
    raise ValueError(
        f"X must be finite, got {values[position]} at row {row}, column {columns[position]}; drop such rows or "
        "impute them: X.data[~np.isfinite(X.data)] = 0"
    )


@dataclass(frozen=True)
class PackedRows:
    """The parts of a CSR matrix by themselves: a copy of rows in another order."""

    data: np.ndarray
    indices: np.ndarray
    indptr: np.ndarray
    shape: tuple[int, int]

    @classmethod
    def laid_out(cls, X: Any, order: np.ndarray) -> PackedRows:
        """Return room for the rows of X in this order; only indptr is filled."""
        indptr = np.zeros_like(X.indptr)
        np.cumsum(np.diff(X.indptr)[order], out=indptr[1:])
        n_stored = int(indptr[-1])
        return cls(np.empty(n_stored, X.dtype), np.empty(n_stored, X.indices.dtype), indptr, X.shape)

    @property
    def dtype(self) -> np.dtype:
        """dtype of the values."""
        return self.data.dtype

    @property
    def nbytes(self) -> int:
        """Bytes of the three arrays."""
        return self.data.nbytes + self.indices.nbytes + self.indptr.nbytes
