"""The largest step at which local SGD on least squares is stable: the longer the period, the smaller it is.

Beyond it the mean excess grows without bound. Where a few rows are large hardly any run shows that, so neither two
tuning runs nor a hundred replicates tell, and it has to be computed. Workers at a spread A see noise of covariance
Sigma + N(A), which with period N and P workers spreads them by w_ij eta^2 (Sigma + N(A))_ij / (1 - rho_i rho_j), w of
``periods.interpolation``: from one worker's at N = infinity to 1 / P of it at N = 1. The limit is where that map of A
no longer shrinks it; exact at both ends. (Derived for this package.)
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..cores import one_blas_thread
from .expansion import Expansion
from .periods import interpolation

Matrix = npt.NDArray[np.float64]

SETTLED, MOST_PASSES, HALVINGS = 1e-3, 40, 50


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
