"""estimate: the constants of a problem, in the way its size allows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from .. import arguments
from ..problem import Problem
from . import eigenbasis, matrix_free, sampled
from .constants import MOST_PARAMS, Constants
from .rows import without_empty_columns


def estimate(
    problem: Problem,
    w: npt.ArrayLike | None = None,
    *,
    n_rows: int | None = None,
    seed: int = 0,
    confidence: float = 0.95,
) -> Constants:
    """Return the constants of the problem at w, and how sure they are.

    Up to 2,000 parameters from all rows: exact, but for bounds of the stability limit that are near each other; some
    six passes of a matrix product over the data and one eigendecomposition. With n_rows, from a sample of them, with
    intervals by the delta method. Beyond, from all rows by products of the Hessian with vectors: the ends of the
    spectrum by a Lanczos recursion, what noise meets by random vectors that have its covariance.

    Parameters
    ----------
    problem : Problem
        Dense or CSR.
    w : array, shape (n_params,), or None
        Where; None is the optimum, which is computed if it is not known yet.
    n_rows : int or None
        Rows to draw, at least 20 for each parameter, of which there may be 2,000; None, or as many as there are, is
        all.
    seed : int
        Of what is drawn.
    confidence : float
        Of the intervals, between 0 and 1.

    Returns
    -------
    Constants

    Raises
    ------
    ValueError
        No optimum (``Problem.optimum``); too few rows; an argument that does not fit; beyond 2,000 parameters an
        interval too wide to be of use.

    Examples
    --------
    >>> X = np.array([[1.0, 0.0], [0.0, 2.0], [1.0, 0.0], [0.0, 2.0]])
    >>> found = estimate(Problem(X, np.array([1.0, 2.0, -1.0, -2.0])))
    >>> found.mu, found.lipschitz, found.noise, found.mu_eff, found.floor
    (0.5, 2.0, 8.5, 1.7, 0.625)
    >>> found.interval("noise")
    (8.5, 8.5)
    """
    confidence = arguments.number("confidence", confidence, above=0.0, below=1.0, hint="; 0.95 is usual")
    seed = arguments.seed_of(seed)
    problem = arguments.a_problem(problem)
    if n_rows is not None:
        n_rows = arguments.whole("n_rows", n_rows)
    if problem.X is not None:
        problem.row_norms()  # of a mapped file they are not known yet, nor whether it holds NaN
    point = _point(problem, w)
    if problem.n_params > MOST_PARAMS:
        if n_rows is not None:
            raise ValueError(
                f"n_rows is for at most {MOST_PARAMS} parameters, got {problem.n_params}: beyond, all rows are read; "
                "leave n_rows out"
            )
        return _of_many(problem, point, seed, confidence)
    if n_rows is None or n_rows >= problem.n_samples:
        return eigenbasis.constants_of(problem, point)
    return sampled.constants_of_sample(problem, point, n_rows, seed, confidence)


def _of_many(problem: Problem, point: npt.NDArray[np.float64], seed: int, confidence: float) -> Constants:
    """Return the constants where parameters are many; hashed columns that no row holds cost nothing."""
    if not problem.is_sparse:
        return matrix_free.constants_by_products(problem, point, seed, confidence)
    narrow, left = without_empty_columns(problem)
    if narrow.n_params > MOST_PARAMS:
        found = matrix_free.constants_by_products(narrow, point[left], seed, confidence)
    else:
        found = eigenbasis.constants_of(narrow, point[left])
    if left.all() or problem.l2 == 0.0:
        return found
    low, high = (min(bound, problem.l2) for bound in found.interval("mu"))
    intervals = {name: bounds for name, bounds in found.intervals.items() if name != "mu"}
    return replace(
        found, mu=min(found.mu, problem.l2), intervals=intervals | ({"mu": (low, high)} if low < high else {})
    )


def _point(problem: Problem, w: npt.ArrayLike | None) -> npt.NDArray[np.float64]:
    if w is None:
        return problem.optimum()
    return arguments.point_of(problem, "w", w)
