"""Matrices whose entries no 32-bit number counts: files of holes, with values in the few rows that are looked at.

A row read at a wrong place would be a row of zeros, or another's. The files are removed at once; what passes
read of them lies in the system's cache, not in the process.
"""

import os
import shutil

import numpy as np
import pytest
from scipy import sparse

import fastlsgd as fl
from fastlsgd.data import Shards, is_memory_mapped, whole_rows

pytestmark = pytest.mark.long

STEPS, WORKERS, PERIOD, ETA, L2 = 64, 8, 16, 0.01, 1e-3
SAMPLINGS = ["reshuffle", "blocks", "replacement"]


@pytest.fixture
def folder(tmp_path):
    """A folder on a file system that stores no holes; what lies in it is removed at once."""
    probe = tmp_path / "probe"
    with open(probe, "wb") as file:
        file.truncate(1 << 30)
    if os.stat(probe).st_blocks > 8:
        pytest.skip("this file system stores holes, and the files would fill it")
    yield tmp_path
    shutil.rmtree(tmp_path, ignore_errors=True)


def private_bytes():
    with open("/proc/self/status") as file:
        return next(1024 * int(line.split()[1]) for line in file if line.startswith("RssAnon"))


def labels(n):
    y = np.ones(n, np.float32)
    y[np.random.default_rng(1).integers(0, n, n // 2)] = -1.0
    return y


def visits(X, y, sampling):
    """Rows that each worker visits, (STEPS, WORKERS): known before the run, from X's shape alone."""
    if sampling == "replacement":
        rows = whole_rows(X, y, None, n_workers=WORKERS, intercept=False, sampling=sampling, n_visits=STEPS)
    else:
        rows = Shards(X, y, n_workers=WORKERS, sampling=sampling).for_kernels(intercept=False, n_visits=STEPS)
    return np.stack([rows.visited(k, 0, STEPS) for k in range(WORKERS)], axis=1)


def slope(z, y):
    return -y / (1.0 + np.exp(y * z))


def assert_objective_and_gradient_are_those_of(written, problem, row):
    """The rows that were written by hand, all others being zeros; row(i) is row i as dense float64."""
    w = np.random.default_rng(2).standard_normal(problem.n_features) / np.sqrt(problem.n_features)
    losses, gradient = (problem.n_samples - len(written)) * np.log(2.0), np.zeros(problem.n_features)
    for i in written:
        x, y = row(i), float(problem.y[i])
        losses += np.log1p(np.exp(-y * (x @ w)))
        gradient += slope(x @ w, y) * x
    value, found = problem.objective_and_gradient(w)
    assert value == pytest.approx(losses / problem.n_samples + 0.5 * L2 * w @ w, rel=1e-12)
    # Without the penalty: it is far larger than what so few rows of so many add.
    np.testing.assert_allclose((found - L2 * w) * problem.n_samples, gradient, rtol=1e-6, atol=1e-6)


def assert_steps_are_those_of_numpy(problem, sampling, row):
    run = fl.local_sgd(
        problem, n_workers=WORKERS, n_steps=STEPS, schedule=fl.FixedPeriod(PERIOD), step_size=fl.Constant(ETA),
        sampling=sampling, layout="view", record=0,
    )  # fmt: skip
    W, total = np.zeros((WORKERS, problem.n_features)), np.zeros(problem.n_features)
    for t, rows in enumerate(visits(problem.X, problem.y, sampling), start=1):
        for k, i in enumerate(rows):
            x = row(i)
            W[k] -= ETA * (slope(x @ W[k], float(problem.y[i])) * x + L2 * W[k])
        total += W.mean(axis=0)
        if t % PERIOD == 0:
            W[:] = W.mean(axis=0)
    assert np.abs(W).max() > 1e-3  # the rows visited are not zeros
    np.testing.assert_allclose(run.w, W.mean(axis=0), atol=2e-5 * np.abs(W).max())
    np.testing.assert_allclose(run.w_bar, total / STEPS, atol=2e-5 * np.abs(total / STEPS).max())


def test_dense_rows_beyond_two_to_the_32_entries(folder):
    n, d = 2**22 + 1_000, 1_130
    assert n * d > 2**32
    X = np.memmap(folder / "X", np.float32, "w+", shape=(n, d))
    y = labels(n)
    visited = {sampling: visits(X, y, sampling) for sampling in SAMPLINGS}
    # Both ends, the rows that hold entries 2^31 and 2^32, their neighbours, and what the runs will visit.
    edges = [0, 1, 2, *(2**31 // d + np.arange(-2, 3)), *(2**32 // d + np.arange(-2, 3)), n - 3, n - 2, n - 1]
    written = np.unique(np.concatenate([edges, *(rows.ravel() for rows in visited.values())]))
    rng = np.random.default_rng(0)
    for i in written:
        X[i] = rng.standard_normal(d, dtype=np.float32)
    X.flush()
    for rows in visited.values():
        assert (rows > 2**31 // d).sum() > 100
        assert (rows > 2**32 // d).any()
    before = private_bytes()
    X = np.memmap(folder / "X", np.float32, "r", shape=(n, d))
    problem = fl.Problem(X, y, loss="logistic", l2=L2)
    row = lambda i: np.asarray(X[i], np.float64)  # noqa: E731
    assert problem.X is X
    assert_objective_and_gradient_are_those_of(written, problem, row)
    norms = np.array([row(i) @ row(i) for i in written])
    assert problem.row_norms().largest == pytest.approx(norms.max(), rel=1e-12)
    assert problem.row_norms().mean_square == pytest.approx(norms.sum() / n, rel=1e-12)
    for sampling in SAMPLINGS:
        assert_steps_are_those_of_numpy(problem, sampling, row)
    assert private_bytes() - before < 256 << 20


def test_packed_rows_beyond_two_to_the_31_entries():
    """The copy is of 2^31 entries in memory, float32: 8.6 GB; what is copied needs none."""
    n, d = 2**21 + 1_000, 1_030
    with open("/proc/meminfo") as file:
        available = next(1024 * int(line.split()[1]) for line in file if line.startswith("MemAvailable"))
    if available < 12 << 30:
        pytest.skip(f"needs 12 GB of memory, {available >> 30} GB are available")
    X, y = np.zeros((n, d), np.float32), labels(n)
    order = Shards(X, y, n_workers=WORKERS).order
    written = np.concatenate([order[:STEPS], order[2**31 // d - STEPS : 2**31 // d + STEPS], order[-STEPS:]])
    rng = np.random.default_rng(0)
    for i in written:
        X[i] = rng.standard_normal(d, dtype=np.float32)
    shards = Shards(X, y, n_workers=WORKERS, layout="packed", n_threads=2)
    assert shards.n_copied_bytes == X.nbytes + y.nbytes
    packed, packed_y, _ = shards._packed
    for at in (0, 1, 2**31 // d - 1, 2**31 // d, 2**31 // d + 1, n - 1):
        assert packed[at].any()
        np.testing.assert_array_equal(packed[at], X[order[at]])
    np.testing.assert_array_equal(packed_y, y[order])


def test_csr_beyond_two_to_the_31_stored_entries(folder):
    """Long rows of holes first, so that all others lie beyond: column 0 with value 0, as often as they are long."""
    n_long, length, n_short, entries, d = 1_024, 2**21, 40_000, 72, 3_000
    n, n_stored = n_long + n_short, n_long * length + n_short * entries
    indptr = np.concatenate([[0], np.cumsum(np.repeat([length, entries], [n_long, n_short]))]).astype(np.int64)
    values = np.memmap(folder / "data", np.float32, "w+", shape=n_stored)
    indices = np.memmap(folder / "indices", np.int64, "w+", shape=n_stored)
    rng = np.random.default_rng(0)
    far = slice(n_long * length, n_stored)
    assert far.start >= 2**31
    values[far] = rng.standard_normal(n_short * entries, dtype=np.float32)
    indices[far] = rng.integers(0, d, n_short * entries)
    for i in (0, n_long // 2, n_long - 1):  # at both ends of the long rows, on either side of 2^30 too
        for at in (indptr[i], indptr[i + 1] - 1):
            values[at], indices[at] = rng.standard_normal(), rng.integers(0, d)
    values.flush(), indices.flush()
    values = np.memmap(folder / "data", np.float32, "r", shape=n_stored)
    indices = np.memmap(folder / "indices", np.int64, "r", shape=n_stored)
    before = private_bytes()
    X = sparse.csr_array((values, indices, indptr), shape=(n, d))
    y = labels(n)
    problem = fl.Problem(X, y, loss="logistic", l2=L2)
    assert problem.n_entries == n_stored > 2**31
    assert is_memory_mapped(problem.X)
    assert np.shares_memory(problem.X.data, values)
    assert np.shares_memory(problem.X.indices, indices)

    def row(i):
        at = slice(indptr[i], indptr[i + 1])
        if i >= n_long:
            return np.bincount(indices[at], np.asarray(values[at], np.float64), d)
        ends = [indptr[i], indptr[i + 1] - 1]
        return np.bincount(indices[ends], np.asarray(values[ends], np.float64), d)

    assert_objective_and_gradient_are_those_of([0, n_long // 2, n_long - 1, *range(n_long, n)], problem, row)
    for sampling in SAMPLINGS:
        assert (visits(problem.X, problem.y, sampling) >= n_long).sum() > STEPS * WORKERS // 2
        assert_steps_are_those_of_numpy(problem, sampling, row)
    assert private_bytes() - before < 256 << 20
