"""Exact moments of local SGD on given rows: least squares, shards that may differ, draws with replacement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import issparse

from ..arguments import averaging_weights, number, reals, record_steps, whole
from ..schedules import Schedule
from .rounds import round_lengths, step_sizes

Array = npt.NDArray[np.float64]
Shard = tuple[npt.ArrayLike, npt.ArrayLike]


@dataclass(frozen=True)
class FiniteMoments:
    """Means and second moments of a run, at one step or at each of several.

    If ``record`` was None for one step; else every attribute but hessian has one more axis, the first, one entry
    a record.

    Attributes
    ----------
    t : int or ndarray of int64
        Local steps done.
    mean, mean_bar : ndarray, shape (d,)
        E w of the mean iterate, E w_bar of the average over the run.
    second, second_bar : ndarray, shape (d, d)
        E (w - r)(w - r)^T and E (w_bar - r)(w_bar - r)^T, r the reference.
    worker : float or ndarray
        E sum_k weights_k |w_k - r|^2, just before the averaging where one follows step t.
    hessian : ndarray, shape (d, d)
        H of the weighted objective sum_k weights_k F_k.
    """

    t: Any
    mean: Array
    mean_bar: Array
    second: Array
    second_bar: Array
    worker: Any
    hessian: Array

    @property
    def e1(self) -> Any:
        """E |w - r|^2."""
        return np.trace(self.second, axis1=-2, axis2=-1)

    @property
    def e2(self) -> Any:
        """E |H (w_bar - r)|^2: with the optimum as reference the squared gradient at w_bar."""
        return np.einsum("...ij,ji->...", self.second_bar, self.hessian @ self.hessian)

    @property
    def e3(self) -> Any:
        """(1/2) E |H^(1/2) (w_bar - r)|^2: with the optimum as reference the excess objective of w_bar."""
        return 0.5 * np.einsum("...ij,ji->...", self.second_bar, self.hessian)

    @property
    def consensus(self) -> Any:
        """E sum_k weights_k |w_k - w|^2, just before the averaging: with equal weights a trace's consensus."""
        return self.worker - self.e1


def finite_moments(
    shards: Sequence[Shard],
    w0: npt.ArrayLike,
    periods: int | Sequence[int] | Schedule,
    etas: npt.ArrayLike,
    *,
    l2: float = 0.0,
    batch_size: int = 1,
    weights: npt.ArrayLike | None = None,
    reference: npt.ArrayLike | None = None,
    record: int | npt.ArrayLike | None = None,
) -> FiniteMoments:
    r"""Compute mean and second moments of local SGD on least squares over given rows, exactly.

    Worker k draws ``batch_size`` rows a step uniformly with replacement from its shard; its objective is
    F_k(w) = mean (1/2) (<x, w> - y)^2 + (l2/2) |w|^2 over its rows. Workers that all draw from the whole data set
    (``partition="iid"`` with ``sampling="replacement"``) have it as their shard, each.

    Parameters
    ----------
    shards : sequence of (X, y)
        One a worker: X (n_rows, d), y (n_rows,). A row's sample weight s is a row times sqrt(s), target and all.
    w0 : array, shape (d,), or float
        Where all workers start.
    periods, etas, record
        As in ``exact_moments``.
    l2 : float
        Ridge penalty, on every coordinate.
    weights : array, shape (n_workers,), or None
        Weights of the averaging; None is 1/n_workers.
    reference : array, shape (d,), or None
        What errors are measured from; None is the minimum of sum_k weights_k F_k.

    Returns
    -------
    FiniteMoments

    Raises
    ------
    ValueError, TypeError
        An argument is wrong, or the weighted objective has no unique minimum and no reference is given.

    Notes
    -----
    Derived for this package; O(P^2 d^3 + n_rows d^2) operations a step, so d of a few dozen at most. With B_k =
    I - eta H_k and h_k = mean x (y - <x, r>) - l2 r at the reference r, the errors of two workers have
    D_kj = E delta_k delta_j^T <- B_k D_kj B_j + eta (B_k mu_k h_j^T + h_k mu_j^T B_j) + eta^2 h_k h_j^T, and the
    covariance of the sampled gradient is added where k = j; an averaging makes all of them the weighted mean.

    Examples
    --------
    Two workers whose rows disagree are biased, the more the longer their rounds:

    >>> shards = [([[1.0]], [1.0]), ([[2.0]], [0.0])]
    >>> etas = np.full(400, 0.1)
    >>> for period in (1, 20):
    ...     print(f"{finite_moments(shards, 0.0, period, etas).mean[0]:.3f}")
    0.200
    0.468
    """
    problem = _Shards(shards, weights, l2, whole("batch_size", batch_size))
    start = _vector("w0", w0, problem.d)
    eta = step_sizes(etas)
    ends = set((np.cumsum(round_lengths(periods, problem.n_workers, eta)) - 1).tolist())
    centre = problem.minimum() if reference is None else _vector("reference", reference, problem.d)
    at = np.array([eta.size]) if record is None else record_steps(record, eta.size)
    recursion, found = _Recursion(problem, centre, start), []
    wanted = set(at.tolist())
    with np.errstate(over="ignore", invalid="ignore"):  # beyond the stability limit
        for t in range(1, int(at[-1]) + 1 if at.size else 1):
            recursion.step(float(eta[t - 1]))
            if t in wanted:
                found.append(recursion.moments(t))
            if t - 1 in ends:
                recursion.average()
    if record is None:
        return FiniteMoments(int(at[0]), *found[0], problem.hessian)
    d = problem.d
    shapes = ((-1, d), (-1, d), (-1, d, d), (-1, d, d), (-1,))
    mean, mean_bar, second, second_bar, worker = (
        np.array([row[i] for row in found]).reshape(shape) for i, shape in enumerate(shapes)
    )
    return FiniteMoments(at, mean, mean_bar, second, second_bar, worker, problem.hessian)


def drift_fixed_point(
    shards: Sequence[Shard], period: int, eta: float, *, l2: float = 0.0, weights: npt.ArrayLike | None = None
) -> Array:
    r"""Compute where the mean of local SGD on shards that differ comes to rest: least squares, constant step.

    The mean of w at round ends; noise has no say in it. Period 1 gives the minimum of the weighted objective, the
    longer the rounds the nearer it comes to the mean of the workers' own minima, weighted by what each of them
    has forgotten in a round.

    Parameters
    ----------
    shards, l2, weights
        As in ``finite_moments``.
    period : int
    eta : float

    Returns
    -------
    array, shape (d,)
        w with sum_k weights_k (I - B_k^N) (w - w*_k) = 0, B_k = I - eta H_k, w*_k worker k's own minimum.
        Derived for this package; shards without a unique minimum are fine.

    Raises
    ------
    ValueError, TypeError
        An argument is wrong, the step diverges, or the fixed point is not unique.

    Examples
    --------
    >>> shards = [([[1.0]], [1.0]), ([[2.0]], [0.0])]
    >>> print(*(f"{drift_fixed_point(shards, period, 0.1)[0]:.3f}" for period in (1, 20, 10_000)))
    0.200 0.468 0.500
    """
    problem = _Shards(shards, weights, l2)
    period, eta = whole("period", period), number("eta", eta, above=0.0)
    pull, target = np.zeros((problem.d, problem.d)), np.zeros(problem.d)
    for weight, hessian, slope in zip(problem.weights, problem.hessians, problem.slopes, strict=True):
        eigenvalues, directions = np.linalg.eigh(hessian)
        x = eta * eigenvalues
        if not (x < 2).all():
            raise ValueError(f"eta must be below 2 / {eigenvalues[-1]:g}, got {eta:g}: this worker's mean diverges")
        # sum_(j<N) B^j, in each direction (1 - (1 - x)^N) / x.
        forgotten = np.where(x < 0.5, -np.expm1(period * np.log1p(-np.minimum(x, 0.5))), 1.0 - (1.0 - x) ** period)
        summed = np.where(x > 1e-300, forgotten / np.maximum(x, 1e-300), float(period))
        power_sum = (directions * summed) @ directions.T
        pull += weight * power_sum @ hessian
        target += weight * power_sum @ slope
    return _solved(pull, target, "the fixed point is not unique: add l2")


class _Shards:
    """The workers' rows, padded to equal length with rows that weigh nothing, and what follows from them."""

    def __init__(self, shards: Any, weights: Any, l2: Any, batch_size: int = 1) -> None:
        if not np.iterable(shards) or isinstance(shards, (str, bytes, dict)):
            raise TypeError(f"shards must be a sequence of (X, y), one a worker, got {type(shards).__name__}")
        pairs = [_checked(k, shard) for k, shard in enumerate(shards)]
        if not pairs:
            raise ValueError("shards must hold one (X, y) a worker, got none")
        self.n_workers, self.d = len(pairs), pairs[0][0].shape[1]
        sizes = [len(y) for _, y in pairs]
        self.X, self.y = np.zeros((len(pairs), max(sizes), self.d)), np.zeros((len(pairs), max(sizes)))
        self.share = np.zeros_like(self.y)
        for k, (X, y) in enumerate(pairs):
            if X.shape[1] != self.d:
                raise ValueError(f"shards must have the same number of features, got {self.d} and {X.shape[1]}")
            self.X[k, : len(y)], self.y[k, : len(y)], self.share[k, : len(y)] = X, y, 1.0 / len(y)
        self.weights = averaging_weights(weights, self.n_workers, 0)
        self.l2, self.batch_size = number("l2", l2, least=0.0), batch_size
        self.data_hessians = self.over_rows(np.ones_like(self.y))
        self.hessians = self.data_hessians + self.l2 * np.eye(self.d)
        self.slopes = np.einsum("knd,kn->kd", self.X, self.share * self.y)
        self.hessian = np.einsum("k,kij->ij", self.weights, self.hessians)

    def over_rows(self, factor: Array) -> Array:
        """Return the mean of factor x x^T over each worker's rows."""
        return self.X.transpose(0, 2, 1) @ ((self.share * factor)[:, :, None] * self.X)

    def minimum(self) -> Array:
        """Return the minimum of the weighted objective."""
        hint = "the weighted objective has no unique minimum: add l2, or give a reference"
        return _solved(self.hessian, self.weights @ self.slopes, hint)


def _checked(k: int, shard: Any) -> tuple[Array, Array]:
    if not isinstance(shard, (tuple, list)) or len(shard) != 2:
        raise TypeError(f"shard {k} must be a pair (X, y); of one worker shards is [(X, y)]")
    X, y = shard
    if issparse(X):
        raise TypeError(f"shard {k} must have dense rows, got a sparse matrix; pass X.toarray()")
    rows, targets = reals(f"X of shard {k}", X), reals(f"y of shard {k}", y)
    if rows.ndim != 2 or 0 in rows.shape or targets.shape != rows.shape[:1]:
        raise ValueError(f"shard {k} must be X (n_rows, d) and y (n_rows,), got shapes {rows.shape}, {targets.shape}")
    if not (np.isfinite(rows).all() and np.isfinite(targets).all()):
        raise ValueError(f"shard {k} must be finite")
    return rows, targets


def _vector(name: str, values: Any, size: int) -> Array:
    """Return values, or one number for all, as a finite vector of that size."""
    out = reals(name, values)
    if out.shape not in ((), (size,)) or not np.isfinite(out).all():
        raise ValueError(f"{name} must be finite, a number or {size} of them, got {values!r}")
    return np.broadcast_to(out, (size,)).copy()


def _solved(matrix: Array, right: Array, hint: str) -> Array:
    if np.linalg.matrix_rank(matrix) < len(matrix):
        raise ValueError(hint)
    return np.asarray(np.linalg.solve(matrix, right), dtype=np.float64)


class _Recursion:
    """Moments of the errors delta_k = w_k - r; names as in finite_moments' notes, S the sum of the mean errors."""

    def __init__(self, problem: _Shards, centre: Array, w0: Array) -> None:
        self.problem, self.centre = problem, centre
        P, d, delta = problem.n_workers, problem.d, w0 - centre
        self.residuals = problem.y - problem.X @ centre
        self.pulls = np.einsum("knd,kn->kd", problem.X, problem.share * self.residuals)  # u_k
        self.h = self.pulls - problem.l2 * centre
        self.mu = np.tile(delta, (P, 1))
        self.D = np.tile(np.outer(delta, delta), (P, P, 1, 1))
        self.C = np.zeros((P, d, d))  # E S delta_k^T
        self.sum_mean, self.sum_second = np.zeros(d), np.zeros((d, d))

    def step(self, eta: float) -> None:
        """One local step of every worker."""
        problem, h = self.problem, self.h
        B = np.eye(problem.d) - eta * problem.hessians
        noise = self._sampling_noise() * (eta**2 / problem.batch_size)
        moved = (B @ self.mu[:, :, None])[:, :, 0]
        self.C = self.C @ B + eta * self.sum_mean[None, :, None] * h[:, None, :]
        pushed = eta * moved[:, None, :, None] * h[None, :, None, :]
        self.D = B[:, None] @ self.D @ B[None, :] + pushed + pushed.transpose(1, 0, 3, 2)
        self.D += eta**2 * h[:, None, :, None] * h[None, :, None, :]
        every = np.arange(problem.n_workers)
        self.D[every, every] += noise
        self.mu = moved + eta * h
        self._accumulate()

    def _sampling_noise(self) -> Array:
        """Return the covariance of one sampled gradient, drawn at each worker's own random iterate."""
        problem, mu, u = self.problem, self.mu, self.pulls
        every = np.arange(problem.n_workers)
        D: Array = self.D[every, every]
        squares = ((problem.X @ D) * problem.X).sum(axis=2)
        squares += self.residuals**2 - 2.0 * self.residuals * (problem.X @ mu[:, :, None])[:, :, 0]
        H = problem.data_hessians
        cross = (H @ mu[:, :, None]) * u[:, None, :]
        mean = H @ D @ H - cross - cross.transpose(0, 2, 1) + u[:, :, None] * u[:, None, :]
        return problem.over_rows(squares) - mean

    def _accumulate(self) -> None:
        weights = self.problem.weights
        carried = np.einsum("k,kij->ij", weights, self.C)
        second = self._second()
        self.sum_second = self.sum_second + carried + carried.T + second
        self.C = self.C + np.einsum("q,qkij->kij", weights, self.D)
        self.sum_mean = self.sum_mean + weights @ self.mu

    def _second(self) -> Array:
        weights = self.problem.weights
        return np.einsum("k,q,kqij->ij", weights, weights, self.D, optimize=True)

    def average(self) -> None:
        """Set all workers to their mean."""
        weights = self.problem.weights
        self.D[...] = self._second()
        self.C[...] = np.einsum("k,kij->ij", weights, self.C)
        self.mu[...] = weights @ self.mu

    def moments(self, t: int) -> tuple[Array, Array, Array, Array, float]:
        """Return mean, mean_bar, second, second_bar and worker."""
        weights = self.problem.weights
        worker = np.einsum("k,kkii->", weights, self.D)
        mean, mean_bar = self.centre + weights @ self.mu, self.centre + self.sum_mean / t
        return mean, mean_bar, self._second(), self.sum_second / t**2, float(worker)
