"""What a row of the data contributes, at one point, to gradient, Hessian and third derivative."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..problem import Problem

Vector = npt.NDArray[np.float64]

# The third derivative of a loss is a central difference of its second: to some 1e-9 of its size.
STEP = 1e-4


@dataclass(frozen=True)
class Terms:
    """Derivatives of the loss at the predictions of some rows, times the rows' weights; float64, one a row."""

    slope: Vector
    curvature: Vector
    third: Vector


def terms(problem: Problem, rows: slice, predictions: Vector) -> Terms:
    """Return the terms of these rows, whose <x, w> are given."""
    loss = problem.loss
    slope = np.asarray(loss.dloss(predictions, problem.y[rows]))
    curvature = loss.d2loss(predictions)
    third = (loss.d2loss(predictions + STEP) - loss.d2loss(predictions - STEP)) / (2.0 * STEP)
    if problem.sample_weight is None:
        return Terms(slope, curvature, third)
    weight = problem.sample_weight[rows].astype(np.float64)
    return Terms(weight * slope, weight * curvature, weight * third)


def penalty(problem: Problem) -> Vector:
    """Return l2 for every coordinate that is penalised, 0 for the intercept."""
    l2 = np.full(problem.n_params, problem.l2)
    l2[problem.n_features :] = 0.0
    return l2


def form(block: npt.NDArray[np.float64], matrix: npt.NDArray[np.float64]) -> Vector:
    """Return x' A x of these rows: of a spread A of w the variance of their predictions."""
    return np.einsum("ij,ij->i", block @ matrix, block)


def some_of(problem: Problem, chosen: npt.NDArray[np.int64]) -> Problem:
    """Return the problem of the chosen rows alone, the penalty as it is."""
    weights = problem.sample_weight
    return Problem(
        problem.X[chosen],
        problem.y[chosen],
        loss=problem.loss,
        l2=problem.l2,
        sample_weight=None if weights is None else weights[chosen],
        fit_intercept=problem.fit_intercept,
    )


def without_empty_columns(problem: Problem) -> tuple[Problem, npt.NDArray[np.bool_]]:
    """Return a CSR problem without the columns that no row holds, and which coordinates of w are left.

    In those directions the Hessian is l2, and nothing happens.
    """
    X, n_entries = problem.X, problem.n_entries
    columns = X.indices[:n_entries]
    held = np.zeros(problem.n_features, dtype=bool)
    held[columns] = True
    place = (np.cumsum(held) - 1).astype(columns.dtype)
    shape = problem.n_samples, max(1, int(held.sum()))
    narrow = type(X)((X.data[:n_entries], place[columns], X.indptr), shape=shape)
    left = np.append(held, True) if problem.fit_intercept else held
    if not held.any():
        left[0] = True  # a problem has at least one column
    return (
        Problem(
            narrow,
            problem.y,
            loss=problem.loss,
            l2=problem.l2,
            sample_weight=problem.sample_weight,
            fit_intercept=problem.fit_intercept,
        ),
        left,
    )


def sizes(problem: Problem) -> Vector:
    """Return s |x|^2 of every row without the intercept's 1, s its weight."""
    found = np.empty(problem.n_samples)
    if problem.is_sparse:
        X = problem.X.astype(np.float64)
        found[:] = np.asarray(X.multiply(X).sum(axis=1)).ravel()
    else:
        for rows, block in problem.blocks():
            own = block[:, : problem.n_features]
            found[rows] = np.einsum("ij,ij->i", own, own)
    return found if problem.sample_weight is None else found * problem.sample_weight


def drawn(problem: Problem, n_rows: int, seed: int) -> npt.NDArray[np.int64]:
    """Return n_rows different rows, ascending, drawn by the seed."""
    return np.sort(np.random.default_rng(seed).choice(problem.n_samples, n_rows, replace=False))


def least_curvature(problem: Problem, product: Callable[[Vector], Vector]) -> float:
    """Return a lower bound of the Hessian's eigenvalues that is proved: l2, or less where an intercept is free.

    With c the mean curvature and q the mean of curvature times x, H - diag(l2, .., l2, 0) is at least
    (q, c) (q, c)' / c (Cauchy and Schwarz); what that leaves is a matrix of two dimensions.

    Parameters
    ----------
    problem : Problem
    product : function
        ``problem.hessian_product`` there; one call if there is an intercept.
    """
    if not problem.fit_intercept or problem.l2 == 0.0:
        return problem.l2
    column = product(np.eye(1, problem.n_params, problem.n_params - 1)[0])
    q, c = float(np.linalg.norm(column[:-1])), float(column[-1])
    if not c > 0.0:
        return 0.0
    # The smaller root, without a difference: its product with the larger one is l2 c.
    half = 0.5 * (problem.l2 + q * q / c + c)
    return min(problem.l2, problem.l2 * c / (half + float(np.sqrt(max(half * half - problem.l2 * c, 0.0)))))
