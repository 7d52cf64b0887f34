"""Shards: rows of (X, y) dealt to P workers, in the layout that the kernels read.

Checks of the arrays stand here too, so that no kernel ever sees a wrong one.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from . import _kernels, bf16, sparse
from .scalars import one_of, refuse_masked, seed_of, whole
from .team import run_pass

Partition = Literal["iid", "contiguous"]

MAX_ROWS = 2**32 - 1
# Bytes of X in a block of sampling="blocks": what a sequential reader fetches at once, and caches keep.
BLOCK_BYTES = 1 << 16


def check_rows(X: Any) -> Any:
    """Return X as it is, if kernels can read it where it lies; raise what to do about it if not.

    Parameters
    ----------
    X : ndarray or memmap, shape (n_samples, n_features), float32 or float64, C order
        Or CSR (csr_matrix, csr_array) of such values with int32 or int64 indices; its columns and values are
        looked at by ``Problem.row_norms``, not here.

    Raises
    ------
    TypeError
        X is neither an array nor CSR, or its dtype is neither float32 nor float64 (native byte order).
    ValueError
        X is not two-dimensional, is empty, not C-contiguous, or has more than 2^32 - 1 rows; or indptr does not
        lay the rows of a CSR matrix one after the other within its entries.
    """
    if sparse.is_sparse(X):
        return _check_csr(X)
    refuse_masked("X", X)
    if not isinstance(X, np.ndarray):
        raise TypeError(
            f"X must be a NumPy array, got {type(X).__name__}; pass np.ascontiguousarray(X, dtype=np.float32)"
        )
    if X.ndim != 2:
        raise ValueError(
            f"X must have two dimensions (n_samples, n_features), got shape {X.shape}; "
            "a single feature is X.reshape(-1, 1)"
        )
    _check_float("X", X)
    _check_shape(X)
    if not X.flags.c_contiguous or not X.flags.aligned:
        kind = "Fortran order" if X.flags.f_contiguous else "strided or misaligned memory"
        raise ValueError(
            f"X must be {X.dtype} in C order, got {kind}; pass np.ascontiguousarray(X), which copies it once"
        )
    return X


def _check_csr(X: Any) -> Any:
    sparse.check_format(X)
    _check_float("X", X)
    _check_shape(X)
    sparse.check_parts(X)
    return X


def _check_shape(X: Any) -> None:
    if X.shape[0] == 0 or X.shape[1] == 0:
        raise ValueError(f"X must have at least one row and one column, got shape {X.shape}")
    if X.shape[0] > MAX_ROWS:
        raise ValueError(f"X may have at most {MAX_ROWS} rows, got {X.shape[0]}")


def check_column(name: str, values: Any, X: Any) -> np.ndarray:
    """Return values (one number a row of X) as a contiguous array of X's dtype, copied if need be.

    Raises
    ------
    TypeError
        The values are no numbers.
    ValueError
        Wrong shape, NaN or infinity, named with its position.
    """
    refuse_masked(name, values)
    column = np.asarray(values)
    if column.dtype.kind not in "fiub":
        hint = f"; pass {name}.astype(float)" if column.dtype == object else ""
        raise TypeError(f"{name} must hold numbers, got dtype {column.dtype}{hint}")
    if column.shape != (X.shape[0],):
        hint = f"; pass {name}.ravel()" if column.size == X.shape[0] else ""
        raise ValueError(f"{name} must have shape ({X.shape[0]},), one value a row of X, got {column.shape}{hint}")
    with np.errstate(over="ignore"):
        column = np.require(column, dtype=X.dtype, requirements=["C", "A"])
    bad = np.flatnonzero(~np.isfinite(column))
    if bad.size:
        raise ValueError(
            f"{name} must be finite, got {np.asarray(values)[bad[0]]} at row {bad[0]} ({bad.size} in all); "
            f"drop those rows: keep = np.isfinite({name})"
        )
    return column


def _check_as_the_kernels_read(name: str, column: Any, X: Any) -> None:
    """Raise unless the column lies as the kernels will read it; ``Problem`` sees to that."""
    if column is None and name == "sample_weight":
        return
    wrong = not isinstance(column, np.ndarray) or column.dtype != X.dtype or column.shape != (X.shape[0],)
    if wrong or not column.flags.c_contiguous or not column.flags.aligned:
        raise ValueError(
            f"{name} must be a contiguous {X.dtype} array of shape ({X.shape[0]},), as X is; "
            f"pass np.ascontiguousarray({name}, dtype=X.dtype)"
        )


def _check_float(name: str, array: Any) -> None:
    if not array.dtype.isnative:
        raise TypeError(
            f"{name} must be in this machine's byte order, got dtype {array.dtype.str!r}; "
            f"pass {name}.astype({name}.dtype.newbyteorder('='))"
        )
    if array.dtype not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise TypeError(
            f"{name} must be float32 or float64, got {array.dtype}; "
            f"pass {name}.astype(np.float32), or np.float64 where seven digits are too few"
        )


def _bytes_a_row(X: Any) -> int:
    """Return the bytes of a row, of CSR on average: with indices of four bytes, whose width decides no order."""
    if sparse.is_sparse(X):
        return max(1, int(X.indptr[-1]) * (X.data.itemsize + 4) // X.shape[0])
    return X.shape[1] * X.itemsize


def is_memory_mapped(array: Any) -> bool:
    """Return whether the memory of the array (or of what it is a view of; of CSR its values) is a mapped file."""
    if sparse.is_sparse(array):
        array = array.data
    while array is not None:
        if isinstance(array, np.memmap):
            return True
        array = array.base if isinstance(array.base, np.ndarray) else None
    return False


class Shards:
    """Deal the rows of (X, y) to P workers and lay them out for the kernels.

    Parameters
    ----------
    X : ndarray, shape (n_samples, n_features), float32 or float64, C order; or CSR of such values
        Never modified.
    y, sample_weight : ndarray, shape (n_samples,), dtype of X; sample_weight may be None
    n_workers : int, at least 1
    seed : int, 0 <= seed < 2^64
    partition : "iid" or "contiguous"
        *iid*: a permutation of the rows by the seed, dealt in blocks; the first
        n_samples mod n_workers workers get one row more. *contiguous*: blocks of the
        rows as they lie; each worker still visits its block in an order of its own.
    sampling : "reshuffle", "replacement" or "blocks"
        Under *blocks* every permutation, the one that deals included, moves blocks of about 64 KB of rows and
        shuffles the rows inside each: data read where it lies is read nearly in order.
    layout : "view" or "packed"
        *view* reads X where it lies (4 bytes a row for the order). *packed* copies each
        worker's rows once, in the visiting order of its first epoch. The layout
        changes no bit of a run.
    storage : None or "bf16"
        In what form the copies of *packed* are held: None is as they are. *bf16* rounds each entry of X (dense,
        float32) to the nearest bfloat16, half the bytes; targets and weights stay as they are.

    Attributes
    ----------
    start : int64 array, shape (n_workers + 1,)
        Worker k owns the positions start[k] .. start[k+1]-1 of ``order``.
    order : uint32 array, shape (n_samples,)
        Row of X at each position: the visits of each worker's first epoch, worker after worker.
    n_copied_bytes : int
        Bytes copied for the packed layout.

    Raises
    ------
    TypeError, ValueError
        Arrays that the kernels cannot read, more workers than rows, or a name that is none of these.

    Examples
    --------
    >>> shards = Shards(np.eye(5), np.ones(5), n_workers=2, partition="contiguous")
    >>> shards.start, sorted(shards.rows(0).tolist())
    (array([0, 3, 5]), [0, 1, 2])
    """

    def __init__(
        self,
        X: Any,
        y: np.ndarray,
        sample_weight: np.ndarray | None = None,
        *,
        n_workers: int,
        seed: int = 0,
        partition: Partition = "iid",
        sampling: Literal["reshuffle", "replacement", "blocks"] = "reshuffle",
        layout: Literal["view", "packed"] = "view",
        storage: Literal["bf16"] | None = None,
        n_threads: int = 1,
    ) -> None:
        one_of("partition", partition, ("iid", "contiguous"))
        one_of("layout", layout, ("view", "packed"))
        check_rows(X)
        check_storage(storage, layout, X)
        for name, column in (("y", y), ("sample_weight", sample_weight)):
            _check_as_the_kernels_read(name, column, X)
        n_workers, seed, n = whole("n_workers", n_workers), seed_of(seed), X.shape[0]
        if n_workers > n:
            raise ValueError(
                f"n_workers must be between 1 and the {n} rows, so that each worker has a row of its own, "
                f"got {n_workers}; sampling='replacement' with partition='iid' needs no shards"
            )
        self.X, self.y, self.sample_weight = X, y, sample_weight
        self.n_workers, self.seed = n_workers, seed
        self.partition, self.sampling, self.layout, self.storage = partition, sampling, layout, storage
        self.start = np.concatenate([[0], np.cumsum(shard_sizes(n, n_workers))])
        self.order = np.arange(n, dtype=np.uint32)
        self._rows_a_block = max(1, BLOCK_BYTES // _bytes_a_row(X)) if sampling == "blocks" else 0
        if partition == "iid":
            _kernels.deal(self.order, seed, self._rows_a_block)
        else:
            for k in range(n_workers):
                _kernels.shuffle_shard(self.order[self.start[k] : self.start[k + 1]], seed, k, 0, self._rows_a_block)
        self.n_copied_bytes = 0
        self._packed: tuple[Any, np.ndarray, np.ndarray | None] | None = None
        if layout == "packed":
            self._pack(n_threads)

    def _pack(self, n_threads: int) -> None:
        rows = _kernels.Rows(self.X, self.y, self.sample_weight, intercept=False, start=self.start, order=self.order)
        arrays = self.X, self.y, self.sample_weight
        self._packed = _copied(arrays, rows, order=self.order, storage=self.storage, n_threads=n_threads)
        self.n_copied_bytes = _n_bytes(self._packed)

    def rows(self, k: int) -> np.ndarray:
        """Return the rows of X that worker k owns, in the visiting order of its first epoch (uint32)."""
        return self.order[self.start[k] : self.start[k + 1]]

    @property
    def n_rows(self) -> np.ndarray:
        """Rows of each worker, int64, shape (n_workers,)."""
        return np.diff(self.start)

    def for_kernels(self, *, intercept: bool, n_visits: int) -> _kernels.Rows:
        """Return the rows as the kernels take them; n_visits is what each worker will visit in the whole run."""
        X, y, s = self._packed or (self.X, self.y, self.sample_weight)
        return _kernels.Rows(
            X,
            y,
            s,
            intercept=intercept,
            start=self.start,
            order=None if self._packed else self.order,
            sampling=self.sampling,
            seed=self.seed,
            n_visits=n_visits,
            rows_a_block=self._rows_a_block,
        )

    def __repr__(self) -> str:
        n, d = self.X.shape
        return (
            f"Shards({n} x {d} {self.X.dtype} rows, {self.n_workers} workers, "
            f"{self.partition}, {self.layout}{', bf16' if self.storage else ''}, seed={self.seed})"
        )


_Arrays = tuple[Any, np.ndarray, np.ndarray | None]


def _copied(arrays: _Arrays, rows: _kernels.Rows, *, order: Any, storage: str | None, n_threads: int) -> _Arrays:
    """Return copies of X, y and the sample weights: rows, which has them in this order (None: as they lie)."""
    X, y, s = arrays
    is_csr = sparse.is_sparse(X)
    room: Any
    if is_csr:
        room = sparse.PackedRows.laid_out(X, order)
    elif storage:
        room = bf16.RoundedRows.laid_out(X)
    else:
        room = np.empty_like(X, subok=False)
    copies = room, np.empty_like(y), None if s is None else np.empty_like(s)
    answers = run_pass(_kernels.Pass(rows, "copy", copies=copies), n_threads)
    if is_csr and not answers.all():
        raise ValueError("X.indptr was changed while its rows were copied; leave X alone while runs use it")
    if storage and answers.any():
        bf16.raise_at_first_beyond(X)
    return copies


def _n_bytes(copies: _Arrays) -> int:
    return sum(copy.nbytes for copy in copies if copy is not None)


def check_storage(storage: Any, layout: str, X: Any) -> None:
    """Raise unless the rows can be stored so: None, as they are, or "bf16", a rounded copy of dense float32 rows."""
    if storage not in (None, "bf16"):
        raise ValueError(f"storage must be None or 'bf16', got {storage!r}")
    if storage and layout == "view":
        raise ValueError("storage='bf16' is a copy of the rows: layout must be 'auto' or 'packed', got 'view'")
    if storage:
        bf16.check(X)


def shard_sizes(n_samples: int, n_workers: int) -> np.ndarray:
    """Return how many rows each worker is dealt, int64: the first n_samples mod n_workers get one more."""
    sizes = np.full(n_workers, n_samples // n_workers, dtype=np.int64)
    sizes[: n_samples % n_workers] += 1
    return sizes


def whole_rows(X: Any, y: np.ndarray, sample_weight: np.ndarray | None, **options: Any) -> _kernels.Rows:
    """Return all rows as they lie, one shard: for passes over the data and draws from the whole data set."""
    n_workers = options.pop("n_workers", 1)
    start = np.full(n_workers + 1, X.shape[0], dtype=np.int64)
    start[0] = 0
    return _kernels.Rows(X, y, sample_weight, start=start, order=None, whole=True, **options)


def lay_out(
    X: Any,
    y: np.ndarray,
    sample_weight: np.ndarray | None,
    *,
    intercept: bool,
    n_workers: int,
    seed: int,
    sampling: str,
    partition: str,
    layout: str,
    storage: str | None,
    n_visits: int,
    n_threads: int,
) -> tuple[_kernels.Rows, str, int]:
    """Deal and lay out the rows for a run in which each worker makes n_visits visits.

    Returns (the rows as the kernels take them, the layout used, the bytes copied for it). "auto" packs data in
    memory when at least two epochs are asked for, and what is stored as bfloat16 is always a copy. Draws with
    replacement from the whole data set read X where it lies, as there are no shards to copy, or a rounded copy of it.
    """
    check_storage(storage, layout, X)
    if sampling == "replacement" and partition == "iid":
        arrays, n_copied = (X, y, sample_weight), 0
        if storage:
            as_they_lie = whole_rows(*arrays, intercept=False)
            arrays = _copied(arrays, as_they_lie, order=None, storage=storage, n_threads=n_threads)
            n_copied = _n_bytes(arrays)
        rows = whole_rows(
            *arrays,
            n_workers=n_workers,
            intercept=intercept,
            sampling=sampling,
            seed=seed,
            n_visits=n_visits,
        )
        return rows, "packed" if storage else "view", n_copied
    if storage:
        layout = "packed"
    elif layout == "auto":
        longest_shard = -(-X.shape[0] // n_workers)
        layout = "packed" if n_visits >= 2 * longest_shard and not is_memory_mapped(X) else "view"
    shards = Shards(
        X,
        y,
        sample_weight,
        n_workers=n_workers,
        seed=seed,
        partition=partition,  # type: ignore[arg-type]
        sampling=sampling,  # type: ignore[arg-type]
        layout=layout,  # type: ignore[arg-type]
        storage=storage,  # type: ignore[arg-type]
        n_threads=n_threads,
    )
    return (
        shards.for_kernels(intercept=intercept, n_visits=n_visits),
        layout,
        shards.n_copied_bytes,
    )
