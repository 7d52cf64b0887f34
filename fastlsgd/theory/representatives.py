"""Some rows that stand for all: which ones, and what each counts.

A row is drawn with a probability that is a sum of three in equal parts: the same for all; in proportion to its
leverage s x' H^-1 x, so that a feature few rows hold is not missed; and to its size s |x|^2, as a few large rows
decide how large a step may be. It counts the inverse of that, so means over the sample are right on average, and no
row counts more than three times what it would if all were drawn alike. Drawn evenly along the rows in the order of
that probability (systematic sampling, Madow 1949; recalled), the sample has as many rows of every kind as it should.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..problem import Problem
from .rows import sizes

Vector = npt.NDArray[np.float64]


def representatives(
    problem: Problem, eigenvalues: Vector, directions: npt.NDArray[np.float64], n_rows: int
) -> tuple[npt.NDArray[np.int64], Vector]:
    """Return so many rows, ascending, and what each counts in means over them; one pass over the data.

    Parameters
    ----------
    problem : Problem
    eigenvalues : array, shape (m,)
        Of the Hessian, positive.
    directions : array, shape (n_params, m)
        Its eigenvectors, as columns.
    n_rows : int
        Fewer than all.
    """
    probability, rng = inclusion(problem, eigenvalues, directions, n_rows), np.random.default_rng(0)
    order = np.lexsort((rng.random(problem.n_samples), probability))
    passed = np.cumsum(probability[order])
    places = np.searchsorted(passed, (rng.random() + np.arange(n_rows)) * (passed[-1] / n_rows), side="right")
    chosen = np.sort(order[places])
    return chosen, n_rows / (problem.n_samples * probability[chosen])


def inclusion(problem: Problem, eigenvalues: Vector, directions: npt.NDArray[np.float64], n_rows: int) -> Vector:
    """Return the probability of every row to be among so many: at most 1, n_rows in sum."""
    leverage = np.empty(problem.n_samples)
    for rows, block in problem.blocks():
        leverage[rows] = (block @ directions) ** 2 @ (1.0 / eigenvalues)
    if problem.sample_weight is not None:
        leverage *= problem.sample_weight
    parts = [np.ones(problem.n_samples), leverage, sizes(problem)]
    share = sum(part / part.sum() for part in parts if part.sum() > 0.0)
    found = np.zeros(problem.n_samples)
    left = np.ones(problem.n_samples, dtype=bool)
    while True:  # what would be more than certain is certain, and the others share what is left
        found[left] = share[left] * ((n_rows - np.count_nonzero(~left)) / share[left].sum())
        if not (found > 1.0).any():
            return found
        left &= found < 1.0
        found[~left] = 1.0
