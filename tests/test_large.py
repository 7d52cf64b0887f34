"""A matrix of more than 2^31 entries: a file with holes, of which only a few rows hold anything."""

import numpy as np
import pytest

import fastlsgd as fl

pytestmark = pytest.mark.long

D = 1030
N = 2**31 // D + 1000  # the last rows begin beyond entry 2^31
FAR = [0, 1, N // 2, N - 2, N - 1]


def mapped(path, dtype, shape):
    return np.memmap(path, dtype=dtype, mode="w+", shape=shape)


def values(k):
    return np.random.default_rng(k).standard_normal(D).astype(np.float32)


def labels():
    return np.where(np.arange(N) % 2 == 0, 1.0, -1.0).astype(np.float32)


def check(problem):
    """Objective and gradient at a point, against the rows that are not zero."""
    w = np.linspace(-1, 1, D)
    zeros = N - len(FAR)
    margins = np.array([problem.y[row] * (values(row).astype(np.float64) @ w) for row in FAR])
    total = np.logaddexp(0.0, -margins).sum() + zeros * np.log(2.0)
    assert problem.objective(w) == pytest.approx(total / N + 0.5 * problem.l2 * w @ w, rel=1e-12)
    slopes = -problem.y[FAR] / (1.0 + np.exp(margins))
    plain = sum(slope * values(row).astype(np.float64) for slope, row in zip(slopes, FAR, strict=True)) / N
    assert problem.gradient(w) - problem.l2 * w == pytest.approx(plain, rel=1e-9, abs=1e-18)


def visits_far_rows(problem, **options):
    """One epoch, contiguous shards: what workers end with comes from their own far rows alone."""
    run = fl.local_sgd(
        problem, n_workers=2, n_steps=N // 2, schedule=fl.OneShot(), step_size=fl.Constant(0.1),
        partition="contiguous", average=None, record=0, layout="view", **options,
    )  # fmt: skip
    # l2 is 0 and steps on zero rows change nothing: the mean lies in the span of the rows that hold something.
    span = np.array([values(row) for row in FAR], dtype=np.float64)
    coefficients, *_ = np.linalg.lstsq(span.T, run.w.astype(np.float64), rcond=None)
    assert span.T @ coefficients == pytest.approx(run.w, abs=1e-6)
    assert abs(coefficients[-2]) > 1e-3
    assert abs(coefficients[0]) > 1e-3


def test_dense_rows_beyond_two_to_the_31_entries(tmp_path):
    X = mapped(tmp_path / "X", np.float32, (N, D))
    assert X.size > 2**31
    for row in FAR:
        X[row] = values(row)
    problem = fl.Problem(X, labels(), loss="logistic", l2=1e-3)
    check(problem)
    flat = fl.Problem(X, labels(), loss="logistic")
    visits_far_rows(flat)
    visits_far_rows(flat, sampling="blocks")
