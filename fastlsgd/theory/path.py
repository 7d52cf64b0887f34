"""The way of a run: where the mean goes, and what noise and spread there are on it, from stop to stop."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from .affine import Steps, at, diagonal_steps
from .closure import Closure, Where, driven
from .stops import stops_of

Vector = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float64]

# Between two stops so near that nothing decays, exp(-x) of so small an x, closed forms would cancel.
NEAR = 0.1
# Steps that change within the last round are taken as constant over so many parts of what is between two stops.
PARTS = 16


@dataclass(frozen=True)
class Path:
    """What a run does on its way, in the eigenbasis of the Hessian at the optimum.

    Attributes
    ----------
    mean : array, shape (m,)
        Mean over the steps of the workers' mean, less w*.
    covariance : array, shape (m, m)
        Of w_bar, of noise whose covariance is that of a gradient less ``Closure.cancels``.
    beyond : array, shape (m,)
        What of ``mean`` is of terms beyond second order in the workers' spread.
    gathered : array, shape (m, m)
        What its last round has added to the covariance of a worker's iterate.
    end : Where
        Where it ends.
    """

    mean: Vector
    covariance: Matrix
    beyond: Vector
    gathered: Matrix
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
    # What terms beyond second order have moved the mean by goes its way as the mean does, in a Where of its own.
    off = replace(here, centre=np.zeros_like(start), velocity=np.zeros_like(start))
    total, beyond = np.zeros_like(start), np.zeros_like(start)
    fluctuation = at(np.zeros((len(start), 0)))
    last_round, gathered = n - int(lengths[-1]), np.zeros((len(start), len(start)))
    for next_t, next_eta, period in zip(stops.tolist(), sizes.tolist(), periods.tolist(), strict=True):
        before, length = here, passed[next_t] - passed[t]
        age = None
        last, end = averaged[np.searchsorted(averaged, next_t) + np.array([-1, 0])]
        # A round longer than all before is no mean of its like; averaged after every step, workers are alike at each.
        if period > 1 and end - last > last:
            age = (passed[next_t] - passed[last]) / next_eta if last else np.inf
        here = closure.after(before, length, next_eta, period, age)
        share = (next_t - t) / n
        total += share * _mean_between(before, here, length, eta, next_eta)
        fluctuation = fluctuation.then(_fluctuation(closure, before, here, length, next_t - t))
        if next_t > last_round:
            first = max(t, last_round)
            part = (passed[first] - passed[t]) / length
            gathered = _gathered(closure, gathered, before, here, part, etas[first:next_t], lengths)
        was, off = off, _driven_off(closure, off, here, length)
        beyond += share * _mean_between(was, off, length, eta, next_eta)
        t, eta = next_t, next_eta
    # The sum over steps 1 .. n, against the integral from 0: for linear gradients exactly this.
    return Path(total - (start - here.centre) / n, fluctuation.noise_s / n**2, beyond, gathered, here)


def _driven_off(closure: Closure, off: Where, here: Where, length: float) -> Where:
    """Return by how much terms beyond second order have moved the mean, a stop later."""
    directions, back = here.seen.directions, here.seen.directions.T
    centre, velocity = driven(
        back @ off.centre, back @ off.velocity, -back @ closure.beyond(here), here.seen.eigenvalues, length
    )
    return replace(here, centre=directions @ centre, velocity=directions @ velocity)


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


def _gathered(
    closure: Closure, gathered: Matrix, before: Where, here: Where, part: float, etas: Vector,
    lengths: npt.NDArray[np.int64],
) -> Matrix:  # fmt: skip
    """Return what the last round has added to a worker's spread, after these steps of it that end at a stop.

    Step by step: U -> r U + eta^2 Sigma. ``part`` of what is between the stops is over when they begin.
    """
    eigenvalues, directions = np.linalg.eigh(0.5 * (before.seen.hessian + here.seen.hessian))
    turned = directions.T
    began, ended, gathered = (
        turned @ matrix @ directions for matrix in (before.seen.noise, here.seen.noise, gathered)
    )
    period = float(lengths[-1]) if len(lengths) > 1 else np.inf
    is_constant, done = bool((etas == etas[0]).all()), 0.0
    for steps in np.array_split(etas, 1 if is_constant else min(len(etas), PARTS)):
        eta, n, length = float(steps.mean()), len(steps), float(steps.sum())
        at_middle = part + (1.0 - part) * (done + 0.5 * length) / float(etas.sum())
        settles = closure.settles(eigenvalues, eta, period)
        left = (1.0 - settles) ** n
        many = np.where(settles > 1e-9, (1.0 - left) / np.maximum(settles, 1e-9), n)
        gathered = left * gathered + many * float((steps**2).mean()) * (began + at_middle * (ended - began))
        done += length
    return directions @ gathered @ turned
