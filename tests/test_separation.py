"""Data of which some rows, not all, can be told from the others: no minimum without a penalty."""

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.optimize import linprog

import fastlsgd as fl


def mixed(n, d, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d))
    return X, np.where(X @ np.full(d, 0.5) + rng.logistic(size=n) > 0, 1.0, -1.0), rng


def with_rare_levels(n=1000, d=4, k=3, scale=1.0):
    """Rows of which some hold columns that are 0 in all rows of the other label."""
    X, y, rng = mixed(n, d)
    rare = np.zeros((n, k))
    for j in range(k):
        rare[rng.choice(np.flatnonzero(y == (1 if j % 2 else -1)), 1 + 3 * j, replace=False), j] = scale
    return np.hstack([X, rare]), y, rng


def has_free_direction(X, y):
    """Whether some v makes rows better and none worse, by linear programming."""
    signed = y[:, None] * X
    return -linprog(-signed.sum(axis=0), A_ub=-signed, b_ub=np.zeros(len(y)), bounds=(-1, 1)).fun > 1e-6


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("scale", [1.0, 1e-6, 1e6])
@pytest.mark.parametrize("as_rows", [np.asarray, sp.csr_array])
def test_a_column_of_one_label_leaves_no_minimum(dtype, scale, as_rows):
    X, y, _ = with_rare_levels(scale=scale)
    assert has_free_direction(X / np.abs(X).max(axis=0), y)
    problem = fl.Problem(as_rows(X.astype(dtype)), y, loss="logistic", fit_intercept=True)
    with pytest.raises(ValueError, match=r"12 of 1000 rows \(labelled -1 and \+1\) can be told .* add l2 > 0"):
        problem.optimum()
    assert np.isfinite(fl.Problem(problem.X, y, loss="logistic", l2=1e-8).optimum()).all()


def test_the_message_names_the_column_and_the_rows():
    X, y, _ = with_rare_levels(k=1)
    with pytest.raises(
        ValueError, match=r"1 of 1000 rows \(labelled -1\) can be told from all others, by column 4 of X"
    ):
        fl.Problem(X, y, loss="logistic").optimum()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_columns_that_hide_the_direction_change_nothing(seed):
    X, y, _ = with_rare_levels()
    turn = np.random.default_rng(seed).standard_normal((X.shape[1], X.shape[1]))
    with pytest.raises(ValueError, match="12 of 1000 rows"):
        fl.Problem(X @ turn, y, loss="logistic").optimum()


def test_rows_at_all_distances_are_found():
    """Half of the rows lie on a plane, where labels overlap; the others are separated by it."""
    X, y, rng = mixed(400, 3)
    X[:, 0] = 0.0
    beyond = rng.standard_normal((200, 3))
    with pytest.raises(ValueError, match="200 of 600 rows"):
        fl.Problem(np.vstack([X, beyond]), np.append(y, np.sign(beyond[:, 0])), loss="logistic").optimum()


@pytest.mark.parametrize("n_features", [600, 6000])
def test_wide_rows_are_looked_at_without_a_matrix(n_features):
    X, y, _ = with_rare_levels()
    wide = sp.random_array((1000, n_features), density=0.0, format="lil", dtype=np.float64, rng=0)
    wide[:, : X.shape[1]] = X
    rows = sp.csr_array(wide)
    with pytest.raises(ValueError, match="12 of 1000 rows"):
        fl.Problem(rows, y, loss="logistic", fit_intercept=True).optimum()


def test_a_row_without_weight_does_not_hold_others():
    X, y, _ = with_rare_levels(k=1)
    row = int(np.flatnonzero(X[:, 4])[0])
    X, y, weights = np.vstack([X, X[row]]), np.append(y, -y[row]), np.append(np.ones(1000), 0.0)
    with pytest.raises(ValueError, match="1 of 1001 rows"):
        fl.Problem(X, y, loss="logistic", sample_weight=weights).optimum()
    weights[-1] = 1e-3
    assert np.isfinite(fl.Problem(X, y, loss="logistic", sample_weight=weights).optimum()).all()


@pytest.mark.parametrize(
    ("X", "y"),
    [
        pytest.param([[1.0], [1.0], [1.0], [1e-7]], [1, 1, 1, -1], id="a small row objects"),
        pytest.param([[1.0], [1.0], [1.0], [1e-12]], [1, 1, 1, -1], id="a row too small to be felt objects"),
        pytest.param([[1.0, 0], [1, 0], [1, 1e-9], [1, 1], [-1, 1]], [1, -1, -1, 1, 1], id="a small entry objects"),
    ],
)
def test_rows_that_hardly_object_do(X, y):
    X, y = np.array(X), np.array(y, float)
    assert np.isfinite(fl.Problem(X, y, loss="logistic").optimum()).all()


@pytest.mark.parametrize("seed", range(20))
def test_overlapping_rows_are_never_refused_however_they_are_scaled(seed):
    X, y, rng = mixed(int(np.random.default_rng(seed).integers(30, 60)), 4, seed)
    assert not has_free_direction(X, y)
    scaled = X * 10.0 ** rng.uniform(-8, 8, 4)
    optimum = fl.Problem(scaled, y, loss="logistic").optimum()
    np.testing.assert_allclose(scaled @ optimum, X @ fl.Problem(X, y, loss="logistic").optimum(), rtol=1e-6)


def test_rows_of_small_numbers_agree_with_linear_programming():
    """Entries -1, 0 and 1 in few rows: with and without a minimum, about as often."""
    rng, found = np.random.default_rng(0), []
    for _ in range(200):
        X, y = rng.integers(-1, 2, (12, 4)).astype(float), rng.choice([-1.0, 1.0], 12)
        try:
            fl.Problem(X, y, loss="logistic").optimum()
            free = False
        except ValueError:
            free = True
        assert free == has_free_direction(X, y)
        found.append(free)
    assert 20 < sum(found) < 180
