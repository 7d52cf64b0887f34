"""The variance of w_bar when every epoch visits every row once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]


def reshuffled_variance(
    eigenvalues: Vector, noise: Vector, etas: Vector, epoch_rows: int, batch_size: int = 1
) -> Vector:
    """Return the variance of one worker's average per eigenvector, rows reshuffled every epoch.

    The average is a weighted sum of the steps' noises, sum_m c_m xi_m with c_m = eta_m r_m, r_m = 1/n
    + (1 - eta_(m+1) lambda) r_(m+1), r_n = 1/n. Drawn without replacement from L rows whose noises sum to zero, the
    noises of an epoch have the variance noise L / (L - 1) (sum c^2 - (sum c)^2 / L): where all c are equal,
    over a whole epoch, nothing is left. Exact for noise that does not depend on the iterate, epochs of whole steps
    (rounded here), and means over workers as far as their shards have the same mean. (Derived for this package.)

    Parameters
    ----------
    eigenvalues, noise : array, shape (m,)
        Of the Hessian; the variance of a step's noise along its eigenvector.
    etas : array, shape (n_steps,)
    epoch_rows : int
        Rows of a worker's shard.
    batch_size : int
        Rows of a step.
    """
    n, length = len(etas), max(2, round(epoch_rows / batch_size))
    squares, sums = np.zeros(len(eigenvalues)), np.zeros(len(eigenvalues))
    variance = np.zeros(len(eigenvalues))
    # From the last step back; c of a whole stretch at once where the step size is constant.
    first = (n - 1) // length * length
    r = np.zeros(len(eigenvalues))
    for begin in range(first, -1, -length):
        c, r = _gains(eigenvalues, etas[begin : min(begin + length, n)], r, n, etas[min(begin + length, n - 1)])
        squares, sums = (c**2).sum(axis=0), c.sum(axis=0)
        variance += squares - sums**2 / length
    return noise * variance * length / (length - 1)


def _gains(eigenvalues: Vector, etas: Vector, after: Vector, n: int, next_eta: float) -> tuple[Vector, Vector]:
    """Return c of these steps, shape (len(etas), m), and r of the first; `after` is r of the step behind them."""
    if (etas == etas[0]).all() and (next_eta == etas[0] or not after.any()):
        # r_m lambda eta n = 1 - rho^(n - m + 1), and for any r behind: a geometric approach to that fixed point.
        contraction = etas[0] * eigenvalues
        ahead = np.arange(len(etas), 0, -1)[:, None]
        decay = np.exp(ahead * np.log1p(-np.minimum(contraction, 1.0 - 1e-12)))
        r = after * decay + (1.0 - decay) / (contraction * n)
        return etas[0] * r, r[0]
    r = np.empty((len(etas), len(eigenvalues)))
    for i in range(len(etas) - 1, -1, -1):
        after = 1.0 / n + (1.0 - (etas[i + 1] if i + 1 < len(etas) else next_eta) * eigenvalues) * after
        r[i] = after
    return etas[:, None] * r, r[0]
