"""The way of a run: where the mean goes, and what noise and spread there are on it, from stop to stop."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .affine import Steps, at, diagonal_steps
from .closure import Closure, Where
from .stops import stops_of

Vector = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float64]

# Between two stops so near that nothing decays, exp(-x) of so small an x, closed forms would cancel.
NEAR = 0.1


@dataclass(frozen=True)
class Path:
    """What a run does on its way, in the eigenbasis of the Hessian at the optimum.

    Attributes
    ----------
    mean : array, shape (m,)
        Mean over the steps of the workers' mean, less w*.
    covariance : array, shape (m, m)
        Of w_bar, of noise whose covariance is that of a gradient less ``Closure.cancels``.
    row_spread : array, shape (2, n_rows)
        Mean over the steps of the variance and the excess kurtosis of the sampled rows' predictions.
    end : Where
        Where it ends.
    """

    mean: Vector
    covariance: Matrix
    row_spread: Matrix
    end: Where


def follow(closure: Closure, start: Vector, etas: Vector, lengths: npt.NDArray[np.int64]) -> Path:
    """Return the path of a run (derived for this package).

    Parameters
    ----------
    closure : Closure
    start : array, shape (m,)
        Where the workers start, less w*.
    etas : array, shape (n_steps,)
    lengths : int array, shape (n_rounds,)
    """
    n = len(etas)
    stops, sizes, periods = stops_of(etas, lengths, float(closure.around.eigenvalues[-1]))
    passed = np.concatenate([[0.0], np.cumsum(etas)])
    averaged = np.concatenate([[0], np.cumsum(lengths)])  # the steps after which workers are alike
    here, t, eta = closure.at(start, float(etas[0])), 0, float(etas[0])
    total, row_spread = np.zeros_like(start), np.zeros_like(here.row_spread[:, 0])
    fluctuation = at(np.zeros((len(start), 0)))
    for next_t, next_eta, period in zip(stops.tolist(), sizes.tolist(), periods.tolist(), strict=True):
        before, length = here, passed[next_t] - passed[t]
        age = None
        last, end = averaged[np.searchsorted(averaged, next_t) + np.array([-1, 0])]
        if end - last > last:  # a round longer than all before: it is no mean of its like
            age = (passed[next_t] - passed[last]) / next_eta if last else np.inf
        here = closure.after(before, length, next_eta, period, age)
        share = (next_t - t) / n
        total += share * _mean_between(before, here, length, eta, next_eta)
        fluctuation = fluctuation.then(_fluctuation(closure, before, here, length, next_t - t))
        row_spread += share * 0.5 * (before.row_spread.mean(axis=1) + here.row_spread.mean(axis=1))
        t, eta = next_t, next_eta
    # The sum over steps 1 .. n, against the integral from 0: for linear gradients exactly this.
    return Path(total - (start - here.centre) / n, fluctuation.noise_s / n**2, row_spread, here)


def _mean_between(before: Where, here: Where, length: float, eta: float, next_eta: float) -> Vector:
    """Return the mean over the steps between two stops of where the mean is.

    With dz/ds = q - lambda z, q and the steps in a unit of s, 1 / eta, linear in s.
    """
    turned, eigenvalues = here.seen.directions.T, here.seen.eigenvalues
    z, rate = turned @ before.centre, turned @ before.velocity
    z_end, rate_end = turned @ here.centre, turned @ here.velocity
    q, q_end = rate + eigenvalues * z, rate_end + eigenvalues * z_end
    # Steps in the length, as shares of all: their mean is 1.
    p, p_end = 2.0 * next_eta / (eta + next_eta), 2.0 * eta / (eta + next_eta)
    plain = (z - z_end) / length + 0.5 * (q + q_end)  # lambda times the mean of z over s
    driven = (p * (2.0 * q + q_end) + p_end * (q + 2.0 * q_end)) / 6.0
    x = eigenvalues * length
    with np.errstate(divide="ignore", invalid="ignore"):
        decayed = ((p * z - p_end * z_end) / length + (p_end - p) * plain / x + driven) / eigenvalues
    slope, slope_end = p * rate + z * (p_end - p) / length, p_end * rate_end + z_end * (p_end - p) / length
    near = 0.5 * (p * z + p_end * z_end) + (slope - slope_end) * length / 12.0
    return here.seen.directions @ np.where(x < NEAR, near, decayed)


def _fluctuation(closure: Closure, before: Where, here: Where, length: float, n: int) -> Steps:
    """Return the n steps between two stops as they act on what noise does to the workers' mean."""
    eigenvalues, directions = np.linalg.eigh(0.5 * (before.seen.hessian + here.seen.hessian))
    eta, noise = length / n, 0.5 * (before.seen.noise + here.seen.noise) - closure.cancels
    along = closure.w2 * eta**2 * (directions.T @ noise @ directions)
    return diagonal_steps(1.0 - eta * eigenvalues, directions, np.zeros((len(along), 0)), along, n)
