"""The data of the benchmarks: drawn by a seed, float32 unless said, checked once and outside every clock."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ..problem import Problem
from ..stepsizes import Constant

# Rows by features: about 80 MB and 200 MB of float32, more than caches hold; and small, to see that all works.
FULL = {20: 1_000_000, 32: 600_000, 100: 200_000, 1_000: 50_000}
SMALL = {20: 8_000, 32: 8_000, 100: 8_000, 1_000: 1_600}


@lru_cache(maxsize=2)
def logistic(n_features: int, *, small: bool = False, dtype: str = "float32", loss: str = "logistic") -> Problem:
    """Return a problem whose labels are noisy signs of a linear function (``loss="squared"``: fits the same labels).

    Its rows are those of ``FULL``, or of ``SMALL``. The last two problems are kept.
    """
    n = (SMALL if small else FULL)[n_features]
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, n_features), dtype=np.float32)
    z = X @ (rng.standard_normal(n_features) / np.sqrt(n_features)).astype(np.float32)
    y = np.where(z + rng.standard_normal(n) > 0, 1.0, -1.0)
    return Problem(X.astype(dtype, copy=False), y.astype(dtype), loss=loss, l2=1e-4)


def csr(*, small: bool = False, index: str = "int32") -> Problem:
    """Return a logistic problem of CSR rows: 72 normal values each, of unit norm on average, in uniform columns.

    Columns that a row draws twice are added, so a few rows hold fewer.
    """
    from scipy import sparse

    n, d, nnz = (20_000, 4_700, 72) if small else (200_000, 47_000, 72)
    rng = np.random.default_rng(0)
    columns = np.sort(rng.integers(0, d, (n, nnz), dtype=np.int32), axis=1)
    values = rng.standard_normal((n, nnz), dtype=np.float32) / np.float32(np.sqrt(nnz))
    X = sparse.csr_matrix((values.ravel(), columns.ravel(), np.arange(0, n * nnz + 1, nnz, dtype=np.int32)), (n, d))
    X.sum_duplicates()
    y = np.where(X @ rng.standard_normal(d).astype(np.float32) > 0, np.float32(1), np.float32(-1))
    X.indices, X.indptr = X.indices.astype(index), X.indptr.astype(index)
    return Problem(X, y, loss="logistic", l2=1e-6)


def step(problem: Problem) -> Constant:
    """Return the constant step of every side: well inside what is stable, the rows having unit entries.

    CSR rows have unit norm on average.
    """
    if problem.is_sparse:
        return Constant(0.5)
    return Constant((2.0 if problem.loss.name == "logistic" else 0.5) / problem.n_features)


def check_learned(problem: Problem, w: np.ndarray) -> None:
    """Raise unless w, after one pass, has come a tenth of the way to the optimum (a fiftieth where rows are few).

    Of CSR rows, whose optimum takes long to find, a hundredth of the way to zero.
    """
    start = problem.objective(np.zeros(problem.n_params))
    best = 0.9 * start if problem.is_sparse else problem.objective(problem.optimum())
    share = 0.1 if problem.n_samples > problem.n_features * 40 else 0.02
    reached = problem.objective(w)
    if not reached < start - share * (start - best):
        raise RuntimeError(f"what was to be timed learned nothing: F = {reached:g}, at the start {start:g}")
