"""The largest step at which local SGD on least squares is stable: the longer the period, the smaller it is.

Beyond it the mean excess grows without bound. Where a few rows are large hardly any run shows that, so neither two
tuning runs nor a hundred replicates tell, and it has to be computed. Workers at a spread A see noise of covariance
Sigma + N(A), which with period N and P workers spreads them by w_ij eta^2 (Sigma + N(A))_ij / (1 - rho_i rho_j), w of
``periods.interpolation``: from one worker's at N = infinity to 1 / P of it at N = 1. The limit is where that map of A
no longer shrinks it: exact at both ends, between them low by up to 13% (seen). (Derived for this package.)

Where no matrix over rows and parameters is to be had, three constants give a lower bound: at noise scaled by w the
growth is (1 - w) / 2 that of the mean and w that of one worker for any A, so at most so for the one that grows most.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from ..cores import one_blas_thread
from ..problem import Problem
from .constants import Constants
from .expansion import Expansion
from .periods import interpolation

Matrix = npt.NDArray[np.float64]

SETTLED, MOST_PASSES, HALVINGS = 1e-3, 40, 50
# Up to so many parameters a limit from so many rows takes half a second at the most.
FEW_PARAMS, LIMIT_ROWS = 128, 10_000


def least_squares_limit(around: Expansion, period: float, n_workers: int, batch_size: int = 1) -> float:
    """Return the limit of a constant step; a period of infinity is one-shot averaging."""
    eigenvalues = around.eigenvalues
    sums, products = eigenvalues[:, None] + eigenvalues, np.outer(eigenvalues, eigenvalues)

    def resistance(eta: float) -> Matrix:
        contraction = eta * sums - eta**2 * products
        return contraction / interpolation(period, contraction, 1.0 / n_workers)

    spread, eta = np.diag(1.0 / eigenvalues), np.inf
    with one_blas_thread(len(eigenvalues)):
        for _ in range(MOST_PASSES):
            noise = around.added_noise(spread) / batch_size
            grown = float((spread * noise).sum())
            if not grown > 0.0:  # every row alike: only the mean can grow
                return 2.0 / float(eigenvalues[-1])
            # The step at which this spread, the one that grows first or nearly so, neither grows nor shrinks.
            low, high = 0.0, 2.0 / float(eigenvalues[-1])
            for _ in range(HALVINGS):
                middle = 0.5 * (low + high)
                shrinks = middle**2 * grown < float((spread * resistance(middle) * spread).sum())
                low, high = (middle, high) if shrinks else (low, middle)
            before, eta = eta, low
            if abs(before - eta) <= SETTLED * eta:
                break
            spread = noise / resistance(eta)
            spread /= np.linalg.norm(spread)
    return eta


def limit_from_constants(constants: Constants, period: float, n_workers: int, batch_size: int = 1) -> float:
    """Return a lower bound of the limit, from lipschitz and stability_limit; exact for one row a step, one-shot.

    Contracts the most what is curved the most, and what contracts the most is averaged the least in a round.
    """
    lipschitz = constants.lipschitz

    def grows(eta: float) -> bool:
        contraction = np.array(eta * lipschitz * (2.0 - eta * lipschitz))
        share = float(interpolation(period, contraction, 1.0 / n_workers)) / batch_size
        return eta * ((1.0 - share) * 0.5 * lipschitz + share / constants.stability_limit) >= 1.0

    low, high = 0.0, 2.0 / lipschitz
    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        low, high = (low, middle) if grows(middle) else (middle, high)
    return low


def limits_of(problem: Problem, constants: Constants) -> Callable[[float, int, int], float]:
    """Return the function of period, n_workers and batch_size that gives the limit on a least-squares problem.

    From a sample of the rows, scaled so that one worker's limit is the one that all rows give: a few large rows
    decide, which a sample may have or not. Beyond 128 parameters from the constants, which may be a third lower.
    """
    if problem.n_params > FEW_PARAMS:
        return lambda period, n_workers, batch_size: limit_from_constants(constants, period, n_workers, batch_size)
    around = Expansion(problem, LIMIT_ROWS)
    scale = min(1.0, constants.stability_limit / least_squares_limit(around, np.inf, 1))

    def limit(period: float, n_workers: int, batch_size: int) -> float:
        return scale * least_squares_limit(around, period, n_workers, batch_size)

    return limit
